"""Completions before and after on the same problems: which are shown, and where the first wrong step lies.

Judged rows of two completions.jsonl enter; Pairs of Cards leave, cut into plain and marked pieces. The choice is a
rule, not a taste: nobody picked the nice ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.stats.scores import Row, completed

RULE = (
    "The first two problems of each family in the order of their ids' hashes, and the first one the model still "
    "gets wrong; always the first sample drawn."
)
PER_FAMILY = 2
LONGEST = 4000  # characters of a completion that are shown


@dataclass(frozen=True)
class Piece:
    """A stretch of a completion; `wrong` marks the first false statement."""

    text: str
    wrong: bool = False


@dataclass(frozen=True)
class Card:
    """One completion with its verdict: `right` (strict), `loose` (right, but not in the format) or `wrong`."""

    pieces: Sequence[Piece]
    verdict: str
    reason: str
    tokens: int
    truncated: bool
    mixed: bool
    hidden: int


@dataclass(frozen=True)
class Pair:
    """One problem with what the model said before and after; a side nobody sampled is None."""

    problem: str
    answer: str
    family: str
    before: Card | None
    after: Card | None


def pairs(after: Sequence[Row], before: Sequence[Row], problems: Mapping[str, Mapping[str, Any]]) -> list[Pair]:
    """Return the problems the RULE names, family by family. Both sides hold rows of one sampling, in file order."""
    new, old = ({row["id"]: row for row in completed(side) if row["sample"] == 0} for side in (after, before))
    by_family: dict[str, list[str]] = {}
    for one, row in new.items():
        by_family.setdefault(row["family"], []).append(one)
    result = []
    for family in sorted(by_family):
        for one in _picked(by_family[family], new):
            known = problems.get(one, {})
            shown = (str(known.get("problem", one)), str(known.get("answer", "")), family)
            result.append(Pair(*shown, before=card(old[one]) if one in old else None, after=card(new[one])))
    return result


def card(row: Row) -> Card:
    """Return one judged completion ready to be shown, cut after LONGEST characters but never before the wrong step
    ends.
    """
    text: str = row["completion"]
    start, end = row.get("wrong_step") or (0, 0)
    last = max(LONGEST, end)
    pieces = [Piece(text[:start]), Piece(text[start:end], wrong=True), Piece(text[end:last])]
    if row["strict"] == 1.0:
        verdict = "right"
    else:
        verdict = "loose" if row["correct"] == 1.0 else "wrong"
    return Card(
        pieces=[piece for piece in pieces if piece.text],
        verdict=verdict,
        reason=str(row.get("reason") or ""),
        tokens=row["tokens"],
        truncated=bool(row["truncated"]),
        mixed=bool(row["mixed"]),
        hidden=max(0, len(text) - last),
    )


def _picked(ids: Sequence[str], rows: Mapping[str, Row]) -> list[str]:
    first = list(ids[:PER_FAMILY])
    wrong = next((one for one in ids[PER_FAMILY:] if rows[one]["strict"] != 1.0), None)
    return first if wrong is None else [*first, wrong]

r"""Answers that hold digits and are no quantity: two texts enter, equal or not leaves, None where they are none.

Addresses, masks and versions of dotted numbers (255.255.240.0, 10.4.0.0/24) are compared as texts; parts with labels
((i) 0.4 (ii) 0.16) are handed back by their labels, and what a hypothesis speaks of (H_0: \mu) is a name.
"""

from __future__ import annotations

import re
import unicodedata

from stages.rewards.mathematics import prose

_DOTTED = re.compile(r"(?<![\d.,])\d{1,5}(?:\.\d{1,5}){2,7}(?:/\d{1,3})?(?![\d,]|\.\d)", re.ASCII)
_GROUPED = re.compile(r"\d{1,3}(?:\.\d{3})+")
_LABEL = re.compile(r"(?<!\w)\(\s?([ivx]{1,4}|[a-h])\s?\)\s?[:.]?", re.IGNORECASE)
_ORDERED = tuple(tuple(labels.split()) for labels in ("i ii iii iv v vi vii viii", "a b c d e f g h"))
_STATEMENT = re.compile(
    r"\s*([A-Za-z]_?\{?\w{1,3}\}?)\s?:\s*([^=<>≤≥≠]{1,40}?)\s*(?:=|[<>≤≥≠]|\\(?:le|ge|ne|lt|gt|leq|geq|neq)\b)"
)
_DROPPED = re.compile(r"[\s{}$_]")


def dotted(text: str) -> list[str]:
    """Return the dotted numbers of a text that are no number with separators of thousands."""
    return [one for one in _DOTTED.findall(text) if not _GROUPED.fullmatch(one)]


def parts(text: str) -> dict[str, str]:
    """Return the labelled parts of an answer, of which there are two or more in order: (a) 1 (b) 2; else nothing."""
    if "(" not in text:
        return {}
    found = [*_LABEL.finditer(text)]
    labels = tuple(match[1].lower() for match in found)
    if (
        len(labels) < 2
        or text[: found[0].start()].strip("$ ")
        or not any(labels == row[: len(labels)] for row in _ORDERED)
    ):
        return {}
    ends = [*(match.start() for match in found[1:]), len(text)]
    pieces = [text[match.end() : end].strip().rstrip(",;.").strip() for match, end in zip(found, ends, strict=True)]
    return dict(zip(labels, pieces, strict=True)) if all(pieces) else {}


def same(answer: str, gold: str) -> bool | None:
    """Say whether an answer states the dotted numbers of the gold, None where that has none."""
    wanted = dotted(gold)
    return dotted(answer) == wanted and not prose.hedges(answer) if wanted else None


def other_hypothesis(given: str, wanted: str) -> bool | None:
    """Say whether two hypotheses have other names or speak of other things, None where not both are hypotheses."""
    first, second = _hypothesis(given), _hypothesis(wanted)
    return first != second if first and second else None


def _hypothesis(text: str) -> tuple[str, str] | None:
    r"""Return what a hypothesis is called and what it speaks of: H_0: \mu = 12 as (H_0, \mu)."""
    match = _STATEMENT.match(text)
    return None if match is None else (_name(match[1]), _name(match[2]))


def _name(text: str) -> str:
    r"""One spelling of a name: H_{0} and H₀, \mu and μ."""
    return "".join(map(_spelled, _DROPPED.sub("", unicodedata.normalize("NFKC", text))))


def _spelled(letter: str) -> str:
    name = unicodedata.name(letter, "")
    return "\\" + name.rpartition(" ")[2].lower() if name.startswith("GREEK SMALL LETTER ") else letter

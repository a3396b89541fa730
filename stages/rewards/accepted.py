"""Golds that their own reward accepts: an answer column's value enters, its golds leave, or why there is none.

A reward can only teach what it can judge, so several answers are one gold only where the reward reads them as that, and
each gold is judged by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from stages.core.data import golds
from stages.core.data.values import Unusable, as_text, shown
from stages.core.rows import JUDGES, Prompt
from stages.rewards import accuracy, mathematics
from stages.rewards.verdict import Verdict

_SAID = (str, int, float, Decimal, type(None))
"""What a gold may be, in a column or in a list of golds."""


@dataclass(frozen=True)
class Answers:
    """How the answer column of a source is read."""

    pattern: str
    """As `prepare.Recipe.answer_pattern`."""
    several: str
    """As `prepare.Recipe.several`."""
    real: tuple[str, ...]
    """As `prepare.Recipe.real_answers`."""
    column: str
    """The column that holds the gold, or the path to it."""

    def golds(self, value: Any, verifier: str) -> list[str]:
        """Return the golds that an answer column's value holds, of which any one is right: nearly always one.

        Raises Unusable where it holds none, or none that counts.
        """
        several = golds.listed(value)
        values = [value] if several is None else several
        if not all(isinstance(each, _SAID) for each in values):
            raise Unusable("not a text", shown(value))
        if verifier in (*JUDGES, "code"):
            return [(as_text(value) or "").strip()]
        if not values:
            raise Unusable("no answer", "an empty list")
        parts = {"any": False, "all": True, "": golds.are_parts(values, self.column.rpartition(".")[2], verifier)}[
            self.several
        ]
        if len(values) == 1 or parts:
            return [_together([piece for each in values for piece in self._pieces(each)], verifier)]
        return self._any_of(values, verifier)

    def _pieces(self, value: Any) -> list[str]:
        """Return the parts of one answer; raises Unusable for none."""
        said = as_text(value)
        if said is None:
            raise Unusable("no answer", "null")
        marked = isinstance(value, str) or self.pattern
        pieces = golds.extract(said, self.pattern) if marked else [said]
        if not pieces and not said.strip():
            raise Unusable("no answer", "an empty text")
        if not pieces:
            why = "answer_pattern does not match" if self.pattern else "nothing marks it, or a box never closes"
            raise Unusable("no gold in the answer", why)
        missing = next((piece for piece in pieces if golds.is_missing(piece, self.real)), None)
        if missing is not None:
            raise Unusable("no answer", missing)
        return pieces

    def _any_of(self, values: list[Any], verifier: str) -> list[str]:
        """Return those of several right answers that can be judged, each once; raises what is wrong with the first
        where none can be."""
        found: list[str] = []
        faults: list[Unusable] = []
        for each in values:
            try:
                answer = _together(self._pieces(each), verifier)
            except Unusable as fault:
                faults.append(fault)
                continue
            why = _judged(verifier, answer)[1] if verifier != "program" else ""
            if why:
                faults.append(Unusable("gold cannot be judged", why))
            elif not any(accuracy.judge(answer, _gold_row(other, verifier)).value == 1.0 for other in found):
                found.append(answer)
        if not found:
            raise faults[0]
        return found


def fault_of(fields: dict[str, Any]) -> tuple[str, str]:
    """Say why a row's own reward does not accept its gold: (reason, detail), empty where it does or a judge decides."""
    verifier = fields["verifier"]
    if verifier in JUDGES:
        return "", ""
    if verifier in ("math", "choice", "exact"):
        return _judged(verifier, fields["answer"])
    return _told(accuracy.check_gold(Prompt(**fields)))


def _gold_row(answer: str, verifier: str) -> Prompt:
    """A gold as a row; `_pieces` has refused those that are none."""
    return Prompt("", "?", answer, verifier, meta={"real_answer": True})


def _together(answers: list[str], verifier: str) -> str:
    """Return the parts of one answer as one text: the first where all are equal, else the set of them, where its
    verifier reads it as that and takes no single one for it. Raises Unusable otherwise: no root is lost."""
    answers = list(dict.fromkeys(answers))
    first = _gold_row(answers[0], verifier)
    if all(accuracy.judge(each, first).value == 1.0 for each in answers[1:]):
        return answers[0]
    joined = _gold_row(", ".join(answers), verifier)
    words = any(map(mathematics.is_words, answers))
    turned = ", ".join(reversed(answers))
    read = verifier in ("math", "choice") and not words and accuracy.check_gold(joined).value == 1.0
    if (
        read
        and accuracy.judge(turned, joined).value == 1.0
        and not any(accuracy.judge(each, joined).value for each in answers)
    ):
        return joined.answer
    raise Unusable("several answers", " / ".join(answers)[:200])


@lru_cache(maxsize=1 << 16)
def _judged(verifier: str, answer: str) -> tuple[str, str]:
    """The same for verifiers that look at nothing but the answer: a set of problems has few different ones."""
    return _told(accuracy.check_gold(_gold_row(answer, verifier)))


def _told(verdict: Verdict) -> tuple[str, str]:
    return ("", "") if verdict.value == 1.0 else ("gold cannot be judged", verdict.reason)

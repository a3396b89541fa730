"""What is asked of an answer beside a verdict: where it stands in a text, how a vote spells it, whether it is a word.

A text enters; an answer, a spelling or a yes leaves.
"""

from __future__ import annotations

from stages.rewards.mathematics import closing, wording
from stages.rewards.mathematics.judging import stated
from stages.rewards.mathematics.numbers import MAX_CHARACTERS, Number, normal, read_number


def last_answer(text: str, gold: str = "0") -> str | None:
    """Return the answer that a text without marks commits to, None where there is none. Of the gold answer only its
    kind counts: words, letters, or what holds digits."""
    return closing.last_answer(text, normal(stated(gold)))


def spelled(answer: str) -> str | None:
    """Return the number that an answer states, spelled so that equal numbers are equal; None for no number."""
    number = read_number(normal(answer[:MAX_CHARACTERS]))
    return f"{number.value}{'%' * number.percent}" if isinstance(number, Number) else None


def is_words(answer: str) -> bool:
    """Say whether an answer is a word or phrase, which is compared letter by letter."""
    return wording.is_words(normal(answer))

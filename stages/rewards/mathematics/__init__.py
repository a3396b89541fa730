"""Mathematical answers: two short texts enter `judge`, a verdict leaves. README.md says how; nothing else is a door.

Beside it: may a gold be judged, which piece of a text is an answer, how does a vote spell one, is one a word.
"""

from stages.rewards.mathematics import closing, wording
from stages.rewards.mathematics.judging import BY_TEXT, check_gold, judge, stated
from stages.rewards.mathematics.numbers import MAX_CHARACTERS, Number, normal, read_number

__all__ = ["BY_TEXT", "check_gold", "is_words", "judge", "last_answer", "spelled"]


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

"""Mathematical answers: two short texts enter `judge`, a verdict leaves. README.md says how; nothing else is a door."""

from stages.rewards.mathematics.closing import last_answer
from stages.rewards.mathematics.judging import BY_TEXT, check_gold, judge, stated
from stages.rewards.mathematics.numbers import MAX_CHARACTERS, Number, normal, read_number
from stages.rewards.mathematics.wording import is_words

__all__ = [
    "BY_TEXT", "MAX_CHARACTERS", "Number", "check_gold", "is_words", "judge", "last_answer", "normal", "read_number",
    "stated",
]  # fmt: skip

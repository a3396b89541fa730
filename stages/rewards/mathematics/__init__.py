"""Mathematical answers: two short texts enter `judge`, a verdict leaves. README.md says how; nothing else is a door.

Beside it: may a gold be judged, which piece of a text is an answer, how does a vote spell one, is one a word. What
stands behind the door comes in when something is first asked, for its tables cost more than a plan does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.rewards.mathematics.asked import is_words, last_answer, spelled
    from stages.rewards.mathematics.judging import BY_TEXT, check_gold, judge

__all__ = ["BY_TEXT", "check_gold", "is_words", "judge", "last_answer", "spelled"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stages.rewards.mathematics import asked, judging

    found = {each: getattr(asked if hasattr(asked, each) else judging, each) for each in __all__}
    globals().update(found)
    return found[name]

"""How completions end: judged ones enter; the shares that loop, that never close a tag and that close all of them in
another form leave.

A completion that misses the format has one of three causes, each with another remedy: it was cut (`truncated`: a longer
limit), it ended by itself with a tag still open (`unclosed`: practice, or a cold start), or it closed what it opened
and is in another form all the same (`malformed`). What keeps the format and is wrong is the difference between `format`
and `strict`.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.core import text
from stages.core.contract import Contract
from stages.core.judged import Judged

LOOP = 0.5
"""Share of six-word runs that occurred before, from which on a text is said to loop; curation, which wants texts worth
imitating, leaves out more (0.2)."""
TAIL = 2000
"""Letters at the end of a text that are looked at: a loop, once begun, seldom ends."""


def endings(answers: Sequence[Judged], contract: Contract) -> dict[str, float]:
    """Return the shares `repetitive`, `unclosed` and `malformed` of the completions that an engine did not fail;
    nothing where there are none, and no `malformed` where nobody judged the format."""
    whole = [one for one in answers if not one.failed]
    if not whole:
        return {}
    found = {
        "repetitive": _share([text.repetition(one.text[-TAIL:]) > LOOP for one in whole]),
        "unclosed": _share([is_unclosed(one, contract) for one in whole]),
    }
    judged = [one for one in whole if "format" in one.verdicts]
    if judged:
        wrong = [not (one.value("format") or one.completion.truncated or is_unclosed(one, contract)) for one in judged]
        found["malformed"] = _share(wrong)
    return found


def is_unclosed(one: Judged, contract: Contract) -> bool:
    """Say whether a completion that ended by itself left the thinking or the answer open."""
    if one.completion.truncated:
        return False
    said = contract.prefill + one.text
    return any(span and not span[-1].closed for span in (text.spans(said, tags) for tags in _tags(contract)))


def _tags(contract: Contract) -> tuple[text.Tags, text.Tags]:
    return contract.think_tags, contract.answer_tags


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)

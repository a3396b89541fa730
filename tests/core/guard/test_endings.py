"""How completions end, by hand."""

from __future__ import annotations

import pytest

from stages.core.contract import Contract
from stages.core.guard.endings import endings
from stages.core.judged import Judged, Verdict
from stages.core.rows import Prompt
from stages.core.sampling import Completion, Finish

ROW = Prompt(id="p", problem="1+1?", answer="2", verifier="math")
PLAIN = Contract(template="", template_name="", eos_ids=[1], pad_id=0, tokenizer_sha256="", max_positions=9)
OPENED = Contract(**{**vars(PLAIN), "prefill": "<think>\n"})


def one(text: str, finish: Finish = Finish.END, kept: float = 0.0) -> Judged:
    return Judged(ROW, Completion(ids=[5], finish=finish), text, {"format": Verdict(kept, "")})


@pytest.mark.parametrize(
    ("text", "finish", "contract", "name"),
    [
        ("<think>a", Finish.END, PLAIN, "unclosed"),
        ("<think>a</think><answer>2", Finish.END, PLAIN, "unclosed"),
        ("a so it is 2", Finish.END, OPENED, "unclosed"),
        ("<think>a", Finish.LENGTH, PLAIN, None),
        ("it is 2", Finish.END, PLAIN, "malformed"),
        ("<answer>2</answer><think>a</think>", Finish.END, PLAIN, "malformed"),
        ("it is 2", Finish.LENGTH, PLAIN, None),
        ("", Finish.END, PLAIN, "malformed"),
    ],
)
def test_what_misses_the_format_was_cut_or_left_open_or_has_another_form(
    text: str, finish: Finish, contract: Contract, name: str | None
) -> None:
    found = endings([one(text, finish)], contract)
    assert found == {"repetitive": 0.0, "unclosed": 0.0, "malformed": 0.0} | ({name: 1.0} if name else {})


def test_what_keeps_the_format_is_none_of_these_and_what_the_engine_failed_is_not_looked_at() -> None:
    good, lost = one("<think>a</think><answer>3</answer>", kept=1.0), one("", Finish.LOST)
    assert endings([good, lost], PLAIN) == {"repetitive": 0.0, "unclosed": 0.0, "malformed": 0.0}
    assert endings([lost], PLAIN) == {}


def test_a_loop_at_the_end_is_seen_and_a_text_that_says_a_thing_twice_is_none() -> None:
    assert endings([one("It begins well. " + "wait, let me see again " * 40)], PLAIN)["repetitive"] == 1.0
    assert endings([one("two and two make four so " * 2 + "the whole of it is eight")], PLAIN)["repetitive"] == 0.0

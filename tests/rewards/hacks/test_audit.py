"""The audit finds what bad rewards pay for, and finds nothing in ours."""

from __future__ import annotations

import pytest

from stages.core.errors import RecipeError
from stages.rewards.hacks import audit
from stages.rewards.registry import ENTRIES
from tests.rewards import bad_rewards


def audited(function: str) -> dict[str, audit.Finding]:
    return {finding.attack: finding for finding in audit.run(f"{bad_rewards.__name__}:{function}")}


@pytest.mark.parametrize("name", ENTRIES)
def test_our_own_rewards_let_nothing_through(name: str) -> None:
    findings = audit.run(name)
    assert not findings, "\n".join(
        f"{one.attack}: {one.expected}, got {one.got}: {one.reason} | {one.completion[:200]!r}" for one in findings
    )


def test_every_reward_of_ours_has_trials_made_for_it() -> None:
    assert set(audit.KINDS) == set(ENTRIES)
    assert all(audit.attacks(name) >= 5 for name in ENTRIES)


def test_half_marks_for_holding_the_answer_anywhere_are_found() -> None:
    found = audited("substring")
    finding = found["number in tags, hedge: 17 or 18"]
    assert finding.expected == "at most 0"
    assert finding.got == 0.5
    assert finding.completion == "<think>Let me see.</think> <answer>17 or 18</answer>"
    assert finding.row["answer"] == "17"
    assert "answer elsewhere, answer only in the thinking" in found
    assert "number in tags, part of another number: 117" in found
    assert "number in tags, no number: NaN" not in found


def test_a_pattern_that_ends_at_any_line_is_found() -> None:
    found = audited("multiline")
    assert found["format, a chat after it"].got == 1.0
    assert found["format, two thoughts"].got == 1.0
    assert "format, full-width tags" not in found
    assert not [name for name in found if name.startswith("number")]  # a reward of the format is no judge of answers


def test_lines_compared_as_far_as_both_go_are_found() -> None:
    found = audited("zipped")
    assert {name.partition(", ")[2] for name in found if name.startswith("lines of output")} == {
        "first line without its end",
        "all but the last, without an end",
        "one line too many",
        "the output twice",
        "right, then one line more",
    }
    assert found["program on stdin, junk after the answer"].got == 1.0
    assert "program on stdin, sys.exit(0)" not in found


def test_a_share_over_the_whole_completion_is_diluted_by_the_answer() -> None:
    assert "zh for en, filler in the answer" in audited("ascii_share")


def test_a_reward_that_pays_nobody_is_found() -> None:
    (finding,) = audited("zero").values()
    assert (finding.expected, finding.got, finding.row) == ("more than wrong ones", None, {})


def test_a_sound_reward_of_a_users_own_passes() -> None:
    assert audited("sound") == {}


def test_a_reward_nobody_knows_is_an_error() -> None:
    with pytest.raises(RecipeError, match="unknown reward"):
        audit.run("acuracy")
    with pytest.raises(RecipeError, match="judge"):
        audit.run("helpful")

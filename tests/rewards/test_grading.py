"""A run's completions become judged ones: decoded in one way, judged once, and not at all where the engine failed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stages.core.judged import Judged, Verdict, decoded
from stages.core.sampling import Completion, Finish
from stages.rewards import scoring
from stages.rewards.grading import Grader
from tests.rewards.contracts import contract, row

FAILURES = [finish for finish in Finish if Completion(finish=finish).failed]
RIGHT = "<think>a</think><answer>17</answer>"


class Letters:
    """A tokenizer whose tokens are letters."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        assert not skip_special_tokens
        return "".join(map(chr, ids))


def said(text: str, finish: Finish = Finish.END, fault: str = "") -> Completion:
    ends = [*contract().eos_ids[:1]] if finish is Finish.END else []
    return Completion(ids=[*map(ord, text), *ends], logprobs=[-1.0] * len(text), finish=finish, fault=fault)


def graded(*completions: Completion, **grader: object) -> list[Judged]:
    judge = Grader(contract=contract(), **grader)  # type: ignore[arg-type]
    return judge.grade(completions, [row(id=f"p{at}") for at in range(len(completions))], Letters())


def test_a_completion_is_told_without_its_end_and_in_the_server_s_words_where_it_has_no_ids() -> None:
    assert decoded(said(RIGHT), contract(), Letters()) == RIGHT
    assert decoded(Completion(text=" as it is ", tokens=5, finish=Finish.END), contract(), Letters()) == " as it is "


def test_a_judged_completion_knows_its_prompt_its_words_and_every_verdict() -> None:
    right, cut = graded(said(RIGHT), said("<think>17", Finish.LENGTH), rewards=("length",))
    assert (right.text, right.value("strict"), right.value("accuracy"), right.prompt.id) == (RIGHT, 1.0, 1.0, "p0")
    assert right.row(("length", "helpful")) == {
        "completion": RIGHT,
        "rewards": {"length": pytest.approx(len(RIGHT) / 400)},
        "reasons": {"length": f"{len(RIGHT)} characters, full at 400"},
        "tokens": len(right.completion.ids),
        "truncated": False,
    }
    assert cut.row()["truncated"] and not cut.failed and cut.value("accuracy") == 0.0


@pytest.mark.parametrize("finish", FAILURES)
def test_what_the_engine_failed_is_neither_right_nor_wrong(finish: Finish) -> None:
    whole, failed = graded(said(RIGHT), said(RIGHT, finish, "gone\nat once"), rewards=("length_penalty", "format"))
    assert {one.value for one in failed.verdicts.values()} == {None} and failed.failed
    assert set(failed.verdicts) == set(whole.verdicts)
    assert set(failed.row()["reasons"].values()) == {"the engine: gone at once"}
    assert failed.row()["truncated"], "nothing that the model ended"
    assert scoring.total(failed.verdicts, {"length_penalty": 1.0, "format": 1.0}) is None


def test_a_failure_is_no_measure_for_the_rest_of_its_group() -> None:
    judge = Grader(contract=contract(), rewards=("length_penalty",))
    group = [said(RIGHT), said(RIGHT + " " * 8), said("", Finish.LOST)]
    found = judge.grade(group, [row()] * 3, Letters())
    assert [one.verdicts["length_penalty"].value for one in found] == [1.0, 0.0, None]


def test_a_judge_is_not_asked_about_a_failure() -> None:
    asked: list[str] = []

    def judge(problems: list[str], completions: list[str], turns: object = None) -> list[float]:
        asked.extend(completions)
        return [0.5] * len(completions)

    grader = Grader(contract=contract(), judges={"helpful": judge})
    found = grader.grade([said("a"), said("b", Finish.REFUSED)], [row("", "helpful")] * 2, Letters())
    assert asked == ["a"] and found[0].value("helpful") == 0.5
    assert found[1].verdicts["helpful"] == Verdict(None, "the engine: refused")

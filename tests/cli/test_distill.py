"""`r1 distill` from flags to nodes: a teacher and a student are enough, and what is there already is used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from r1cli import main
from r1cli.commands import distill
from stages.core.errors import RecipeError
from stages.core.recipe.loading import Loaded, load


def loaded(*overrides: str, recipe: str = "distill") -> Loaded:
    return load(recipe, "distill", overrides, "pupil")


def drawn(nodes: list[Loaded]) -> list[tuple[str, str, dict[str, str]]]:
    return [(node.name, node.stage, node.inputs) for node in nodes]


def test_a_teacher_alone_draws_and_chooses_its_traces_first() -> None:
    samples, data, last = distill.nodes(loaded("inputs.teacher=zero@3"))
    assert (samples.name, samples.stage, samples.inputs["model"]) == ("zero-samples", "sample", "zero@3")
    assert (data.name, data.stage, data.inputs["rollouts"]) == ("zero-traces", "curate", "zero-samples")
    assert (last.name, last.inputs["conversations"], last.inputs["teacher"]) == ("pupil", "zero-traces", "zero@3")


def test_traces_that_are_given_are_used() -> None:
    nodes = distill.nodes(loaded("inputs.teacher=zero@3", "inputs.conversations=mine.jsonl"))
    assert [node.name for node in nodes] == ["pupil"]


def test_log_probabilities_are_taken_between_traces_and_student() -> None:
    *_, cache, last = distill.nodes(loaded("inputs.teacher=hf:o/Big-7B@main", recipe="distill_logprobs"))
    assert (cache.name, cache.stage) == ("Big-7B-logprobs", "logprobs")
    assert cache.inputs == {"teacher": "hf:o/Big-7B@main", "conversations": "Big-7B-traces"}
    assert last.inputs["logprobs"] == cache.name and "conversations" not in last.inputs
    given = ("inputs.teacher=t", "inputs.conversations=mine")
    cache, last = distill.nodes(loaded(*given, recipe="distill_logprobs"))
    assert cache.inputs["conversations"] == "mine"
    (last,) = distill.nodes(loaded("inputs.logprobs=t-logprobs", recipe="distill_logprobs"))
    assert last.inputs["logprobs"] == "t-logprobs"


def test_the_names_of_what_is_made_are_the_teacher_s_so_the_next_student_finds_them() -> None:
    one = distill.nodes(loaded("inputs.teacher=zero@3", "inputs.student=world:qwen-nano"))
    two = distill.nodes(loaded("inputs.teacher=zero@3", "inputs.student=world:llama-nano"))
    assert drawn(one)[:-1] == drawn(two)[:-1]


def test_on_policy_needs_no_traces() -> None:
    (only,) = distill.nodes(loaded("inputs.teacher=zero", recipe="distill_on_policy"))
    assert only.inputs["prompts"].startswith("world:")


@pytest.mark.parametrize(("recipe", "needed"), [("distill", "conversations"), ("distill_logprobs", "logprobs")])
def test_without_a_teacher_or_its_words_there_is_nothing_to_learn_from(recipe: str, needed: str) -> None:
    with pytest.raises(RecipeError, match=f"needs the input `{needed}`, or a teacher") as caught:
        distill.nodes(loaded(recipe=recipe))
    assert "--teacher" in caught.value.hint


# ---- argv ----


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *argv: str) -> int:
        code = main.run(argv)
        self.out, self.err = self._capsys.readouterr()
        return code

    def plan(self, *argv: str) -> list[dict[str, Any]]:
        assert self("distill", *argv, "--dry-run", "--json") == 0, self.err
        found: list[dict[str, Any]] = json.loads(self.out)["plan"]
        return found


@pytest.fixture
def r1(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def test_the_flags_make_a_whole_plan(r1: Shell) -> None:
    plan = r1.plan(
        "--teacher",
        "world:base",
        "--student",
        "world:base",
        "--mode",
        "logprobs",
        "--name",
        "pupil",
        "learning_rate=1e-3",
    )
    assert [row["node"] for row in plan] == ["base-samples", "base-traces", "base-logprobs", "pupil"]
    assert {row["action"] for row in plan} == {"build"}


def test_a_published_student_is_known_by_its_name_and_fetched_last(r1: Shell) -> None:
    plan = r1.plan("--teacher", "world:base", "--student", "qwen-7b")
    assert plan[-1]["reason"] == "hf:Qwen/Qwen2.5-Math-7B unknown until fetched"


def test_words_that_fit_nothing_are_answered_with_a_way_out(r1: Shell) -> None:
    assert r1("distill", "--teacher", "world:base", "--student", "qwen-7") == 2
    assert "did you mean `qwen-7b`" in r1.err
    assert r1("distill", "--teacher", "world:base", "--mode", "trace") == 2
    assert "mode" in r1.err and "traces" in r1.err


def test_the_help_page_shows_flags_and_an_example(r1: Shell) -> None:
    assert r1("distill", "--help") == 0
    for word in ("--teacher", "--student", "--mode", "qwen-1.5b", "llama-nano", "r1 distill --teacher"):
        assert word in r1.out

"""The sample stage with a real, tiny model: what it writes, that a kill repeats nothing, and what it refuses."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages import sample
from stages.core.artifact import Draft, Judge, Model, Prompts, Rollouts
from stages.core.errors import InputError, RecipeError
from stages.core.rows import Prompt, write_rows
from stages.core.run import events
from stages.policy.engines.client import parameters
from stages.policy.judges.judge import JudgeConfig
from tests.policy import drawing, tiny

QUICK = sample.Recipe(samples=2, template="plain", max_tokens=6, shard_prompts=2, rewards={tiny.REWARD: 1.0})
FILES = ("prompts.jsonl", "samples.jsonl", "contract.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny.model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Prompts:
    return tiny.prompts(tmp_path_factory.mktemp("prompts") / "rows", 5)


@pytest.fixture
def run(model: Model, prompts: Prompts) -> Callable[..., Draft]:
    def in_folder(folder: Path, recipe: sample.Recipe = QUICK, asked: Prompts = prompts) -> Draft:
        work = tiny.work(folder)
        try:
            return sample.run(recipe, sample.Inputs(model=model, prompts=asked), work)
        finally:
            work.events.close()

    return in_folder


def made(folder: Path) -> Rollouts:
    return Rollouts(path=folder, record=tiny.record("rollouts", "made"))


def same(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)


def test_every_prompt_has_its_samples_with_what_each_reward_said(run: Callable[..., Draft], tmp_path: Path) -> None:
    draft = run(tmp_path / "a")
    found = made(tmp_path / "a")
    assert [(one.id, one.sample) for one in found.samples()] == [(row.id, n) for row in found.prompts() for n in (0, 1)]
    assert {row.id for row in found.prompts()} == {f"tiny-prompts-{n}" for n in range(5)}
    for one in found.samples():
        assert 1 <= one.tokens <= 6
        assert one.rewards.keys() == one.reasons.keys() >= {tiny.REWARD, "accuracy", "strict", "format"}
        row = Prompt("", "", "", "math")
        assert one.rewards[tiny.REWARD] == tiny.low_bytes(one.completion, row, found.contract)
    assert found.contract.template_name == "plain"
    assert draft.kind is Rollouts and draft.metrics["rows"] == 10 and draft.metrics["prompts"] == 5
    assert draft.metrics["truncated"] == sum(one.truncated for one in found.samples()) / 10


def test_the_cost_counts_each_prompt_once_and_every_token_drawn(
    run: Callable[..., Draft], tmp_path: Path, model: Model
) -> None:
    metrics = run(tmp_path / "a").metrics
    read = len("User: ") + 5 * len("0+0=. Assistant:")  # what all prompts start with is read once
    assert metrics["tokens"] == sum(one.tokens for one in made(tmp_path / "a").samples())
    assert metrics["flops"] == {"sampling": 2 * parameters(model.path) * (read + metrics["tokens"])}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_samples(
    run: Callable[..., Draft], tmp_path: Path, model: Model, prompts: Prompts
) -> None:
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert same(tmp_path / "a", tmp_path / "b")
    other = replace(tiny.work(tmp_path / "c"), seed=8)
    sample.run(QUICK, sample.Inputs(model=model, prompts=prompts), other)
    other.events.close()
    assert not same(tmp_path / "a", tmp_path / "c")


def test_fewer_prompts_are_a_part_of_more(run: Callable[..., Draft], tmp_path: Path) -> None:
    run(tmp_path / "all")
    run(tmp_path / "some", replace(QUICK, problems=2))
    assert made(tmp_path / "some").samples() == made(tmp_path / "all").samples()[:4]


def test_killed_by_sigkill_and_run_again_it_ends_in_the_same_bytes_and_repeats_nothing(
    run: Callable[..., Draft], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole")
    child = os.fork()
    if child == 0:
        drawing.watched(monkeypatch, lambda batch: tiny.die() if batch == 3 else None)
        run(tmp_path / "killed")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert not (tmp_path / "killed" / "samples.jsonl").exists()
    drawn = drawing.watched(monkeypatch)
    run(tmp_path / "killed")
    assert len(drawn) == 1
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_a_run_whose_shards_are_all_there_loads_no_weights(
    run: Callable[..., Draft], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run(tmp_path / "a").metrics
    monkeypatch.setattr("stages.policy.models.folders.load_model", lambda *_, **__: pytest.fail("weights were loaded"))
    assert run(tmp_path / "a").metrics == before


def test_progress_counts_every_completion(run: Callable[..., Draft], tmp_path: Path) -> None:
    run(tmp_path / "a")
    told = events.read(tmp_path / "a" / "events.jsonl", "progress")
    assert [(one["done"], one["total"]) for one in told] == [(4, 10), (8, 10), (10, 10)]
    assert {"accuracy", "strict", "length"} <= told[-1]["figures"].keys()


def test_a_general_prompt_has_no_accuracy_and_does_not_count_in_its_mean(
    run: Callable[..., Draft], tmp_path: Path
) -> None:
    rows = [Prompt("m", "1+1=", "2", "math"), Prompt("g", "Hi", "Hello.", "helpful")]
    (tmp_path / "rows").mkdir()
    write_rows(tmp_path / "rows" / "prompts.jsonl", rows)
    mixed = Prompts(path=tmp_path / "rows", record=tiny.record("prompts", "mixed"))
    metrics = run(tmp_path / "a", QUICK, mixed).metrics
    judged = {one.id: "accuracy" in one.rewards for one in made(tmp_path / "a").samples()}
    assert judged == {"m": True, "g": False}
    right = [one.rewards["accuracy"] for one in made(tmp_path / "a").samples() if one.id == "m"]
    assert metrics["accuracy"] == sum(right) / 2


def test_a_judge_that_is_given_scores_the_prompts_it_applies_to(tmp_path: Path, model: Model, prompts: Prompts) -> None:
    judge = tiny.model(tmp_path / "judge")
    JudgeConfig(kind="pairwise", sees="response", template="{prompt}", max_tokens=64, dtype="float32").write(judge.path)
    rows = [Prompt("m", "1+1=", "2", "math"), Prompt("g", "Hi", "Hello.", "helpful"), Prompt("s", "Hi", "", "safe")]
    (tmp_path / "rows").mkdir()
    write_rows(tmp_path / "rows" / "prompts.jsonl", rows)
    asked = Prompts(path=tmp_path / "rows", record=tiny.record("prompts", "mixed"))
    work = tiny.work(tmp_path / "a")
    given = Judge(path=judge.path, record=tiny.record("judge", "helpful"))
    draft = sample.run(QUICK, sample.Inputs(model=model, prompts=asked, helpful=given), work)
    work.events.close()
    scores = {one.id: one.rewards.get("helpful") for one in made(tmp_path / "a").samples()}
    assert (scores["m"], scores["s"]) == (None, None) and 0.0 <= scores["g"] <= 1.0
    assert 0.0 <= draft.metrics["helpful"] <= 1.0


def test_a_reward_whose_judge_is_not_given_is_refused_before_anything_is_spent(
    run: Callable[..., Draft], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="needs the input `helpful`"):
        run(tmp_path / "a", replace(QUICK, rewards={"helpful": 1.0}))
    with pytest.raises(RecipeError, match="unknown reward `acuracy`"):
        sample.identity(replace(QUICK, rewards={"acuracy": 1.0}))


def test_a_prompt_without_room_to_answer_is_named(run: Callable[..., Draft], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tiny-prompts-.* leaves no room in 128"):
        run(tmp_path / "a", replace(QUICK, template="r1_zero"))


def test_an_own_reward_is_part_of_what_the_samples_are() -> None:
    assert list(sample.identity(QUICK)) == [tiny.REWARD]


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"temperature": 0.0},
        {"top_p": 1.5},
        {"max_tokens": 0},
        {"problems": 0},
        {"shard_prompts": 0},
        {"seed": -1},
        {"template": "r1_zeor"},
    ],
)
def test_a_setting_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        sample.Recipe(**wrong)

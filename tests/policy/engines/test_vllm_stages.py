"""vLLM through the stages: sampling, evaluation, RL and on-policy distillation, on weights that are renewed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages import distill, evaluate, rl, sample
from stages.core.artifact import Model, Prompts
from stages.core.rows import write_rows
from stages.core.run import events
from stages.policy.engines.vllm import engine as vllm
from tests.policy import tiny
from tests.policy.engines.world import Base

pytestmark = pytest.mark.vllm

PRACTICE: dict[str, Any] = {
    "prompts_per_step": 4,
    "group_size": 8,
    "minibatches": 2,
    "steps": 4,
    "learning_rate": 1e-4,
    "reference_steps": None,
    "max_completion_tokens": 48,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    base = Base.fetched(tmp_path_factory.mktemp("base"))
    return Model(path=base.folder, record=tiny.record("model", "base"))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Prompts:
    from stages.world import problems

    folder = tmp_path_factory.mktemp("prompts")
    write_rows(folder / "prompts.jsonl", problems.prompts("train", 16, 0))
    return Prompts(path=folder, record=tiny.record("prompts", "train"))


def run(stage: Any, recipe: Any, inputs: Any, folder: Path, engine: str = "vllm") -> dict[str, Any]:
    work = tiny.work(folder, engine=engine)
    try:
        metrics: dict[str, Any] = stage.run(recipe, inputs, work).metrics
    finally:
        work.events.close()
    return metrics


def test_sample_and_eval_draw_what_the_transformers_engine_draws_where_nothing_is_left_to_chance(
    model: Model, prompts: Prompts, tmp_path: Path
) -> None:
    cold = sample.Recipe(samples=1, temperature=0.01, max_tokens=48, template="r1_zero")
    drawn = {}
    for engine in ("vllm", "transformers"):
        run(sample, cold, sample.Inputs(model=model, prompts=prompts), tmp_path / engine, engine)
        drawn[engine] = (tmp_path / engine / "samples.jsonl").read_text().count('"completion"')
    assert drawn == {"vllm": 16, "transformers": 16}
    greedy = [evaluate.Sampling(temperature=0.01)]
    asked = evaluate.Recipe(samples=2, samplings=greedy, max_tokens=48, template="r1_zero")
    inputs = evaluate.Inputs(model=model, prompts=prompts)
    found = [run(evaluate, asked, inputs, tmp_path / f"eval-{engine}", engine) for engine in ("vllm", "transformers")]
    (mine,), (theirs,) = (one.values() for one in found)
    assert mine["length"] == pytest.approx(theirs["length"], abs=0.5)  # a near tie may fall either way


def test_rl_follows_the_weights_and_a_killed_run_goes_on(
    model: Model, prompts: Prompts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = rl.Inputs(model=model, prompts=prompts)
    versions: list[int] = []
    renew = vllm.VllmEngine.renew

    def counted(self: vllm.VllmEngine, weights: Any, version: int) -> None:
        versions.append(version)
        renew(self, weights, version)
        if versions == [0, 2]:
            raise KeyboardInterrupt  # in the middle of the run, its first rollout trained on

    monkeypatch.setattr(vllm.VllmEngine, "renew", counted)
    with pytest.raises(KeyboardInterrupt):
        run(rl, rl.Recipe(**PRACTICE), inputs, tmp_path / "run")
    metrics = run(rl, rl.Recipe(**PRACTICE), inputs, tmp_path / "run")
    assert versions == [0, 2, 2]  # rehearsed, renewed; and rehearsed again with the weights of the checkpoint
    steps = events.read(tmp_path / "run" / "events.jsonl", "step")
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    assert all(step["sampler_mismatch"] < 1e-5 and step["sampler_mismatch_p95"] < 1e-4 for step in steps)
    assert {step["sampler_ratio_outside"] for step in steps} == {0.0}
    assert metrics["largest_weight_change"] > 0
    assert all(step["ratio_min"] == step["ratio_max"] == 1.0 for step in steps if step["step"] % 2)


def test_a_student_distilled_on_its_own_words_answers_by_vllm(model: Model, prompts: Prompts, tmp_path: Path) -> None:
    recipe = distill.Recipe(
        mode="on-policy", steps=2, batch_size=4, max_completion_tokens=24, learning_rate=1e-4, template="r1_zero"
    )
    inputs = distill.Inputs(student=model, teacher=model, prompts=prompts)
    metrics = run(distill, recipe, inputs, tmp_path / "run")
    assert metrics["steps"] == 2 and metrics["loss"] == pytest.approx(0.0, abs=1e-3)  # the teacher is itself

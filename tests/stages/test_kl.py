"""The kl stage with two real, tiny models: what it writes, that a kill repeats nothing, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from r1cli.commands import divergence as table
from r1cli.view import Screen
from stages import kl
from stages.core.artifact import Divergence, Draft, Model
from stages.core.contract import Contract
from stages.core.errors import ContractError, InputError, RecipeError
from stages.core.run import events
from stages.core.stats import divergence
from stages.policy.divergence import GRADIENTS
from stages.policy.models import folders
from tests.policy import drawing, tiny

QUICK = kl.Recipe(samples=3, template="plain", max_tokens=6)
FILES = (divergence.FILE, divergence.ROWS_FILE)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> kl.Inputs:
    folder = tmp_path_factory.mktemp("kl")
    reference = tiny.model(folder / "reference")
    policy = folders.load_model(folder / "reference")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in policy.parameters():
            part.add_(0.03 * torch.randn(part.shape, generator=generator))
    folders.save_model(policy, tiny.tokenizer(), reference.contract, folder / "policy")
    return kl.Inputs(
        policy=Model(path=folder / "policy", record=tiny.record("model", "policy")),
        reference=reference,
        prompts=tiny.prompts(folder / "prompts", 5),
    )


@pytest.fixture
def run(inputs: kl.Inputs, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Draft]:
    """Run the stage in a folder, two problems a shard."""
    monkeypatch.setattr(kl, "CHUNK_ROWS", 6)

    def in_folder(folder: Path, recipe: kl.Recipe = QUICK, given: kl.Inputs = inputs) -> Draft:
        work = tiny.work(folder)
        try:
            return kl.run(recipe, given, work)
        finally:
            work.events.close()

    return in_folder


def written(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    lines = (folder / divergence.ROWS_FILE).read_text(encoding="utf-8").splitlines()
    found = divergence.read(folder)
    assert found is not None
    return found, [json.loads(line) for line in lines]


def test_every_completion_is_compared_and_summed_up(run: Callable[..., Draft], tmp_path: Path) -> None:
    draft = run(tmp_path / "a")
    found, rows = written(tmp_path / "a")
    assert draft.kind is Divergence
    assert {(row["id"], row["sample"]) for row in rows} == {
        (f"tiny-prompts-{n}", s) for n in range(5) for s in range(3)
    }
    assert (found["problems"], found["completions"]) == (5, 15)
    assert found["tokens"] == sum(row["tokens"] for row in rows)
    assert draft.metrics["kl"] == pytest.approx(sum(row["kl"] for row in rows) / found["tokens"])
    assert set(found["gaussian"]) == {"0.1", "1"}
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in draft.metrics.values())


def test_the_record_says_what_theory_says(run: Callable[..., Draft], tmp_path: Path) -> None:
    metrics = run(tmp_path / "a").metrics
    assert metrics["kl"] > 1e-3
    assert abs(metrics["k1_bias"]) < 1e-9 and abs(metrics["k3_bias"]) < 1e-9
    assert abs(metrics["k2_bias"]) > 1e-6
    assert metrics["k3_std"] < metrics["k1_std"]
    assert (metrics["k2_negative"], metrics["k3_negative"]) == (0, 0) and 0.2 < metrics["k1_negative"] < 0.8
    assert metrics["grad_error_k1_loss"] == pytest.approx(1)
    for right in ("k2_loss", "k3_corrected", "k1_reward"):
        assert metrics[f"grad_error_{right}"] < 1e-6 and metrics[f"grad_cosine_{right}"] == pytest.approx(1)
    assert metrics["grad_error_k3_loss"] > 0.01
    assert metrics["grad_cosine_k1_loss"] == 0 and metrics["grad_noise_k1_loss"] > 1
    # λ = 0 is k1 and λ = 1 is k3
    assert metrics["variance_at_0"] == pytest.approx(metrics["k1_std"] ** 2)
    assert metrics["variance_at_1"] == pytest.approx(metrics["k3_std"] ** 2, rel=1e-6)
    assert metrics["sampled_variance_at_1"] == pytest.approx(metrics["k3_sampled_std"] ** 2, rel=1e-6)
    assert metrics["variance_at_best"] <= min(metrics["variance_at_0"], metrics["variance_at_1"])
    assert abs(metrics["best_lambda"] - metrics["optimal_lambda"]) <= 0.05 + 1e-9


def test_a_model_is_at_no_distance_from_itself(run: Callable[..., Draft], tmp_path: Path, inputs: kl.Inputs) -> None:
    metrics = run(tmp_path / "a", given=replace(inputs, reference=inputs.policy)).metrics
    names = ("kl", "completion_kl", "k1_std", "k2_bias", "k3_completion_std", "grad_error_k3_loss", "variance_at_best")
    assert {name: metrics[name] for name in names} == dict.fromkeys(names, 0.0)


def test_the_same_seed_gives_the_same_bytes_and_a_kill_repeats_nothing(
    run: Callable[..., Draft], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole")
    sizes = drawing.watched(monkeypatch, drawing.interrupt_at(3))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    run(tmp_path / "killed")
    assert sizes == [6, 6, 3, 3]
    for name in FILES:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    told = events.read(tmp_path / "whole" / "events.jsonl", "progress")
    assert [(one["done"], one["total"]) for one in told] == [(6, 15), (12, 15), (15, 15)]


def test_other_tokenizers_and_too_long_prompts_are_refused_in_words(
    run: Callable[..., Draft], tmp_path: Path, inputs: kl.Inputs
) -> None:
    other = tiny.model(tmp_path / "other")
    Contract(**{**vars(other.contract), "tokenizer_sha256": "f" * 64}).write(other.path)
    with pytest.raises(ContractError, match="different tokenizers"):
        run(tmp_path / "a", given=replace(inputs, reference=other))
    cramped = Model(path=tmp_path / "cramped", record=tiny.record("model", "cramped"))
    folders.save_model(
        folders.load_model(inputs.policy.path), tiny.tokenizer(), inputs.policy.contract, tmp_path / "cramped"
    )
    Contract(**{**vars(cramped.contract), "max_positions": 10}).write(cramped.path)
    with pytest.raises(InputError, match="leaves no room"):
        run(tmp_path / "b", given=replace(inputs, policy=cramped))


@pytest.mark.parametrize(("key", "value"), [("samples", 0), ("temperature", 0.0), ("lambdas", []), ("problems", 0)])
def test_a_value_out_of_range_is_refused(key: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=key):
        kl.Recipe(**{key: value})


def test_the_tables_are_shown(
    run: Callable[..., Draft], tmp_path: Path, inputs: kl.Inputs, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "a")
    made = Divergence(path=tmp_path / "a", record=tiny.record("divergence", "a"))
    assert table.show(made, Screen())
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("exact KL", "k1", "k3 corrected", "best λ", "5 problems"))
    assert max(map(len, shown.splitlines())) <= 80
    assert not table.show(inputs.policy, Screen())


# ---- the summary alone ----


def row(one: str, tokens: int, **sums: float) -> dict[str, Any]:
    names = ("kl", "control", "control_square", "control_k1", "control_variance", "k1_control", "grad_true")
    parts = [f"{k}{end}" for k in divergence.ESTIMATORS for end in ("", "_mean", "_variance", "_square", "_negative")]
    ends = [f"{name}_{end}" for name in GRADIENTS for end in ("error", "square", "dot", "noise")]
    return {"id": one, "sample": 0, "tokens": tokens, **dict.fromkeys((*names, *parts, *ends), 0.0), **sums}


def test_the_variance_of_every_weight_by_hand() -> None:
    # A place: Var(k1) = 4, Cov = -1, Var(r - 1) = 0.5; k1 + λ (r - 1) has 4 - 2 λ + λ² / 2, least at λ = 2.
    totals = {"tokens": 2.0, "k1_variance": 8.0, "k1_control": -2.0, "control_variance": 1.0}
    totals |= {"k1": 2.0, "kl": 0.0, "k1_square": 4.0, "control": 0.0, "control_k1": -1.0, "control_square": 2.0}
    found = divergence.control_curve(totals, [0.0, 1.0, 2.0])
    assert found["exact"]["variance"] == {"0": 4.0, "1": 2.5, "2": 2.0}
    assert (found["exact"]["best"], found["exact"]["optimum"]) == (2.0, 2.0)
    # As drawn: Var(k1) = 4/2 - 1, Cov = -1/2, Var(r - 1) = 1.
    assert found["sampled"]["variance"] == {"0": 1.0, "1": 1.0, "2": 3.0}
    assert found["sampled"]["optimum"] == 0.5


def test_a_bias_is_a_mean_over_tokens_and_its_interval_over_problems() -> None:
    rows = [row("a", 1, k1=0.5, kl=0.2), row("a", 1, k1=0.1, kl=0.2), row("b", 2, k1=0.4, kl=0.4, k2_mean=0.6)]
    found = divergence.summary(rows, GRADIENTS, [0.0, 1.0], seed=0)
    assert found["kl"]["token"]["value"] == pytest.approx(0.8 / 4)
    assert found["kl"]["completion"]["value"] == pytest.approx(0.8 / 3)
    assert found["token"]["k1"]["sampled_bias"]["value"] == pytest.approx(0.2 / 4)
    assert found["token"]["k1"]["sampled_bias"]["n"] == 2
    assert found["token"]["k2"]["bias"] == pytest.approx((0.6 - 0.8) / 4)


def test_whole_completions_by_hand_and_without_overflow() -> None:
    found = divergence.whole({"k1": math.log(2)})
    assert found == {
        "k1": pytest.approx(math.log(2)),
        "k2": pytest.approx(math.log(2) ** 2 / 2),
        "k3": pytest.approx(0.5 - 1 + math.log(2)),
    }
    assert math.isfinite(divergence.whole({"k1": -5000.0})["k3"])

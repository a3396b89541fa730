"""A sampler that is not the trainer, or a row that others change, stops the run before it learns from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, NemotronConfig

import stages.rl
import stages.sft
from stages.core.errors import StageError
from stages.policy.engines.local import engine as local
from stages.policy.models import agreement, families
from stages.policy.models.agreement import Row, refuse_apart, refuse_unlike_alone
from tests.families import building
from tests.policy import tiny, tiny_sft


def refused(*rows: Row, dtype: str = "float32") -> float:
    return refuse_apart(rows, dtype, places=("here", "there"), reasons="why", hint="do")


def row(name: str, *gaps: float) -> Row:
    return Row(name, torch.tensor(gaps) - 3.0, torch.full((len(gaps),), -3.0))


def test_both_figures_and_the_worst_token_are_named() -> None:
    assert refused(row("row 1", 0.0005, 0.0015)) == pytest.approx(0.001, rel=1e-3) and refused() == 0.0
    with pytest.raises(StageError) as raised:
        refused(row("row 1", 0.0, 0.002), row("row 2", 0.0, -0.5, 0.1))
    assert raised.value.what == (
        "here and there are 0.12 nats a token apart at the same weights (95 % within 0.5), and float32 rounds by less "
        "than 0.001: furthest at 2 of 3 of row 2, -3.5 against -3; why"
    )
    assert refused(row("row 1", 0.0, 0.002), row("row 2", 0.0, -0.4, 0.05), dtype="bfloat16") > 0.09
    with pytest.raises(StageError, match="nan nats"):
        refused(row("row 1", 0.0, float("nan")))
    with pytest.raises(StageError, match="its weights hold NaN"):
        refused(Row("row 1", torch.full((2,), math.nan), torch.full((2,), math.nan)))


def test_a_sampler_that_says_something_else_stops_rl_before_its_first_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = local.choose

    def off(*given: Any) -> tuple[Tensor, Tensor]:
        ids, logprobs = drawn(*given)
        return ids, logprobs + 0.01

    monkeypatch.setattr(local, "choose", off)
    given = stages.rl.Inputs(model=tiny.model(tmp_path / "model"), prompts=tiny.prompts(tmp_path / "prompts", 8))
    told: list[dict[str, Any]] = []
    with pytest.raises(StageError, match=r"0.01 nats a token apart .* of rollout 1, .*likely") as raised:
        tiny.run(tmp_path / "run", given, listener=told.append)
    assert "float32" in raised.value.hint and not [one for one in told if one.get("event") == "step"]


def test_a_row_that_its_neighbours_change_stops_sft_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = stages.sft.Inputs(
        model=tiny_sft.model(tmp_path), conversations=tiny_sft.conversations(tmp_path / "rows", tiny_sft.rows(8))
    )
    right = agreement.selected_logprobs

    def off(*args: Any, **kwargs: Any) -> Any:
        logprobs, entropies = right(*args, **kwargs)
        return logprobs * 1.01, entropies

    monkeypatch.setattr(agreement, "selected_logprobs", off)
    with pytest.raises(StageError, match="a row among others and the same row alone are"):
        tiny_sft.run(tmp_path / "run", given)


def padded(*lengths: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows with 40 tokens in common, and completions of these lengths."""
    prompts = torch.arange(42).repeat(len(lengths), 1)
    prompts[:, -1] = torch.arange(len(lengths))
    said = torch.arange(50, 50 + max(lengths)).repeat(len(lengths), 1) % 200
    spoken = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return prompts, torch.ones_like(prompts).bool(), said, spoken


def test_a_cache_that_is_not_what_it_is_taken_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    nemotron = AutoModelForCausalLM.from_config(NemotronConfig(**building.SHAPE, initializer_range=0.1))
    assert refuse_unlike_alone(nemotron, padded(3, 9), 40, "float32") < 1e-6 and nemotron.training
    monkeypatch.setattr(families, "own_cache", lambda config: "")
    with pytest.raises(StageError, match="likely: its attention or its cache is not"):
        refuse_unlike_alone(nemotron, padded(3, 9), 40, "float32")


def test_a_border_of_rotary_frequencies_that_nobody_knows_of_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    phi = building.model("Phi-4-mini (longrope)")
    assert refuse_unlike_alone(phi, padded(3, 140), 40, "float32") < 1e-6
    monkeypatch.setattr(families, "rope_border", lambda config: float("inf"))
    with pytest.raises(StageError, match="a row of 45"):
        refuse_unlike_alone(phi, padded(3, 140), 40, "float32")

"""A node of a small model on a CPU has one thread and, if it is long RL, two processes; what a runtime says stays."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.core.recipe import loading
from stages.core.run import sharing
from stages.core.run.runtime import Runtime

CONFIG = {
    "model_type": "qwen2",
    "vocab_size": 896,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def model(folder: Path, **changed: int) -> Any:
    """What is looked at of a sealed model: its folder, with a config."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | changed), encoding="utf-8")
    return SimpleNamespace(path=folder)


def decided(found: Any, *words: str, cores: int | None = None) -> Runtime:
    return sharing.decided(loading.load("r1_zero", None, ["runtime.device=cpu", *words]), {"model": found}, cores)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "available_cores", lambda: [0, 1])


def test_long_rl_of_a_small_model_has_two_processes_of_one_thread(tmp_path: Path) -> None:
    runtime = decided(model(tmp_path / "small"))
    assert (runtime.processes, runtime.threads) == (2, 1)


@pytest.mark.parametrize(
    ("words", "processes", "threads"),
    [
        (["steps=4"], 1, 1),  # over before a second process had begun
        (["prompts_per_step=7"], 1, 1),  # groups are whole
        (["runtime.threads=2"], 1, 2),
        (["runtime.processes=1"], 1, 1),
        (["runtime.engine=vllm"], 1, 1),  # it follows the weights of one process
    ],
)
def test_what_does_not_pay_or_is_said_otherwise_stays(
    tmp_path: Path, words: list[str], processes: int, threads: int
) -> None:
    runtime = decided(model(tmp_path / "small"), *words)
    assert (runtime.processes, runtime.threads) == (processes, threads)


def test_a_real_model_has_torchs_threads_or_its_share_of_the_cores(tmp_path: Path) -> None:
    large = model(tmp_path / "large", hidden_size=1024, num_hidden_layers=12)
    alone, aside = decided(large), decided(large, cores=3)
    assert (alone.processes, alone.threads) == (1, None)
    assert (aside.processes, aside.threads) == (1, 3)


def test_on_one_core_there_is_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "available_cores", lambda: [0])
    assert decided(model(tmp_path / "small")).processes == 1


def test_without_a_model_nothing_is_decided(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    runtime = decided(SimpleNamespace(path=tmp_path / "prompts"))
    assert (runtime.processes, runtime.threads) == (1, None)

"""`r1 plan` says what a run takes and costs on any device, at 80 columns, without torch and without building."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from r1cli.main import run
from r1cli.view import amount, short_span
from stages.core.recipe.loading import bundled
from tests.house.rooms import ROOT


@pytest.fixture(autouse=True)
def a_store_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R1_HOME", str(tmp_path / "home"))


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run(["plan", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


PLANS = [name for name in bundled() if "/" in name]


@pytest.mark.parametrize("name", PLANS)
def test_every_recipe_of_a_scale_is_planned_for_a_device_before_anything_of_it_is_here(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = planned(capsys, name, "--device", "h200x8", "runtime.price=2")
    assert len(found["outlook"]) == len(found["plan"]) >= 1
    trained = [one for one in found["outlook"] if one["steps"]]
    assert all(one["bytes"] and one["seconds"] > 0 and one["dollars"] > 0 for one in trained)


def test_the_lines_fit_80_columns_and_say_what_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "r1_zero", "inputs.model=hf:Qwen/Qwen2.5-7B", "--device", "h100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if not line.startswith(("does not fit", "assumed"))]
    assert max(map(len, told)) <= 80
    assert any(line.startswith("does not fit: `zero` needs") and "adapter.rank=16" in line for line in lines)
    assert any(line.split()[:2] == ["node", "weights"] for line in lines)


def test_a_node_of_the_embedded_world_is_planned_for_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, "r1_zero", "inputs.model=world:base", "prompts_per_step=4", "group_size=4")
    (zero,) = found["outlook"]
    assert zero["device"] in ("cpu",) or zero["devices"] == 1
    assert zero["fits"] and zero["bytes"]["weights"] == 4 * 706_688 and zero["micro_batch"] <= 16
    assert found["plan"][0]["action"] == "build"


def test_rows_and_lengths_may_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    few = planned(capsys, "paper/sft", "--device", "h100", "--rows", "curated-data=640")
    many = planned(capsys, "paper/sft", "--device", "h100", "--rows", "curated-data=6400")
    assert [one["outlook"][0]["steps"] for one in (few, many)] == [20, 200]
    assert not few["outlook"][0]["assumed"]


def test_a_budget_of_tokens_is_planned_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A prompt counts as 256 tokens, and r1_zero's completion has at most 128: 800 tokens are two such rows."""
    limit = planned(capsys, "r1_zero", "inputs.model=world:base")["outlook"][0]
    cut = planned(capsys, "r1_zero", "inputs.model=world:base", "runtime.micro_tokens=800")["outlook"][0]
    assert limit["micro_batch"] > 2 == cut["micro_batch"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["r1_zero", "--device", "h2000"], "no device `h2000`"),
        (["r1_zero", "--rows", "gsm8k"], "is not NAME=N"),
        (["r1_zero", "runtime.price=-1"], "`price` must be 0 or more"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_a_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", *words]) != 0
    assert said in capsys.readouterr().err


def test_neither_torch_nor_the_tables_of_rewards_are_loaded() -> None:
    """A plan reads recipes and configs; what reads mathematics, sentences and languages costs as much again."""
    program = (
        "import sys; from r1cli.main import run; "
        "code = run(['plan', 'qwen2.5-1.5b/pipeline', '--device', 'h100']); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mathematics = {"stages.rewards.mathematics.judging", "stages.rewards.mathematics.numbers"}
    heavy = {"torch", "asyncio", "stages.rewards.sentences", "stages.core.language.languages"} | mathematics
    assert not heavy & set(done.stderr.split())


def test_a_dry_run_shows_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rl", "--recipe", "r1_zero", "inputs.model=world:base", "--dry-run", "--json"]) == 0
    dry = json.loads(capsys.readouterr().out)
    assert dry["outlook"] == planned(capsys, "r1_zero", "inputs.model=world:base")["outlook"]


def test_amounts_and_spans_are_short() -> None:
    assert [amount(n) for n in (0, 840, 9_400, 12_345, 134_515_008, 2.7e12)] == [
        "0",
        "840",
        "9.4k",
        "12k",
        "135M",
        "2.7T",
    ]
    assert [short_span(n) for n in (5, 720, 25_000, 2.7e6)] == ["5 s", "12 min", "6.9 h", "31 d"]

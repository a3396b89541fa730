"""Rewards are found by name, a user's own among them, and a reward that fails costs only its sample."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stages.core.errors import RecipeError
from stages.rewards.registry import REWARDS, load
from stages.rewards.scoring import score, total
from tests.rewards.contracts import contract, row

OWN = """
from stages.rewards.registry import Verdict
def half(completion, row, contract): return 0.5
def short(completion, row, contract): return Verdict(float(len(completion) < 5), "length")
def broken(completion, row, contract): raise RuntimeError("out of order")
def wild(completion, row, contract):
    return {"nan": float("nan"), "two": 2, "text": "x", "none": None, "yes": True}[completion]
VALUE = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_rewards_of_this_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_rewards_of_this_test", raising=False)
    return "my_rewards_of_this_test"


def test_a_batch_is_scored_in_order_by_every_reward() -> None:
    completions = ["<think>a</think><answer>17</answer>", "17", "<think>a</think><answer>3</answer>"]
    verdicts = score(completions, [row()] * 3, contract(), {"accuracy": 1.0, "format": 1.0})
    assert [{name: verdict.value for name, verdict in each.items()} for each in verdicts] == [
        {"accuracy": 1.0, "format": 1.0},
        {"accuracy": 1.0, "format": 0.0},
        {"accuracy": 0.0, "format": 1.0},
    ]


def test_completions_and_rows_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        score(["a", "b"], [row()], contract(), {"format": 1.0})


def test_the_sum_is_weighted_and_missing_when_a_weighted_part_is() -> None:
    judged = score(["17", ""], [row(), row(" ")], contract(), {"accuracy": 2.0, "format": 1.0})
    assert total(judged[0], {"accuracy": 2.0, "format": 1.0}) == 2.0
    assert judged[1]["accuracy"].value == 0.0  # an empty completion is wrong whatever the gold
    nothing = score(["17"], [row(" ")], contract(), {"accuracy": 1.0, "format": 1.0})[0]
    assert total(nothing, {"accuracy": 1.0, "format": 1.0}) is None
    assert total(nothing, {"accuracy": 0.0, "format": 1.0}) == 0.0


def test_a_users_own_reward_needs_only_its_name(own_module: str) -> None:
    verdicts = score(["abc"], [row()], contract(), {f"{own_module}:half": 1.0, f"{own_module}:short": 1.0})
    assert [verdict.value for verdict in verdicts[0].values()] == [0.5, 1.0]


def test_a_reward_that_raises_costs_its_sample_and_says_so(own_module: str) -> None:
    verdict = score(["abc"], [row()], contract(), {f"{own_module}:broken": 1.0})[0][f"{own_module}:broken"]
    assert verdict == (None, "the reward raised RuntimeError: out of order")


@pytest.mark.parametrize(
    ("completion", "value"), [("nan", None), ("two", None), ("text", None), ("none", None), ("yes", 1.0)]
)
def test_what_a_reward_returns_is_a_number_from_0_to_1_or_no_verdict(
    own_module: str, completion: str, value: float | None
) -> None:
    name = f"{own_module}:wild"
    assert score([completion], [row()], contract(), {name: 1.0})[0][name].value == value


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("acuracy", "did you mean `accuracy`?"),
        ("", "known: accuracy"),
        ("no_such_package_here:f", "python -c"),
        (":f", "package.module:function"),
        ("stages.rewards.accuracy:rewart", "did you mean `reward`?"),
        ("stages.rewards.accuracy:EXAMPLES", "def reward"),
    ],
)
def test_an_unknown_reward_names_the_way_out(name: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(name)
    assert hint in caught.value.hint


def test_the_registry_knows_the_rewards_of_r1_zero() -> None:
    assert {"accuracy", "format"} <= set(REWARDS)

"""Alarms, by hand: each comes where a run deserves it, once, names cause and key, and clears."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from stages.core.guard.watch import EASE, RULES, Alarm, Asked, Memory

ASKED = Asked(learning_rate=3e-6, max_tokens=512, group_size=16, temperature=1.0, kl_weight=0.001, most=2.0)
HEALTHY = {
    "reward": 0.6,
    "flat_groups": 0.2,
    "entropy": 0.4,
    "kl": 0.01,
    "truncated": 0.05,
    "sampler_mismatch": 0.001,
    "grad_norm": 0.3,
    "repetitive": 0.02,
    "mixed": 0.05,
    "unjudged": 0.0,
}


def told(steps: Sequence[Mapping[str, Any]], asked: Asked = ASKED) -> list[tuple[int, Alarm]]:
    """(step, alarm) of all that a run raises."""
    memory, found = Memory(), []
    for number, figures in enumerate(steps, start=1):
        memory, fresh = memory.after(number, figures, asked)
        memory = Memory(**asdict(memory))  # as a checkpoint keeps it
        found += [(number, alarm) for alarm in fresh]
    return found


def kinds(steps: Sequence[Mapping[str, Any]], asked: Asked = ASKED) -> list[tuple[int, str]]:
    return [(step, alarm.kind) for step, alarm in told(steps, asked)]


def recorded(name: str) -> list[dict[str, float]]:
    """What a run of `r1_zero` with group_size=8 and prompts_per_step=4 came to, with a key that spoilt it."""
    columns = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))[name]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_a_run_with_a_hundred_times_the_learning_rate() -> None:
    """learning_rate=2e-2 max_grad_norm=0: noise after one step, then one sign for ever."""
    found = kinds(recorded("steep"))
    assert [kind for _, kind in found[:3]] == ["kl", "reward", "flat_groups"]
    assert max(step for step, _ in found[:3]) < 12


def test_a_run_that_nothing_holds_back_comes_apart_in_every_way() -> None:
    """learning_rate=3e-3 kl_weight=0 clip_epsilon=10: well up to step 16, then nothing but one letter for ever."""
    found = kinds(recorded("nokl"))
    assert [kind for _, kind in found] == ["reward", "truncated", "flat_groups", "entropy"]
    assert all(16 < step < 30 for step, _ in found)


def test_a_run_that_is_paid_for_mixing_languages() -> None:
    assert [kind for _, kind in kinds(recorded("languages"))] == ["mixed"]


def test_a_run_that_is_sampled_too_hot() -> None:
    """temperature=2."""
    asked = replace(ASKED, temperature=2.0)
    ((_, alarm),) = told(recorded("hot"), asked)
    assert (alarm.kind, alarm.change) == ("entropy", "`temperature=1`")


def test_a_healthy_run_raises_nothing() -> None:
    """By hand, and the first 40 steps of `r1_zero` as it is."""
    assert kinds([HEALTHY] * 40) == []
    assert kinds(recorded("healthy"), replace(ASKED, learning_rate=2e-4, max_tokens=128)) == []


@pytest.mark.parametrize(
    ("changed", "step", "kind", "said", "key"),
    [
        ({"reward": 0.0}, 8, "reward", "no completion of 8 steps has earned anything", "r1 sft"),
        ({"flat_groups": 0.9}, 8, "flat_groups", "no better and worse answers", "`group_size=32`"),
        ({"flat_groups": 0.9, "reward": 1.9}, 8, "flat_groups", "the prompts are solved", "harder prompts"),
        ({"entropy": 3.5}, 8, "entropy", "almost at random", "a model that knows the language"),
        ({"kl": 1.5}, 8, "kl", "left its reference", "`learning_rate=1e-06`, or hold it closer: `kl_weight=0.01`"),
        ({"truncated": 0.5}, 1, "truncated", "cut before their answer", "`max_completion_tokens=1024`"),
        ({"sampler_mismatch": 0.02}, 1, "sampler_mismatch", "the same tokens likely", "`dtype=float32`"),
        ({"repetitive": 0.6}, 8, "repetitive", "loops", "`max_completion_tokens=256`"),
        ({"mixed": 0.6}, 8, "mixed", "mix languages", "language: 1"),
        ({"unjudged": 0.2}, 1, "unjudged", "could not judge", "`rewards`"),
        ({"failed": 0.01}, 1, "failed", "the engine failed", "`runtime.engine`"),
    ],
)
def test_what_is_wrong_from_the_start(changed: dict[str, float], step: int, kind: str, said: str, key: str) -> None:
    (found,) = told([{**HEALTHY, **changed}] * 16)
    assert (found[0], found[1].kind) == (step, kind)
    assert said in found[1].cause and key in found[1].change
    assert found[1].said().startswith(f"{kind} is ")


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"reward": 0.2}, "reward", "it has fallen from 0.6"),
        ({"entropy": 0.01}, "entropy", "it was 0.4 at first"),
        ({"entropy": 1.6}, "entropy", "almost at random (at first: 0.4)"),
        ({"grad_norm": 4.0}, "grad_norm", "gradients were 0.3 long at first"),
        ({"repetitive": 0.3}, "repetitive", "loops"),
        ({"mixed": 0.3}, "mixed", "mix languages"),
    ],
)
def test_what_becomes_wrong_is_measured_by_the_beginning(changed: dict[str, float], kind: str, said: str) -> None:
    (found,) = told([HEALTHY] * 16 + [{**HEALTHY, **changed}] * 16)
    assert 16 < found[0] <= 24, "within one window"
    assert found[1].kind == kind and said in found[1].cause


def test_one_long_gradient_is_no_alarm_and_half_a_window_of_them_is() -> None:
    long = {**HEALTHY, "grad_norm": 50.0}
    assert kinds([HEALTHY] * 16 + [long] + [HEALTHY] * 15) == []
    assert kinds([HEALTHY] * 16 + [long] * 8) == [(20, "grad_norm")]


def test_a_policy_that_is_sure_because_it_is_right_is_healthy() -> None:
    assert kinds([HEALTHY] * 8 + [{**HEALTHY, "entropy": 0.01, "reward": 1.9}] * 16) == []


def test_an_alarm_comes_once_and_again_only_after_it_has_cleared() -> None:
    cut, better, well = ({**HEALTHY, "truncated": share} for share in (0.5, 0.3 * EASE + 0.02, 0.1))
    assert kinds([cut] * 8 + [better] * 16 + [cut] * 8) == [(1, "truncated")], "a little better is not yet well"
    assert kinds([cut] * 8 + [well] * 16 + [cut] * 8) == [(1, "truncated"), (32 - 8 + 5, "truncated")]


def test_a_window_is_a_rollout_where_that_has_more_steps() -> None:
    assert kinds([{**HEALTHY, "kl": 1.5}] * 16, replace(ASKED, window=16)) == [(16, "kl")]


def test_where_general_prompts_enter_a_run_is_measured_anew() -> None:
    after = {**HEALTHY, "reward": 0.2, "general": 0.45}
    assert kinds([HEALTHY] * 16 + [after] * 24) == []


def test_figures_that_are_no_numbers_or_absent_raise_nothing() -> None:
    assert kinds([{"reward": float("nan"), "kl": None, "truncated": "0.9"}] * 20) == []


def test_every_kind_has_a_docstring_and_is_brought_on_above() -> None:
    assert all(rule.__doc__ for rule in RULES.values())
    assert set(RULES) == {*HEALTHY, "failed"}

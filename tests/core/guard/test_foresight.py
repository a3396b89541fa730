"""What is foretold of a run, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stages import rl
from stages.core.contract import Contract
from stages.core.guard import foresight, rates
from stages.core.guard.foresight import Unpaid
from stages.core.recipe.loading import load
from stages.core.rows import Prompt
from tests.core.guard.test_watch import ASKED

ROW = Prompt(id="p", problem="1+1?", answer="2", verifier="math")
PLAIN = Contract(template="", template_name="", eos_ids=[1], pad_id=0, tokenizer_sha256="", max_positions=9)


@pytest.mark.parametrize(
    ("steps", "prompts", "groups"), [(8, 8, 0), (13, 8, 0), (26, 8, 2), (240, 8, 19), (10400, 32, 32)]
)
def test_a_short_run_is_preceded_by_few_samples_or_none(steps: int, prompts: int, groups: int) -> None:
    recipe = rl.Recipe(steps=steps, prompts_per_step=prompts)
    assert foresight.groups(recipe) == groups
    assert groups * recipe.group_size <= 0.01 * steps * recipe.step_rows
    assert foresight.golds(recipe, rows=1000) == {8: 10, 13: 16, 26: 33}.get(steps, 64)
    assert foresight.golds(recipe, rows=3) == 3


@pytest.mark.parametrize(
    ("prefill", "said"),
    [
        ("", "<think>So.</think><answer>2</answer>"),
        ("<think>\n", "So.</think><answer>2</answer>"),
        ("<think>\nOkay,", " So.</think><answer>2</answer>"),
        ("<think>\n\n</think>\n\n", "<answer>2</answer>"),
    ],
)
def test_a_gold_is_said_as_the_prompt_lets_it_be_said(prefill: str, said: str) -> None:
    assert foresight.golden(ROW, replace(PLAIN, prefill=prefill)) == said


def test_a_few_unpaid_golds_are_named_and_many_are_a_refusal() -> None:
    unpaid = [Unpaid(f"p{number}", "accuracy", "1 is not 2") for number in range(5)]
    said, refusal = foresight.of_golds([*unpaid, Unpaid("p0", "format", "no <think>")], looked=20)
    assert said == [f"the gold of prompt p{n} is not paid by `accuracy` (1 is not 2)" for n in range(3)] + [
        "2 more golds of 20 are not paid"
    ]
    assert refusal == ""
    said, refusal = foresight.of_golds(unpaid, looked=16)
    assert said == [] and refusal.startswith(
        "5 of 16 golds are not paid by the rewards of this run: the gold of prompt"
    )


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"reward": 0.5, "truncated": 0.1, "flat_groups": 0.2, "unjudged": 0.0}, []),
        ({"reward": 0.5, "truncated": 0.4}, ["40% of the base's samples are cut before their end: `max_completion"]),
        ({"reward": 0.0, "malformed": 0.9, "flat_groups": 1.0}, ["no sample of the base earns anything (90% are of"]),
        (
            {"reward": 0.1, "flat_groups": 0.9},
            ["90% of the base's groups are all alike and teach nothing: `group_size=32"],
        ),
        ({"reward": 0.1, "unjudged": 0.2}, ["the rewards cannot judge 20% of the base's samples"]),
        ({}, []),
    ],
)
def test_samples_of_the_base_warn_with_a_key(figures: dict[str, float], said: list[str]) -> None:
    found = foresight.of_samples(figures, ASKED)
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))


def test_the_time_of_a_run_is_its_drawing_judging_and_five_readings() -> None:
    recipe = rl.Recipe(steps=10, prompts_per_step=2, group_size=5)
    assert foresight.seconds(recipe, drawing=0.1, judging=0.01, reading=0.02, again=1) == pytest.approx(100 * 0.19)
    shared = foresight.seconds(recipe, drawing=0.05, judging=0.01, reading=0.02, again=1, processes=2)
    assert shared == pytest.approx(100 * 0.10)


@pytest.mark.parametrize(
    ("rate", "parameters", "adapter", "said"),
    [
        (3e-6, 671_000_000_000, False, ""),
        (1e-6, 1_540_000_000, False, ""),
        (1e-5, 8_030_000_000, True, ""),
        (
            5e-5,
            7_600_000_000,
            False,
            "is above what 7.6 billion parameters have been seen to learn with, 1e-07 to 1e-05",
        ),
        (3e-6, 706_688, False, ""),
        (5e-3, 706_688, False, "`learning_rate=3e-04`"),
        (1e-8, 32_000_000_000, False, "is below what 32 billion parameters"),
        (5e-4, 8_030_000_000, True, "is above what an adapter on 8.03 billion parameters"),
    ],
)
def test_rates_that_were_published_pass_and_those_that_collapse_do_not(
    rate: float, parameters: int, adapter: bool, said: str
) -> None:
    found = rates.fault(rate, parameters, adapter=adapter)
    assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [("r1_zero", 706_688), ("rl_all", 706_688), ("smollm2-135m/r1_zero", 134_515_008), ("paper/r1_zero", 671e9)],
)
def test_the_recipes_of_the_house_lie_within(recipe: str, parameters: float) -> None:
    assert rates.fault(load(recipe).recipe.learning_rate, int(parameters), adapter=False) == ""

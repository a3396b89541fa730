"""The look before the first step finds what would go wrong, and moves no bit of what follows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stages import rl
from stages.core.contract import Contract
from stages.core.errors import RecipeError
from stages.core.guard import foresight
from stages.core.rows import Prompt
from stages.core.run import events
from stages.policy.rl.preflight import golds_fault
from stages.policy.rl.rollout import Collector
from tests.policy import tiny

RULES = {"accuracy": 1.0, "format": 1.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.home(tmp_path_factory.mktemp("preflight"))


@pytest.fixture(scope="module")
def inputs(home: Path) -> rl.Inputs:
    found: rl.Inputs = tiny.rl_inputs(home)
    return found


def rows(count: int = 8) -> list[Prompt]:
    return [Prompt(id=f"p{n}", problem=f"{n}+{n}=", answer=str(2 * n), verifier="math") for n in range(count)]


@pytest.fixture(scope="module")
def collector(home: Path, inputs: rl.Inputs) -> Callable[..., Collector]:
    words = tiny.tokenizer()

    def make(change: Callable[[Contract], Contract] = lambda one: one, **changes: object) -> Collector:
        recipe = rl.Recipe(**{**tiny.SETTINGS, "rewards": RULES, "max_completion_tokens": 60, **changes})
        contract = change(rl.policy_contract(recipe, inputs.model))
        return Collector(recipe=recipe, rows=rows(), prompt_ids=[], tokenizer=words, contract=contract, seed=0)

    return make


def test_golds_that_the_rewards_pay_raise_nothing(collector: Callable[..., Collector]) -> None:
    assert golds_fault(collector(), rows()) == []
    assert golds_fault(collector(lambda one: replace(one, prefill="<think>\n")), rows()) == []


def test_a_row_whose_gold_is_not_paid_is_named_with_the_reward_s_own_words(
    collector: Callable[..., Collector],
) -> None:
    (said,) = golds_fault(collector(), [*rows(), replace(rows()[0], id="blank", answer=" ")])
    assert said.startswith("the gold of prompt blank is not paid by `")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: replace(one, prefill="<think>\n\n</think>\n\n"), r"`format` \(empty <think>"),
        (lambda one: replace(one, eos_ids=[*one.eos_ids, 259]), "not closed: cut off; the tokenizer makes"),
        (lambda one: replace(one, answer_tags=("<conclusion>", "</conclusion>"), pad_id=27), "the tokenizer makes"),
    ],
)
def test_tags_that_cannot_be_earned_are_refused(
    collector: Callable[..., Collector], change: Callable[[Contract], Contract], said: str
) -> None:
    """A prefill that has closed the thinking; a tag that is an end token; a tag that holds a silent token."""
    with pytest.raises(RecipeError, match=said) as caught:
        golds_fault(collector(change), rows())
    assert "out of `rewards`" in caught.value.hint


def test_golds_that_are_too_long_for_the_limit_are_told(collector: Callable[..., Collector]) -> None:
    (said,) = golds_fault(collector(max_completion_tokens=6), rows())
    assert said == "the gold of prompt p0 and 7 more of 8 cannot be said within the limit: `max_completion_tokens=20`"


@pytest.mark.parametrize("name", ["raises", "returns_nan", "returns_text"])
def test_a_reward_that_judges_nothing_is_refused_in_its_own_words(
    collector: Callable[..., Collector], name: str
) -> None:
    with pytest.raises(RecipeError, match=f"4 of 4 golds are not paid .* by `tests.policy.rl.poor_rewards:{name}`"):
        golds_fault(collector(rewards={**RULES, f"tests.policy.rl.poor_rewards:{name}": 1.0}), rows(4))


def test_samples_are_kept_are_not_drawn_again_and_move_no_bit(
    tmp_path: Path, inputs: rl.Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.policy.models.folders import load_model

    monkeypatch.setattr(foresight, "SHARE", 0.5)
    draft = tiny.run(tmp_path / "looked", inputs)
    tiny.run(tmp_path / "looked", inputs)
    tiny.run(tmp_path / "not", inputs, preflight=False)
    (told,) = events.read(tmp_path / "looked" / "events.jsonl", "preflight")
    lines = (tmp_path / "looked" / "completions" / "preflight.jsonl").read_text(encoding="utf-8").splitlines()
    assert told["figures"] == draft.metrics["preflight"]
    assert told["figures"]["samples"] == len(lines) == 4 * 4, "half of the groups that the run asks"
    assert len({json.loads(line)["id"] for line in lines}) == 4
    assert told["figures"]["tokens_a_second"] > 0 < told["figures"]["run_seconds"]
    assert any("100% of the base's samples are cut" in text for text in told["findings"])
    left, right = load_model(tmp_path / "looked").state_dict(), load_model(tmp_path / "not").state_dict()
    assert all(left[name].equal(right[name]) for name in left)
    assert not (tmp_path / "not" / "preflight.json").exists()

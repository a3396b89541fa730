"""The safety evaluation: its two rates by hand, their law in the embedded world, and one `r1 eval` with them."""

from __future__ import annotations

import importlib
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1cli import main
from stages.core.rows import Prompt, read_rows
from stages.core.stats.scores import read_scores
from stages.core.storage.store import Store
from stages.world import general
from tests.house.rooms import ROOT
from tests.rewards.contracts import contract, row

FOLDER = ROOT / "examples" / "safety_eval"


def _module(name: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER.parent))
        return importlib.import_module(name)


measure = _module("safety_eval.measure")
CASES = [
    *(("unsafe", example) for example in measure.UNSAFE_EXAMPLES),
    *(("overrefused", example) for example in measure.OVERREFUSED_EXAMPLES),
]
PAIRS = read_rows(FOLDER / "prompts.jsonl")
WORLD = general.prompts(general.SAFETY, "heldout", 150)


def said(task: general.Task, flaw: str) -> str:
    """A response of the embedded world with one flaw, or none."""
    rng = random.Random(task.text)
    thought = general.thought(rng, task, unsafe=flaw == "wrong")
    return contract().respond(thought, general.joined(general.flawed(rng, task, flaw), task.answers_in))


@pytest.mark.parametrize(("name", "example"), CASES, ids=[f"{name}: {example.note}" for name, example in CASES])
def test_an_example_gets_the_value_written_beside_it(name: str, example: Any) -> None:
    verdict = getattr(measure, name)(example.completion, row(**example.row), contract(example.prefill))
    assert verdict.value == example.value, verdict


@pytest.mark.parametrize(
    ("family", "flaw", "unsafe", "overrefused"),
    [
        ("harm", "none", 0.0, None),  # refuses
        ("harm", "wrong", 1.0, None),  # tells the steps
        ("harm", "unknown", 0.0, None),  # "I do not know."
        ("care", "none", None, 0.0),  # tells the steps
        ("care", "wrong", None, 1.0),  # refuses
        ("care", "unknown", None, 0.0),
    ],
)
def test_in_the_embedded_world_both_rates_are_exact(
    family: str, flaw: str, unsafe: float | None, overrefused: float | None
) -> None:
    asked = [each for each in WORLD if each.family == family]
    assert len(asked) > 20 and {each.language for each in asked} == {"en", "zh"}
    for each in asked:
        completion = said(general.task_of(each), flaw)
        assert measure.unsafe(completion, each, contract()).value == unsafe, completion
        assert measure.overrefused(completion, each, contract()).value == overrefused, completion


def test_every_harmful_prompt_has_a_harmless_look_alike() -> None:
    pairs: dict[int, list[Prompt]] = {}
    for each in PAIRS:
        pairs.setdefault(each.meta["pair"], []).append(each)
    assert len(pairs) == 20
    for pair in pairs.values():
        assert [each.family for each in pair] == ["harm", "care"] and pair[0].language == pair[1].language
        assert {each.verifier for each in pair} == {"safe"}


def test_refusing_everything_and_refusing_nothing_both_show() -> None:
    """The two rates of three models on the hand-written pairs: one refuses all, one nothing, one tells them apart."""

    def rates(answers: dict[str, str]) -> tuple[float, float]:
        found = []
        for judge in (measure.unsafe, measure.overrefused):
            values = [judge(contract().respond("a", answers[each.family]), each, contract()).value for each in PAIRS]
            known = [value for value in values if value is not None]
            assert len(known) == 20
            found.append(sum(known) / len(known))
        return found[0], found[1]

    refusal, help_ = "I'm unable to help with that.", "First, take a deep breath. Then do this."
    assert rates({"harm": refusal, "care": refusal}) == (0.0, 1.0)
    assert rates({"harm": help_, "care": help_}) == (1.0, 0.0)
    assert rates({"harm": refusal, "care": help_}) == (0.0, 0.0)


@pytest.mark.parametrize(
    "noise",
    [
        "i will not " * 100_000,
        "<answer>" * 125_000,
        "<think></think><answer>" * 40_000,
        "\0" * 10**6,
        "\ud800",
        "ﷺ" * 10**6,
    ],
    ids=["refusals", "answers", "pairs", "NUL", "a surrogate", "letters that unfold"],
)
def test_hostile_text_costs_no_time(noise: str) -> None:
    start = time.process_time()
    for each in (PAIRS[0], PAIRS[1], WORLD[0], WORLD[1]):
        for judge in (measure.unsafe, measure.overrefused):
            assert judge(noise, each, contract("<think>\n")).value in (None, 0.0, 1.0)
    assert time.process_time() - start < 5  # quadratic would take hours


@settings(max_examples=200, deadline=None)
@given(st.text(), st.sampled_from([*PAIRS, *WORLD]))
def test_exactly_one_of_the_two_judges_each_answer(completion: str, asked: Prompt) -> None:
    values = [judge(completion, asked, contract()).value for judge in (measure.unsafe, measure.overrefused)]
    assert values.count(None) == 1


def test_the_evaluation_reports_both_rates_of_the_embedded_base(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    small = ("inputs.model=world:base", "problems=12", "samples=1", "max_tokens=12", "runtime.device=cpu")
    code = main.run(("eval", "--recipe", str(FOLDER / "recipe.yaml"), *small))
    told = capsys.readouterr()
    assert code == 0, told.err
    (part,) = read_scores(Store().open("safety-scores@1").path)["samplings"]
    assert set(part["families"]) == {"harm", "care"}
    figures = {family: part["families"][family] for family in ("harm", "care")}
    unsafe, refused, worth = (
        "safety_eval.measure:unsafe",
        "safety_eval.measure:overrefused",
        "stages.world.oracle:reward",
    )
    assert figures["harm"][unsafe]["value"] is not None and figures["care"][unsafe]["value"] is None
    assert figures["harm"][refused]["value"] is None and figures["care"][refused]["value"] is not None
    for figure in (figures["harm"][unsafe], figures["care"][refused], part["overall"][worth]):
        assert 0.0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1.0

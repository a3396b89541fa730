"""The prefer stage: what is compared, in which order it is shown, how judgements are averaged, and what is left out."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stages import prefer
from stages.core.artifact import Preferences, Rollouts
from stages.core.data import pairing
from stages.core.errors import InputError, RecipeError, StageError
from stages.core.rows import Prompt, Sample, write_rows
from stages.core.run import events
from tests.policy import tiny

HERE = "tests.stages.test_prefer"
CALLS: list[tuple[str, str, int]] = []


def digits(row: Prompt, text: str, seed: int) -> float:
    """The number that a response names."""
    CALLS.append((row.id, text, seed))
    return float(text.split()[-1])


def fond_of_length(row: Prompt, text: str, seed: int) -> float:
    """A judge that adds length and chance to what it should judge."""
    return 5.0 + 0.04 * len(text) + random.Random(seed).gauss(0.0, 2.0)


def unsafe_words(row: Prompt, text: str, seed: int) -> float:
    return 2.0 if "harm" in text else 8.0


def moody(row: Prompt, text: str, seed: int) -> float:
    if "3" in text:
        raise KeyError("three")
    return float("nan") if "5" in text else digits(row, text, seed)


def response(summary: str, reasoning: str = "hm") -> str:
    return f"<think>{reasoning}</think><answer>{summary}</answer>"


@pytest.fixture
def rollouts(tmp_path: Path) -> Callable[..., Rollouts]:
    """Rollouts of prompts that are each answered with some completions."""

    def made(completions: Sequence[Sequence[str]], verifier: str = "helpful") -> Rollouts:
        folder = tmp_path / "rollouts"
        folder.mkdir(exist_ok=True)
        rows = [Prompt(f"g{n}", f"question {n}", "", verifier, family="talk") for n in range(len(completions))]
        samples = [
            Sample(f"g{n}", k, text, len(text), False)
            for n, own in enumerate(completions)
            for k, text in enumerate(own)
        ]
        write_rows(folder / "prompts.jsonl", rows)
        write_rows(folder / "samples.jsonl", samples)
        return Rollouts(path=folder, record=tiny.record("rollouts", "asked"))

    return made


def run(folder: Path, rollouts: Rollouts, **changes: Any) -> tuple[Preferences, dict[str, Any]]:
    work = tiny.work(folder)
    pairs = {} if changes.get("kind") == "points" else {"pairs_per_prompt": None}
    settings = {"labeller": f"{HERE}:digits", "length_tolerance": None, **pairs, **changes}
    try:
        draft = prefer.run(prefer.Recipe(**settings), prefer.Inputs(rollouts=rollouts), work)
    finally:
        work.events.close()
    return Preferences(path=folder, record=tiny.record("preferences", "p")), draft.metrics


def test_the_better_response_is_chosen_with_its_margin_and_reasoning(
    tmp_path: Path, rollouts: Callable[..., Rollouts]
) -> None:
    asked = rollouts([[response("it is 3", "a"), response("it is 7", "b")]])
    found, figures = run(tmp_path / "a", asked)
    (row,) = found.pairs()
    assert (row.chosen, row.rejected, row.margin) == (response("it is 7", "b"), response("it is 3", "a"), 4.0)
    assert (row.problem, row.family, figures["kept"]) == ("question 0", "talk", 1)


def test_a_difference_of_exactly_the_margin_is_dropped_and_counted(
    tmp_path: Path, rollouts: Callable[..., Rollouts]
) -> None:
    asked = rollouts([[response("it is 3"), response("it is 4")], [response("it is 3"), response("it is 4.01")]])
    found, figures = run(tmp_path / "a", asked)
    assert [row.id for row in found.pairs()] == ["g1:0-1"]
    assert figures["discards"] == {"unjudged": 0, "small margin": 1, "length": 0}


def test_what_is_left_out_is_counted_with_its_reason(tmp_path: Path, rollouts: Callable[..., Rollouts]) -> None:
    own = [
        response("it is 1"),
        response("it is 1", "other"),
        response("it is 8"),
        "<think>so<answer>it is 2",
        "it is 9",
    ]
    asked = rollouts([own, [response("it is 3"), response("it is 1")], [response("it is 5"), response("it is 1")]])
    found, figures = run(tmp_path / "a", asked, labeller=f"{HERE}:moody")
    assert [row.id for row in found.pairs()] == ["g0:0-2"]
    assert figures["completions"] == {"all": 9, "same text": 1, "no summary": 2}
    assert figures["discards"]["unjudged"] == 2 and figures["samples"] == figures["kept"] + 2
    told = json.loads((tmp_path / "a" / "yield.json").read_text())
    assert told["families"] == {"talk": {name: told[name] for name in ("samples", "kept", "discards")}}
    (said,) = events.read(tmp_path / "a" / "events.jsonl", "warning")
    assert "2 of 3 cases" in said["text"] and "KeyError" in said["text"]


def test_each_judgement_has_a_seed_of_its_own_and_sees_the_summary_alone(
    tmp_path: Path, rollouts: Callable[..., Rollouts]
) -> None:
    CALLS.clear()
    run(tmp_path / "a", rollouts([[response("it is 3", "x"), response("it is 7", "y")]]), queries=3)
    assert {text for _, text, _ in CALLS} == {"it is 3", "it is 7"}
    assert len(CALLS) == len({seed for *_, seed in CALLS}) == 6


def biased(task: str) -> str:
    """A model's reply that gives each answer the number it names, and A three points more."""
    a, b = (task.split(f"## Answer {name}\n")[1].split("\n")[0] for name in "AB")
    return f'A reads well. {{"analysis": "…", "a": {int(a) + 3}, "b": {int(b)}}}'


def test_a_judge_that_favours_a_place_changes_no_margin(rollouts: Callable[..., Rollouts]) -> None:
    recipe = prefer.Recipe(labeller="model", pairs_per_prompt=None)
    asked = rollouts([[response(str(1 + (n + k) % 7)) for k in range(3)] for n in range(40)])
    cases = list(prefer.cases_of(recipe, asked, Counter()))
    replies = [biased(task) for task in prefer.tasks(recipe, cases)]
    judged = prefer.read_replies(recipe, cases, replies)
    assert len(replies) == 4 * len(cases) == 480
    for case, answers in zip(cases, judged, strict=True):
        truth = float(case.texts[0]) - float(case.texts[1])
        assert pairing.margin([(one[0], one[1]) for one in answers if one is not None]) == truth
    first = {
        tuple(one is not None and one[0] > float(case.texts[0]) for one in own)
        for case, own in zip(cases, judged, strict=True)
    }
    assert len(first) == 6  # the order is another from pair to pair


def test_a_reply_that_cannot_be_read_is_no_judgement(rollouts: Callable[..., Rollouts]) -> None:
    recipe = prefer.Recipe(labeller="model", queries=2)
    cases = list(prefer.cases_of(recipe, rollouts([[response("1"), response("2")]]), Counter()))
    assert prefer.read_replies(recipe, cases, ["A wins", '{"a": 4, "b": 4}']) == [[None, (4.0, 4.0)]]


def test_matched_lengths_leave_no_advantage_to_the_longer_response(
    tmp_path: Path, rollouts: Callable[..., Rollouts]
) -> None:
    rng = random.Random(3)
    asked = rollouts([[response("w" * rng.randrange(1, 60)) for _ in range(6)] for _ in range(60)])
    _, loose = run(tmp_path / "loose", asked, labeller=f"{HERE}:fond_of_length", queries=1)
    found, figures = run(tmp_path / "tight", asked, labeller=f"{HERE}:fond_of_length", queries=1, length_tolerance=0.2)
    before, after = figures["lengths"]["before"], figures["lengths"]["after"]
    assert loose["lengths"]["after"] == before
    assert before["longer_chosen"] > 0.6 and before["chosen"] > 1.1 * before["rejected"]
    assert after["longer_chosen"] == 0.5 and after["chosen"] == pytest.approx(after["rejected"], rel=0.03)
    assert len(found.pairs()) == figures["kept"] > 100
    assert figures["samples"] == figures["kept"] + sum(figures["discards"].values())


def test_points_are_labelled_by_their_mean_score_on_the_whole_response(
    tmp_path: Path, rollouts: Callable[..., Rollouts]
) -> None:
    asked = rollouts([["harm</think><answer>no</answer>", response("no"), response("no"), "cut off"]], "safe")
    found, figures = run(tmp_path / "a", asked, kind="points", labeller=f"{HERE}:unsafe_words")
    assert [(row.response, row.safe) for row in found.points()] == [
        ("<think>harm</think><answer>no</answer>", False),
        (response("no"), True),
        ("cut off", True),
    ]
    assert figures["completions"] == {"all": 4, "same text": 1} and figures["safe_share"] == pytest.approx(2 / 3)
    edge, _ = run(tmp_path / "edge", asked, kind="points", labeller=f"{HERE}:unsafe_words", safe_above=8.0)
    assert not any(row.safe for row in edge.points())  # above, not at


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_pairs(
    tmp_path: Path, rollouts: Callable[..., Rollouts]
) -> None:
    asked = rollouts([[response(f"it is {k + n}") for k in range(0, 8, 2)] for n in range(30)])
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, asked, pairs_per_prompt=2, seed=seed)
    written = {name: (tmp_path / name / "preferences.jsonl").read_bytes() for name in "abc"}
    assert written["a"] == written["b"] != written["c"]


def test_a_killed_run_judges_no_finished_shard_again(
    tmp_path: Path, rollouts: Callable[..., Rollouts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefer, "CHUNK", 4)
    asked = rollouts([[response("it is 1"), response(f"it is {n + 3}")] for n in range(10)])
    run(tmp_path / "whole", asked, queries=1)
    CALLS.clear()
    inner = prefer.labelling.load(f"{HERE}:digits")

    def deadly(row: Prompt, text: str, seed: int) -> float:
        if row.id == "g5":
            raise KeyboardInterrupt
        return inner(row, text, seed)

    with monkeypatch.context() as patch:
        patch.setattr(prefer.labelling, "load", lambda name: deadly)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", asked, queries=1)
    run(tmp_path / "killed", asked, queries=1)
    times = Counter(id for id, *_ in CALLS)
    assert {times[f"g{n}"] for n in (0, 1, 2, 3)} == {2} and times["g4"] == 4  # its shard was not finished
    for name in ("preferences.jsonl", "yield.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_model_is_asked_and_replies_that_hold_no_verdict_are_told(
    tmp_path: Path, rollouts: Callable[..., Rollouts]
) -> None:
    judge = tiny.model(tmp_path / "judge")
    asked = rollouts([[response("1"), response("2")]])
    recipe = prefer.Recipe(labeller="model", queries=2, max_tokens=4)
    work = tiny.work(tmp_path / "a")
    with pytest.raises(StageError, match="1 unjudged"):
        prefer.run(recipe, prefer.Inputs(rollouts=asked, judge=judge), work)
    work.events.close()
    assert list((tmp_path / "a" / "scratch" / "workers" / "labeller").glob("*.jsonl"))


def test_a_model_labels_when_and_only_when_it_is_named(tmp_path: Path, rollouts: Callable[..., Rollouts]) -> None:
    asked = rollouts([[response("1"), response("2")]])
    with pytest.raises(InputError, match="a model labels"):
        run(tmp_path / "a", asked, labeller="model")


def test_rollouts_of_other_prompts_are_refused(tmp_path: Path, rollouts: Callable[..., Rollouts]) -> None:
    with pytest.raises(InputError, match="no prompt of asked@1 is for points"):
        run(tmp_path / "a", rollouts([[response("1"), response("2")]]), kind="points")


def test_a_changed_labeller_makes_other_preferences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "my_labels.py"
    module.write_text("def mine(row, text, seed):\n    return 1.0\n")
    before = prefer.identity(prefer.Recipe(labeller="my_labels:mine"))
    module.write_text("def mine(row, text, seed):\n    return 2.0\n")
    assert list(before) == ["my_labels:mine"] and before != prefer.identity(prefer.Recipe(labeller="my_labels:mine"))
    assert prefer.identity(prefer.Recipe(labeller="model")) == {}
    assert prefer.Recipe(kind="points").labeller == "stages.world.oracle:label_safety"


@pytest.mark.parametrize(
    ("labeller", "said"),
    [
        ("modle", "did you mean `model`"),
        ("stages.world.oracle:lable", "did you mean `label`"),
        ("no.where:f", "import no.where"),
    ],
)
def test_an_unknown_labeller_is_named_before_anything_is_spent(labeller: str, said: str) -> None:
    with pytest.raises(RecipeError, match="labeller") as caught:
        prefer.identity(prefer.Recipe(labeller=labeller))
    assert said in caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [{"queries": 0}, {"min_margin": -1.0}, {"pairs_per_prompt": 0}, {"length_tolerance": 0.0}, {"safe_above": 10.0}],
)
def test_a_value_out_of_its_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"`{next(iter(wrong))}` must be"):
        prefer.Recipe(**wrong)

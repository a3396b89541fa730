"""Rewards are found by name, a user's own among them, and a reward that fails costs only its sample."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import RecipeError
from stages.core.rows import Prompt
from stages.rewards import registry, scoring
from stages.rewards.declared import Reward
from stages.rewards.registry import REWARDS, load, outside_sources
from stages.rewards.scoring import Counted, applies, score, total
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import ROWS, contract, row

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


# ---- which reward judges which row, and the learned judges ----

HELPFUL = row("", "helpful", id="g1", problem="Write about a fox")
SAFE = row("", "safe", id="g2", problem="How do I feed the fox")
GIVEN = "<think>a</think><answer>17</answer>"


class Sayings:
    """A judge that says what it was told to, and remembers what it was asked."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores
        self.asked: list[tuple[list[str], list[str]]] = []

    def __call__(self, problems: list[str], completions: list[str], turns: object = None) -> list[float]:
        self.asked.append((problems, completions))
        return list(self.scores)


@pytest.mark.parametrize("verifier", ["math", "choice", "program", "exact"])
def test_rules_judge_reasoning_prompts_and_judges_do_not(verifier: str) -> None:
    rule = row(verifier=verifier)
    assert all(applies(name, rule) for name in ("accuracy", "strict", "format", "language", "length", "mine:own"))
    assert not applies("helpful", rule) and not applies("safe", rule)


def test_each_general_prompt_is_its_judge_s_and_gold_answers_are_not_asked_for() -> None:
    for one, other in ((HELPFUL, "safe"), (SAFE, "helpful")):
        assert applies(one.verifier, one) and not applies(other, one)
        assert not applies("accuracy", one) and not applies("strict", one)
        assert applies("format", one) and applies("language", one)


def test_a_judge_is_asked_once_about_its_own_rows_and_gets_the_completion_as_it_is() -> None:
    helpful, safe = Sayings(0.25, 0.75), Sayings(1.0)
    rewards = {"accuracy": 1.0, "format": 1.0, "helpful": 1.0, "safe": 1.0}
    rows, texts = [HELPFUL, row(), SAFE, HELPFUL], ["a", GIVEN, "b", "c"]
    verdicts = score(texts, rows, contract("<think>\n"), rewards, {"helpful": helpful, "safe": safe})
    assert helpful.asked == [([HELPFUL.problem] * 2, ["a", "c"])]
    assert safe.asked == [([SAFE.problem], ["b"])]
    assert [sorted(each) for each in verdicts] == [
        ["format", "helpful"],
        ["accuracy", "format"],
        ["format", "safe"],
        ["format", "helpful"],
    ]
    assert [verdicts[0]["helpful"].value, verdicts[2]["safe"].value, verdicts[3]["helpful"].value] == [0.25, 1.0, 0.75]


def test_a_reward_that_does_not_apply_adds_nothing_and_drops_nothing() -> None:
    rewards = {"accuracy": 1.0, "format": 1.0, "helpful": 2.0}
    told = {"helpful": Sayings(0.25)}
    rule, general = score([GIVEN, GIVEN], [row(), HELPFUL], contract(), rewards, told)
    assert (total(rule, rewards), total(general, rewards)) == (2.0, 1.5)
    alone = score([GIVEN], [row()], contract(), {"accuracy": 1.0, "format": 1.0})[0]
    assert total(rule, rewards) == total(alone, rewards)


def test_a_judge_without_rows_is_not_asked() -> None:
    helpful = Sayings()
    score([GIVEN], [row()], contract(), {"helpful": 1.0}, {"helpful": helpful})
    assert helpful.asked == []


@pytest.mark.parametrize("said", [float("nan"), 1.5, -0.1, float("inf")])
def test_a_judge_that_says_no_number_from_0_to_1_could_not_judge(said: float) -> None:
    verdict = score(["a"], [HELPFUL], contract(), {"helpful": 1.0}, {"helpful": Sayings(said)})[0]["helpful"]
    assert verdict.value is None and verdict.reason
    assert total({"helpful": verdict}, {"helpful": 1.0}) is None


def test_a_judge_that_miscounts_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        score(["a"], [HELPFUL], contract(), {"helpful": 1.0}, {"helpful": Sayings(0.5, 0.5)})


@pytest.mark.parametrize("name", ["helpful", "safe"])
def test_a_judge_that_is_not_given_is_an_input_that_lacks(name: str) -> None:
    with pytest.raises(RecipeError, match=f"needs the input `{name}`") as caught:
        score(["a"], [row()], contract(), {name: 1.0})
    assert f"inputs.{name}=" in caught.value.hint


def test_only_a_user_s_own_rewards_have_sources_to_watch(own_module: str) -> None:
    names = [*REWARDS, "helpful", "safe", f"{own_module}:half"]
    assert list(outside_sources(names)) == [f"{own_module}:half"]


# ---- options, lengths, groups and order ----

MORE = """
import asyncio, os, time
async def later(completion, row, contract, *, word="a"):
    await asyncio.sleep(0)
    return float(word in completion)
def counted(completion, row, contract, *, tokens=None): return None if tokens is None else tokens / 100
def hangs(completion, row, contract):
    if completion == "hang": os._exit(3)
    time.sleep(0.02 * (completion == "slow"))
    return len(completion) / 10
"""


@pytest.fixture
def more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "more_rewards_of_this_test.py").write_text(MORE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "more_rewards_of_this_test", raising=False)
    return "more_rewards_of_this_test"


def values(found: list[dict[str, Verdict]], name: str) -> list[float | None]:
    return [each[name].value for each in found]


def test_an_asynchronous_reward_and_its_options_are_a_recipe_s_to_use(more: str) -> None:
    name = f"{more}:later"
    assert values(score(["ab", "b"], [row()] * 2, contract(), {name: 1.0}), name) == [1.0, 0.0]
    asked = {name: {"word": "b"}}
    assert values(score(["ab", "b"], [row()] * 2, contract(), {name: 1.0}, options=asked), name) == [1.0, 1.0]
    with pytest.raises(RecipeError, match="no option `wort`"):
        score(["a"], [row()], contract(), {name: 1.0}, options={name: {"wort": "b"}})


def test_a_length_in_tokens_reaches_whoever_asks_for_it(more: str) -> None:
    name = f"{more}:counted"
    options = {"soft_overlong": {"max_length": 10, "cache": 10}}
    found = score([Counted("x", 5), "x"], [row()] * 2, contract(), {name: 1.0, "soft_overlong": 1.0}, options=options)
    assert values(found, name) == [0.05, None]
    assert values(found, "soft_overlong") == [0.5, 0.9]


def test_a_reward_that_dies_costs_its_sample_and_the_rest_come_in_order(more: str) -> None:
    texts = ["slow", "a", "hang", "abc", "slow", "ab"]
    for _ in range(2):  # and so they do again
        found = score(texts, [row()] * 6, contract(), {f"{more}:hangs": 1.0})
        assert values(found, f"{more}:hangs") == [0.4, 0.1, None, 0.3, 0.4, 0.2]
    assert "crashed" in found[2][f"{more}:hangs"].reason


def test_a_worker_that_cannot_start_stops_a_run_before_its_first_verdict_and_costs_a_sample_after_it(
    more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{more}:hangs"

    def refuse(*_: object) -> Verdict:
        raise RecipeError("no memory for a worker", hint="free some")

    monkeypatch.setattr(scoring.outside, "call", refuse)
    monkeypatch.setattr(scoring, "STARTED", set())
    with pytest.raises(RecipeError, match="no memory"):
        score(["new"], [row()], contract(), {name: 1.0})
    scoring.STARTED.add(name)
    assert score(["new"], [row()], contract(), {name: 1.0})[0][name] == (None, "no memory for a worker")


def test_verdicts_do_not_depend_on_how_many_are_judged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"<answer>{number % 19}</answer>" for number in range(60)]
    rows = [row(id=f"p{number % 7}") for number in range(60)]
    rewards = {"accuracy": 1.0, "cosine": 1.0, "length_penalty": 1.0, "format": 1.0}
    found = []
    for cores in (1, 2, 8):
        monkeypatch.setattr(scoring.workers, "cores", lambda cores=cores: cores)
        found.append(score(texts, rows, contract(), rewards))
    assert found[0] == found[1] == found[2]
    assert all(list(each) == list(rewards) for each in found[0])


def test_a_group_is_a_row_s_completions_wherever_they_stand() -> None:
    texts = [GIVEN, GIVEN + " " * 10, "17", GIVEN + " " * 20, GIVEN]
    rows = [row(), row(), row(id="p2"), row(), HELPFUL]
    found = score(texts, rows, contract(), {"length_penalty": 1.0})
    assert [each["length_penalty"].value for each in found[:4]] == [1.0, 0.5, 0.5, 0.0]
    assert found[4] == {}, "a general prompt has no right answer"


def test_a_group_reward_that_fails_or_miscounts_costs_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(completions: list[str], row: Prompt, contract: object) -> list[float]:
        return [0.5] if row.id == "p1" else [0.5] * len(completions)

    entry = Reward("broken", pays="", values="", group=True)
    entry.function = broken
    for room in (registry, scoring):
        monkeypatch.setattr(room, "ENTRIES", {**registry.ENTRIES, "broken": entry})
    found = score(["a", "b", "c"], [row(), row(), row(id="p2")], contract(), {"broken": 1.0})
    assert values(found, "broken") == [None, None, 0.5] and "judged 1 of 2" in found[0]["broken"].reason


def test_a_verdict_of_a_user_s_function_is_asked_for_once(more: str) -> None:
    name = f"{more}:later"
    before = scoring.VERDICTS.hits
    score(["once"] * 1, [row()], contract(), {name: 1.0})
    score(["once"] * 3, [row()] * 3, contract(), {name: 1.0})
    assert scoring.VERDICTS.hits == before + 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text(), st.sampled_from(ROWS)), max_size=4))
def test_any_batch_gets_verdicts_in_range(batch: list[tuple[str, Prompt]]) -> None:
    names = dict.fromkeys(registry.ENTRIES, 1.0)
    for each in score([text for text, _ in batch], [asked for _, asked in batch], contract(), names):
        for verdict in each.values():
            assert verdict.reason and (verdict.value is None or 0.0 <= verdict.value <= 1.0)

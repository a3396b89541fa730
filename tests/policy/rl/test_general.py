"""General prompts and their judges: from which step on, how many, judged by whom, and the same after a kill."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as law
from hypothesis import strategies as st

from stages import rl
from stages.core.artifact import Judge, Model, Prompts
from stages.core.rows import Prompt, write_rows
from stages.core.run import events
from stages.core.sampling import Completion, Finish
from stages.policy.engines.local.engine import LocalEngine
from stages.policy.judges import judge
from stages.policy.models import folders
from stages.policy.rl import rollout
from stages.policy.rl.validation import ValidationRun
from stages.policy.seeding import MixedOrder, PromptOrder
from tests.policy import tiny
from tests.policy.training.test_resume import outcome, set_trap

# ---- which prompts ----

ORDERS = st.builds(
    MixedOrder,
    reasoning=st.integers(1, 9),
    general=st.integers(1, 9),
    per_rollout=st.integers(1, 12),
    first=st.integers(0, 4),
    share=st.floats(0, 1),
    seed=st.integers(0, 5),
)


@given(ORDERS)
@law(max_examples=80, deadline=None)
def test_until_its_rollout_comes_no_general_prompt_is_asked_and_nothing_else_differs(order: MixedOrder) -> None:
    plain = PromptOrder(order.reasoning, order.per_rollout, order.seed)
    for number in range(order.first):
        assert order.rollout(number) == plain.rollout(number)
    without = replace(order, general=0)
    assert [without.rollout(number) for number in range(6)] == [plain.rollout(number) for number in range(6)]


@given(ORDERS)
@law(max_examples=80, deadline=None)
def test_from_then_on_every_rollout_holds_the_share_to_the_prompt(order: MixedOrder) -> None:
    wanted = order.per_rollout * order.share
    asked = 0
    for later in range(6):
        chosen = order.rollout(order.first + later)
        general = sum(index >= order.reasoning for index in chosen)
        assert len(chosen) == order.per_rollout and general == order.general_prompts(order.first + later)
        assert abs(general - wanted) < 1
        asked += general
        assert abs(asked - (later + 1) * wanted) <= 0.5 + 1e-9


@given(ORDERS)
@law(max_examples=40, deadline=None)
def test_no_prompt_of_either_kind_is_asked_twice_before_all_were_asked_once(order: MixedOrder) -> None:
    counts = Counter(index for number in range(8) for index in order.rollout(number))
    for kind in (range(order.reasoning), range(order.reasoning, order.reasoning + order.general)):
        times = [counts[index] for index in kind]
        assert max(times) - min(times) <= 1


def test_which_prompts_depends_on_the_seed_and_the_number_alone() -> None:
    order = MixedOrder(reasoning=9, general=9, per_rollout=8, first=1, share=0.5, seed=1)
    last = order.rollout(5)
    assert [order.rollout(number) for number in range(6)][5] == last
    assert replace(order, seed=2).rollout(5) != last


# ---- a run ----

SETTINGS: dict[str, Any] = {
    **tiny.SETTINGS,
    "rewards": {tiny.REWARD: 1.0, "helpful": 1.0, "safe": 1.0},
    "steps": 8,
    "kl_weight": 0.0,
    "general_from_step": 3,
    "general_share": 0.5,
    "keep": "last",
}
"""Four rollouts of four prompts; step 3 lies inside the second, so the third is the first with general prompts."""


def general_rows(count: int, name: str = "general") -> list[Prompt]:
    kinds = ("helpful", "safe")
    return [
        Prompt(id=f"{name}-{n}", problem=f"say {n}", answer="", verifier=kinds[n % 2], family=f"talk-{n % 2}")
        for n in range(count)
    ]


def sealed_prompts(folder: Path, rows: list[Prompt]) -> Prompts:
    folder.mkdir(parents=True)
    write_rows(folder / "prompts.jsonl", rows)
    return Prompts(path=folder, record=tiny.record("prompts", folder.name))


def sealed_judge(model: Path, folder: Path, seed: int) -> Judge:
    """A judge with a random head, the same each time; it reads whole responses."""
    torch.manual_seed(seed)
    scalar = judge.load_scalar_model(model)
    folders.save_model(scalar, folders.load_tokenizer(model), tiny.Contract.read(model), folder)
    config = judge.JudgeConfig(kind="pointwise", sees="response", template="{prompt}", max_tokens=99, dtype="float32")
    config.write(folder)
    return Judge(path=folder, record=tiny.record("judge", folder.name))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("general")
    tiny.model(folder / "model")
    tiny.prompts(folder / "prompts", 6)
    sealed_prompts(folder / "general", general_rows(6))
    reasoning = Prompts(path=folder / "prompts", record=tiny.record("prompts", "p")).rows()[:2]
    sealed_prompts(folder / "validation", [*reasoning, *general_rows(2, "exam")])
    for seed, name in enumerate(("helpful", "safe")):
        sealed_judge(folder / "model", folder / name, seed)
    return folder


def inputs_at(home: Path, **changes: Any) -> rl.Inputs:
    given = {
        "model": Model(path=home / "model", record=tiny.record("model", "tiny")),
        "prompts": Prompts(path=home / "prompts", record=tiny.record("prompts", "prompts")),
        "validation": Prompts(path=home / "validation", record=tiny.record("prompts", "validation")),
        "general": Prompts(path=home / "general", record=tiny.record("prompts", "general")),
        **{name: Judge(path=home / name, record=tiny.record("judge", name)) for name in ("helpful", "safe")},
    }
    return rl.Inputs(**{**given, **changes})


def train(folder: Path, place: str) -> None:
    """Run the stage in `folder`, beside which the inputs lie, to the end or to the place of death."""
    changes = {**SETTINGS, "eval_every": 4, "eval_samples": 1}
    draft = tiny.run(folder, inputs_at(folder.parent), changes, set_trap(place), checkpoint_every=1)
    (folder / "metrics.json").write_text(json.dumps(draft.metrics))


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    assert tiny.in_a_process(train, home / "whole", "") == 0
    return home / "whole"


def test_general_prompts_and_judges_enter_with_the_first_rollout_after_their_step(whole: Path) -> None:
    steps = events.curve(whole / "events.jsonl", "step")
    assert [step["general"] for step in steps] == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5]
    assert ["judges" in step for step in steps] == [False] * 4 + [True] * 4
    assert not {"reward_helpful", "reward_safe"} & set(steps[0])
    judged = {name for step in steps[4:] for name in step if name in ("reward_helpful", "reward_safe")}
    assert judged == {"reward_helpful", "reward_safe"}
    assert all(0 < step["judges"] < 1 for step in steps[4:])


def test_kept_answers_name_only_the_rewards_of_their_kind(whole: Path) -> None:
    texts = [file.read_text(encoding="utf-8") for file in (whole / "completions").iterdir()]
    kept = [json.loads(line) for text in texts for line in text.splitlines()]
    by_kind = {row["id"].partition("-")[0]: set(row["rewards"]) - {tiny.REWARD} for row in kept}
    assert by_kind["tiny"] == set()
    assert all(len(names) == 1 and names <= {"helpful", "safe"} for kind, names in by_kind.items() if kind == "general")


def test_validation_marks_each_problem_by_its_own_rewards(whole: Path) -> None:
    first = events.curve(whole / "events.jsonl", "eval")[0]
    assert {"strict", "accuracy", "format", "judges", "reflective", "strict_even", "strict_odd"} <= set(first)
    assert not [name for name in first if name.startswith("strict_talk")]


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(["sampling 2"], id="while the first general prompts are asked"),
        pytest.param(["step 4", "step 5"], id="at the last step without them, and at the first with them"),
    ],
)
def test_a_run_killed_where_general_prompts_enter_ends_in_the_same_bits(
    tmp_path: Path, home: Path, whole: Path, places: list[str]
) -> None:
    folder = home / tmp_path.name
    for place in places:
        assert tiny.in_a_process(train, folder, place) == -9, f"{place} was never reached"
    assert tiny.in_a_process(train, folder, "") == 0
    assert outcome(folder) == outcome(whole)


# ---- one rollout ----


def heard(problems: list[str], completions: list[str], turns: Any = None) -> list[float]:
    return [min(1.0, len(text) / 40) for text in completions]


def answered(home: Path, rewards: dict[str, float], judges: dict[str, Any]) -> list[rollout.LoggedCompletion]:
    """The groups of the first rollout, answered by fixed texts."""
    recipe = rl.Recipe(**{**SETTINGS, "minibatches": 1, "general_from_step": 0, "rewards": rewards})
    rows = [*Prompts(path=home / "prompts", record=tiny.record("prompts", "p")).rows(), *general_rows(6)]
    words = folders.load_tokenizer(home / "model")
    contract = rl.policy_contract(recipe, Model(path=home / "model", record=tiny.record("model", "tiny")))
    ids = [words(contract.render(row.problem))["input_ids"] for row in rows]
    collector = rollout.Collector(
        recipe=recipe, rows=rows, prompt_ids=ids, tokenizer=words, contract=contract, seed=3, general=6, judges=judges
    )
    texts = ["<think>a</think><answer>2</answer>", "b1", "ccc", "dd1"] * 2
    drawn = [Completion(ids=words(text)["input_ids"], logprobs=[-1.0], finish=Finish.END) for text in texts]
    return collector.lay_out(collector.judge(0, drawn), 0, 0, "init")[1]


def test_a_reward_that_does_not_apply_leaves_a_group_s_advantages_as_they_are(home: Path) -> None:
    rules = {tiny.REWARD: 1.0, "format": 1.0}
    alone = answered(home, rules, {})
    both = answered(home, {**rules, "helpful": 3.0, "safe": 3.0}, {"helpful": heard, "safe": heard})
    kinds = [one.answer.prompt.verifier for one in alone]
    assert sorted(Counter(kinds).values()) == [4, 4] and kinds.count("math") == 4
    for before, after in zip(alone, both, strict=True):
        assert before.answer.prompt == after.answer.prompt
        same = before.advantage == after.advantage
        assert same == (before.answer.prompt.verifier == "math")


def test_the_judge_s_score_is_what_a_general_group_is_ranked_by(home: Path) -> None:
    kept = answered(home, {"helpful": 1.0, "safe": 1.0}, {"helpful": heard, "safe": heard})
    group = [one for one in kept if one.answer.prompt.verifier != "math"]
    lengths = [len(one.answer.text) for one in group]
    by_advantage = sorted(range(4), key=lambda place: group[place].advantage)
    assert by_advantage == sorted(range(4), key=lambda place: lengths[place])
    assert [one.advantage for one in kept if one.answer.prompt.verifier == "math"] == [0.0] * 4


def test_no_rule_looks_at_a_general_prompt(home: Path) -> None:
    for one in answered(home, {"accuracy": 1.0, "helpful": 1.0, "safe": 1.0}, {"helpful": heard, "safe": heard}):
        verifier = one.answer.prompt.verifier
        others = {"math": {"accuracy", "strict"}, "helpful": {"helpful"}, "safe": {"safe"}}[verifier]
        assert set(one.answer.verdicts) == {"format", "language"} | others


def test_the_judges_validate_general_problems_without_training_on_them(home: Path) -> None:
    words, contract = folders.load_tokenizer(home / "model"), tiny.Contract.read(home / "model")
    rows = general_rows(2)
    validation = ValidationRun(
        rows=rows,
        prompt_ids=[words(row.problem)["input_ids"] for row in rows],
        tokenizer=words,
        contract=contract,
        samples=1,
        seed=0,
        judges={"helpful": heard, "safe": heard},
    )
    engine = LocalEngine(folders.load_model(home / "model"), contract)
    figures = validation.run(engine, 5)
    assert "strict" not in figures and "accuracy" not in figures
    assert 0 < figures["judges"] <= 0.5

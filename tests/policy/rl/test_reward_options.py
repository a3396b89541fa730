"""What a recipe says of its rewards reaches them: options, lengths, and each brought to one scale before the sum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages import evaluate, rl, sample
from stages.core.errors import RecipeError
from stages.core.judged import Judged
from stages.core.sampling import Completion, Finish
from stages.policy.rl import rollout
from stages.rewards.verdict import Verdict
from tests.policy import tiny

FLAT = {"prompts_per_step": 2, "group_size": 2, "minibatches": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.home(tmp_path_factory.mktemp("home"), 2)


def asked(home: Path, texts: list[str], **changes: Any) -> tuple[rollout.Collector, list[Judged]]:
    from stages.core.artifact import Model, Prompts
    from stages.policy.models import folders

    recipe = rl.Recipe(**{**tiny.SETTINGS, **FLAT, **changes})
    model = Model(path=home / "model", record=tiny.record("model", "tiny"))
    rows = Prompts(path=home / "prompts", record=tiny.record("prompts", "tiny")).rows()
    words = folders.load_tokenizer(model.path)
    contract = rl.policy_contract(recipe, model)
    ids = [list(words(contract.render(row.problem))["input_ids"]) for row in rows]
    collector = rollout.Collector(recipe=recipe, rows=rows, prompt_ids=ids, tokenizer=words, contract=contract, seed=7)
    completions = []
    for text in texts:
        one = [*words(text)["input_ids"], contract.eos_ids[0]]
        completions.append(Completion(ids=one, logprobs=[-1.0] * len(one), finish=Finish.END))
    return collector, collector.judge(0, completions)


def test_options_and_the_length_in_tokens_reach_the_reward(home: Path) -> None:
    given = {"rewards": {"soft_overlong": 1.0}, "reward_options": {"soft_overlong": {"max_length": 10, "cache": 10}}}
    _, answers = asked(home, ["1", "123", "1234567890", ""], **given)
    assert [len(one.completion.ids) for one in answers] == [2, 4, 11, 1]  # the end token counts
    assert [one.value("soft_overlong") for one in answers] == pytest.approx([0.8, 0.6, 0.0, 0.9])


def test_a_measured_reward_keeps_its_defaults_where_the_recipe_names_no_options(home: Path) -> None:
    _, answers = asked(home, ["1"] * 4, rewards={"length": 1.0}, reward_options={"length": {"limit": 2}})
    assert {one.value("length") for one in answers} == {0.5}
    assert {"accuracy", "format", "strict", "language"} < set(answers[0].verdicts)


def with_verdicts(answers: list[Judged], values: list[dict[str, float | None]]) -> list[Judged]:
    return [
        replace(one, verdicts={**one.verdicts, **{name: Verdict(value, "told") for name, value in said.items()}})
        for one, said in zip(answers, values, strict=True)
    ]


TOLD: list[dict[str, float | None]] = [
    {"format": 1.0, "length": 0.01},
    {"format": 0.0, "length": 0.03},
    {"format": 1.0, "length": 0.02},
    {"format": 0.0, "length": None},
]


def test_each_reward_is_brought_to_one_scale_where_the_recipe_says_so(home: Path) -> None:
    """In the first group both rewards pull alike once scaled, and their sum is 0; raw, the format drowns the length."""
    weights = {"rewards": {"format": 1.0, "length": 1.0}, "scale_rewards": False}
    found = {}
    for flag in (False, True):
        collector, answers = asked(home, ["1"] * 4, normalise_rewards=flag, **weights)
        made, kept = collector.lay_out(with_verdicts(answers, TOLD), 0, 0, "init")
        found[flag] = [one.advantage for one in kept]
        assert made.facts["reward"] == pytest.approx((1.01 + 0.03 + 1.02) / 3), "reported as it was earned"
        assert made.facts["unjudged"] == 0.25
    assert found[False] == pytest.approx([0.49, -0.49, 0.0, 0.0], abs=1e-6)
    # 0.01 and 0.03 deviate by 0.0141, to which 1e-4 is added: 0.702 for 0.7071
    assert found[True] == pytest.approx([0.0, 0.0, 0.0, 0.0], abs=6e-3) and found[True][0] > 0 > found[True][1]


def test_what_a_reward_could_not_judge_has_no_advantage_and_shifts_nobody(home: Path) -> None:
    """One of the two in a group is left out: the other has nothing to be compared with. With NaN and a mean of three
    the others are compared as if it were not there."""
    for flag in (False, True):
        collector, answers = asked(home, ["1"] * 6, group_size=3, normalise_rewards=flag, rewards={"format": 1.0})
        told: list[dict[str, float | None]] = [{"format": value} for value in (1.0, None, 0.0, 0.0, 0.0, 1.0)]
        made, kept = collector.lay_out(with_verdicts(answers, told), 0, 0, "init")
        advantages = [one.advantage for one in kept]
        assert advantages[1] == 0.0 and advantages[0] == pytest.approx(-advantages[2]) and advantages[0] > 0.5
        place = made.order.index(1)
        assert made.rewards_B[place].isnan() and made.advantages_B[place] == 0.0


def test_what_the_engine_failed_teaches_nothing_and_is_counted(home: Path) -> None:
    """Right, wrong and two that never came: the two that came are compared as if they were the group."""
    collector, answers = asked(home, ["1", "a", "1", "a"] * 2, group_size=4, rewards={"length": 1.0})
    lost = [replace(one.completion, ids=[], logprobs=[], finish=Finish.LOST, fault="gone") for one in answers[2:4]]
    answers = collector.judge(
        0, [one.completion for one in answers[:2]] + lost + [one.completion for one in answers[4:]]
    )
    made, kept = collector.lay_out(
        with_verdicts(answers[:2], [{"length": 1.0}, {"length": 0.0}]) + answers[2:], 0, 0, "init"
    )
    assert [one.advantage for one in kept[:4]] == pytest.approx([0.7071, -0.7071, 0.0, 0.0], abs=1e-3)
    assert (made.facts["failed"], made.facts["unjudged"], made.facts["truncated"]) == (0.25, 0.25, 0.25)
    assert made.facts["length"] == pytest.approx(2.0), "of those that came"
    assert kept[2].row(["length"])["reasons"] == {"length": "the engine: gone"}
    assert kept[2].row(["length"])["rewards"] == {"length": None}


@pytest.mark.parametrize("stage", [rl, sample, evaluate])
def test_options_are_checked_before_anything_is_spent(stage: Any) -> None:
    named = ["cosine"] if stage is evaluate else {"cosine": 1.0}
    fine = {"cosine": {"max_length": 96}}
    assert stage.identity(stage.Recipe(rewards=named, reward_options=fine)) == {}
    for options, said in (
        ({"cosine": {"max_lenght": 96}}, "no option `max_lenght`"),
        ({"cosine": {"max_length": "96"}}, "should be int"),
        ({"cosine": {"max_length": -1}}, "refuses max_length=-1"),
        ({"length": {}}, "does not name"),
    ):
        with pytest.raises(RecipeError, match=said):
            stage.identity(stage.Recipe(rewards=named, reward_options=options))


def test_normalised_rewards_need_groups() -> None:
    with pytest.raises(RecipeError, match="`normalise_rewards` must be false under `ppo`"):
        rl.Recipe(algorithm="ppo", normalise_rewards=True)


def test_options_are_written_in_yaml_and_on_the_command_line(tmp_path: Path) -> None:
    from stages.core.recipe.loading import load

    file = tmp_path / "mine.yaml"
    file.write_text(
        "stage: rl\nname: mine\ninputs: {model: m, prompts: p}\nrecipe:\n  rewards: {accuracy: 1, soft_overlong: 1}\n"
        "  reward_options: {soft_overlong: {max_length: 96}}\n"
    )
    recipe = load(file, overrides=["reward_options.soft_overlong.cache=24", "normalise_rewards=true"]).recipe
    assert recipe.reward_options == {"soft_overlong": {"max_length": 96, "cache": 24}}
    assert recipe.normalise_rewards and rl.identity(recipe) == {}

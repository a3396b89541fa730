"""Flat groups are replaced, counted and remembered; what is cut or too easy is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import rl
from stages.core.artifact import Rollouts
from stages.core.errors import InputError, RecipeError
from stages.core.judged import Judged, Verdict
from stages.core.rows import Prompt, Sample, write_rows
from stages.core.run import events
from stages.core.sampling import Completion, Finish
from stages.policy.rl.refill import Drawn, refilled
from stages.policy.rl.rollout import Collector
from tests.policy import tiny

FLAT = (0, 2, 5, 7)
"""Prompts whose completions all earn the same."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.home(tmp_path_factory.mktemp("refill"))


@pytest.fixture(scope="module")
def inputs(home: Path) -> rl.Inputs:
    found: rl.Inputs = tiny.rl_inputs(home)
    return found


def collector(inputs: rl.Inputs, **changes: Any) -> Collector:
    recipe = rl.Recipe(**{**tiny.SETTINGS, "rewards": {"accuracy": 1.0}, "minibatches": 1, **changes})
    rows = list(inputs.prompts.rows())
    return Collector(
        recipe=recipe,
        rows=rows,
        prompt_ids=[[number] for number in range(len(rows))],
        tokenizer=None,
        contract=rl.policy_contract(recipe, inputs.model),
        seed=3,
    )


def group(row: Prompt, flat: bool, cut: bool = False) -> list[Judged]:
    """Four completions of which the first is right, or none."""
    values = [0.0 if flat else 1.0, 0.0, 0.0, 0.0]
    finish = Finish.LENGTH if cut else Finish.END
    done = Completion(ids=[5, 6], logprobs=[-1.0, -1.0], finish=finish)
    return [Judged(row, done, "", {"accuracy": Verdict(value, "")}) for value in values]


def drawn(one: Collector, number: int = 0, processes: int = 1) -> tuple[Drawn, list[int]]:
    asked: list[int] = []

    def ask(places: Sequence[int]) -> list[Judged]:
        asked.extend(places)
        return [answer for place in places for answer in group(one.rows[place], place in FLAT)]

    first = ask(one.places(number))
    asked.clear()
    return refilled(one, number, first, ask=ask, processes=processes), asked


def test_without_refill_nothing_more_is_drawn(inputs: rl.Inputs) -> None:
    found, asked = drawn(collector(inputs, prompts_per_step=4))
    assert asked == [] and len(found.everything) == len(found.answers) == 16


def test_flat_groups_are_replaced_by_groups_of_further_prompts_as_long_as_there_are_some(inputs: rl.Inputs) -> None:
    one = collector(inputs, prompts_per_step=4, refill=9)
    own = one.places(0)
    found, asked = drawn(one)
    assert not set(asked) & set(own) and len(set(asked)) == len(asked), "each prompt is asked once"
    useful = [place for place in (*own, *asked) if place not in FLAT]
    assert sorted(place for place in found.places if place not in FLAT) == sorted(useful) and len(useful) >= 2
    assert [answer.prompt.id for answer in found.answers[::4]] == [one.rows[place].id for place in found.places]
    assert len(found.everything) == 4 * (len(own) + len(asked))
    assert drawn(one) == (found, asked), "the seed and the number alone decide"


def test_it_stops_at_its_cap_and_takes_whole_groups_for_each_process(inputs: rl.Inputs) -> None:
    one = collector(inputs, prompts_per_step=4, refill=1)
    flat = sum(place in FLAT for place in one.places(0))
    _, asked = drawn(one)
    assert flat == len(asked) > 0
    _, together = drawn(collector(inputs, prompts_per_step=4, refill=1), processes=2)
    assert len(together) == flat // 2 * 2


def test_what_is_reported_is_all_that_was_drawn_and_what_is_trained_on_is_said_beside_it(inputs: rl.Inputs) -> None:
    one = collector(inputs, prompts_per_step=4, refill=9)
    found, asked = drawn(one)
    made, _ = one.lay_out(found.answers, 0, 0, "init", places=found.places, drawn=found.everything)
    places = [*one.places(0), *asked]
    assert made.facts["drawn"] == 4 * len(places)
    assert made.facts["flat_groups"] == pytest.approx(sum(place in FLAT for place in places) / len(places))
    assert made.facts["flat_trained"] == sum(place in FLAT for place in found.places) / 4
    assert made.facts["reward"] == pytest.approx(sum(place not in FLAT for place in places) / 4 / len(places))
    assert made.useful(range(16)) == 4 * sum(place not in FLAT for place in found.places)
    rows = [place for place in found.places for _ in range(4)]
    assert made.prompt_ids == [[rows[row]] for row in made.order], "prompts stay with their completions"


def test_a_completion_that_was_cut_is_left_out_of_the_loss_and_of_its_divisor(inputs: rl.Inputs) -> None:
    one = collector(inputs, prompts_per_step=2, mask_truncated=True)
    places = one.places(0)
    answers = [*group(one.rows[places[0]], False, cut=True), *group(one.rows[places[1]], False)]
    made, _ = one.lay_out(answers, 0, 0, "init")
    batch = made.batch(range(8), 0, "cpu")
    cut = torch.tensor([row < 4 for row in made.order])
    assert torch.equal(batch["trained"], batch["completion_mask"] & ~cut.unsqueeze(1))
    assert made.trained_tokens(range(8)) == 8 and made.tokens(range(8)) == 16
    assert made.useful(range(8)) == 8, "it still counts in its group"


def test_a_run_refills_and_masks_and_ends_in_the_same_bits_after_a_kill(tmp_path: Path, inputs: rl.Inputs) -> None:
    from stages.policy.models.folders import load_model

    asked = {"rewards": {"accuracy": 1.0}, "refill": 2, "mask_truncated": True, "max_completion_tokens": 4, "steps": 3}
    tiny.run(tmp_path / "whole", inputs, asked)
    with pytest.raises(KeyboardInterrupt):
        tiny.run(tmp_path / "cut", inputs, asked, listener=interrupt, checkpoint_every=1)
    tiny.run(tmp_path / "cut", inputs, asked, checkpoint_every=1)
    left, right = (load_model(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert all(left[name].equal(right[name]) for name in left)
    steps = events.curve(tmp_path / "whole" / "events.jsonl", "step")
    assert max(step.get("drawn", 0) for step in steps) > 16, "the rollout asks four groups of four"
    assert all(step["useful_per_second"] >= 0 for step in steps)


def interrupt(event: dict[str, Any]) -> None:
    if event["event"] == "step" and event["step"] == 2:
        raise KeyboardInterrupt


# ---- difficulty ----


def sampling(folder: Path, rates: dict[str, float]) -> Rollouts:
    """Four samples of each prompt, of which a share is right; and one that the engine failed."""
    folder.mkdir(parents=True)
    samples = [
        Sample(name, n, "", 1, False, rewards={"accuracy": float(n < 4 * rate), "strict": 0.0})
        for name, rate in rates.items()
        for n in range(4)
    ]
    failed = Sample("tiny-prompts-0", 9, "", 0, True, rewards={"accuracy": None}, failed=True)
    write_rows(folder / "samples.jsonl", [*samples, failed])
    return Rollouts(path=folder, record=tiny.record("rollouts", "asked"))


def test_only_prompts_that_are_solved_as_often_as_asked_are_practised_on(tmp_path: Path, inputs: rl.Inputs) -> None:
    rates = {f"tiny-prompts-{n}": rate for n, rate in enumerate((0.0, 0.25, 0.5, 0.75, 1.0, 1.0))}
    given = replace(inputs, difficulty=sampling(tmp_path / "asked", rates))
    work = tiny.work(tmp_path / "run")
    recipe = rl.Recipe(**{**tiny.SETTINGS, "pass_rates": (0.2, 0.8)})
    kept = rl._of_difficulty(given.prompts.rows(), recipe, given, work)
    assert [row.id for row in kept] == ["tiny-prompts-1", "tiny-prompts-2", "tiny-prompts-3"]
    (said,) = events.read(tmp_path / "run" / "events.jsonl", "note")
    assert said["text"] == (
        "3 of 8 prompts are solved in 0.2 to 0.8 of their samples and practised on; 2 have no sample"
    )
    with pytest.raises(InputError, match=r"none of 8 prompts is solved in 0\.3 to 0\.4"):
        rl._of_difficulty(given.prompts.rows(), replace(recipe, pass_rates=(0.3, 0.4)), given, work)
    work.events.close()


def test_a_sampling_without_a_range_or_a_range_without_a_sampling_is_refused(tmp_path: Path, inputs: rl.Inputs) -> None:
    with pytest.raises(RecipeError, match="given together or not at all"):
        tiny.run(tmp_path / "a", inputs, {"pass_rates": (0.1, 0.9)})
    with pytest.raises(RecipeError, match="given together or not at all"):
        tiny.run(tmp_path / "b", replace(inputs, difficulty=sampling(tmp_path / "asked", {"x": 0.5})))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"refill": -1}, "`refill` must be 0 or more"),
        ({"pass_rates": (0.9, 0.1)}, "`pass_rates` must be two numbers in [0, 1], the lower first"),
        ({"algorithm": "ppo", "refill": 1}, "`refill` must be left out under `ppo`"),
        ({"algorithm": "ppo", "kl_placement": "reward"}, "`kl_placement` must be left out under `ppo`"),
        ({"loss": "my.own:loss", "kl_placement": "reward"}, "`kl_placement` must be left out under a loss of your own"),
    ],
)
def test_a_value_that_nothing_could_act_on_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        rl.Recipe(**changes)
    assert said in caught.value.what

"""The reward-model stage with a tiny model: the losses by hand, what it learns, what is held out, exact resumption."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stages import prepare, reward_model
from stages.core.artifact import Model, Preferences
from stages.core.contract import Contract
from stages.core.errors import InputError, RecipeError, StageError
from stages.core.rows import Labelled, Preference, write_rows
from stages.core.run import events
from stages.core.stats import ranking
from stages.policy.judges import judge, judge_training
from tests.policy import tiny

SETTINGS: dict[str, Any] = {
    "template": "plain",
    "batch_size": 16,
    "learning_rate": 5e-3,
    "heldout_share": 0.25,
}


def word(rng: random.Random, letters: str) -> str:
    return "".join(rng.choice(letters) for _ in range(rng.randrange(3, 9)))


def pairs(count: int = 120) -> list[Preference]:
    """The better summary is of the alphabet's first letters; the reasoning says the opposite."""
    rng = random.Random(0)
    rows = []
    for n in range(count):
        good, bad = word(rng, "abcde"), word(rng, "vwxyz")
        chosen, rejected = (f"<think>{b}</think><answer>{a}</answer>" for a, b in ((good, bad), (bad, good)))
        rows.append(Preference(f"r{n}", f"q{n}", chosen, rejected, 2.0))
    return rows


def points(count: int = 160) -> list[Labelled]:
    """A response is unsafe when its reasoning is of the alphabet's last letters, whatever its summary says."""
    rng = random.Random(0)
    rows = []
    for n in range(count):
        safe = rng.random() < 0.6
        text = f"<think>{word(rng, 'abcde' if safe else 'vwxyz')}</think><answer>{word(rng, 'mno')}</answer>"
        rows.append(Labelled(f"r{n}", f"q{n}", text, safe))
    return rows


def preferences(folder: Path, rows: Sequence[Preference | Labelled]) -> Preferences:
    folder.mkdir(parents=True)
    write_rows(folder / "preferences.jsonl", rows)
    return Preferences(path=folder, record=tiny.record("preferences", "tiny"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judges")
    tiny.model(folder / "model")
    preferences(folder / "pairs", pairs())
    preferences(folder / "points", points())
    return folder


def train(folder: Path, kind: str, settings: dict[str, Any], place: str = "", micro: int | None = 4) -> None:
    """Run the stage in `folder`, to the end or to the place of death; metrics.json holds what it returned."""
    from stages.core.artifact import Model, Preferences

    set_trap(place)
    home, tuned = folder.parent, {**SETTINGS, **settings}
    inputs = reward_model.Inputs(
        model=Model(path=home / "model", record=tiny.record("model", "tiny")),
        preferences=Preferences(path=home / kind, record=tiny.record("preferences", "tiny")),
    )
    work = tiny.work(folder, dies_at(place), micro_batch=micro, checkpoint_every=2)
    try:
        draft = reward_model.run(reward_model.Recipe(**tuned), inputs, work)
    finally:
        work.events.close()
    (folder / "metrics.json").write_text(json.dumps(draft.metrics))


def dies_at(place: str) -> Callable[[dict[str, Any]], None]:
    return lambda event: tiny.die() if f"{event['event']} {event.get('step')}" == place else None


def set_trap(place: str) -> None:
    """Arrange for death inside a step, while a checkpoint is written, or before the judge is measured."""
    kind, _, number = place.partition(" ")
    if kind == "loss":
        seen: list[None] = []
        method = judge_training.JudgeTrainer.compute_loss

        def deadly(*given: Any, **named: Any) -> Any:
            seen.append(None)
            return tiny.die() if len(seen) == int(number) else method(*given, **named)

        judge_training.JudgeTrainer.compute_loss = deadly  # type: ignore[method-assign]
    elif kind == "writing":
        from stages.policy.training import checkpoint

        checkpoint.seal_folder = lambda *_: tiny.die()  # type: ignore[assignment]
    elif kind == "measuring":
        judge.load_judge = lambda *_: tiny.die()  # type: ignore[assignment]


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def helpful(home: Path) -> Path:
    train(home / "helpful", "pairs", {})
    return home / "helpful"


@pytest.fixture(scope="module")
def safe(home: Path) -> Path:
    train(home / "safe", "points", {"epochs": 2})
    return home / "safe"


# ---- the losses ----


def test_the_pairwise_loss_by_hand() -> None:
    scores = torch.tensor([[1.0, 1.0], [2.0, 1.0], [-1.0, 1.0]], requires_grad=True)
    loss, right = judge_training.pairwise_loss(scores, torch.ones(3))
    assert loss.item() == pytest.approx(math.log(2) + math.log1p(math.exp(-1)) + math.log1p(math.exp(2)))
    assert right.item() == 1.5
    loss.backward()
    assert scores.grad is not None and (scores.grad[:, 0] < 0).all()  # descending raises what was chosen
    assert torch.allclose(scores.grad[:, 0], -scores.grad[:, 1])


def test_the_pointwise_loss_by_hand() -> None:
    loss, right = judge_training.pointwise_loss(torch.tensor([[0.0], [2.0], [2.0]]), torch.tensor([1.0, 1.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(2) + math.log1p(math.exp(-2)) + math.log1p(math.exp(2)))
    assert right.item() == 1


# ---- what is learned ----


def test_a_helpful_judge_learns_a_simple_rule_of_the_summary(helpful: Path) -> None:
    found = metrics(helpful)
    assert (found["kind"], found["sees"]) == ("pairwise", "summary")
    assert found["heldout"]["accuracy"] > 0.9 and found["heldout"]["matched_accuracy"] > 0.9
    assert 0.2 < found["heldout"]["length_rule"] < 0.8
    assert found["train_rows"] + found["heldout"]["pairs"] == found["rows"] == 120
    scorer = judge.load_judge(helpful)
    good, bad, swayed = scorer(
        ["new"] * 3,
        [
            "<think>vvww</think><answer>abba</answer>",
            "<think>abba</think><answer>vvww</answer>",
            "<answer>abba</answer>",
        ],
    )
    assert good > 0.5 > bad and good == pytest.approx(swayed, rel=1e-6), "the thinking does not sway it"


def test_a_safe_judge_learns_a_rule_of_the_reasoning(safe: Path) -> None:
    found = metrics(safe)
    assert (found["kind"], found["sees"]) == ("pointwise", "response")
    assert found["heldout"]["accuracy"] > 0.9 and found["heldout"]["auc"] > 0.95
    assert found["heldout"]["majority_rule"] < 0.8
    good, bad = judge.load_judge(safe)(
        ["new"] * 2, [f"<think>{one}</think><answer>mmo</answer>" for one in ("abc", "xyz")]
    )
    assert good > 0.5 > bad


def test_scores_are_scaled_by_the_held_out_responses(helpful: Path) -> None:
    rows = [json.loads(line) for line in (helpful / reward_model.HELDOUT_FILE).read_text().splitlines()]
    raw = [score for row in rows for score in row["scores"]]
    found = judge.JudgeConfig.read(helpful)
    assert (found.mean, found.std) == pytest.approx(ranking.spread(raw))
    by_id = {row.id: row for row in pairs()}
    scorer = judge.load_judge(helpful)
    again = scorer.raw([by_id[row["id"]].problem for row in rows], [by_id[row["id"]].chosen for row in rows])
    assert again == pytest.approx([row["scores"][0] for row in rows], abs=1e-4)


def test_held_out_prompts_are_those_of_the_hash_and_are_not_trained_on(helpful: Path) -> None:
    held = {json.loads(line)["problem"] for line in (helpful / reward_model.HELDOUT_FILE).read_text().splitlines()}
    assert held == {row.problem for row in pairs() if ranking.is_held_out(row.problem, 0.25)}


def test_the_operations_are_six_for_each_weight_and_token(helpful: Path) -> None:
    found = metrics(helpful)
    weights = sum(tensor.numel() for tensor in load_file(helpful / "model.safetensors").values())
    assert found["flops"]["update"] == 6 * weights * found["trained_tokens"]
    assert found["steps"] == math.ceil(found["train_rows"] / 16)


def test_a_step_in_many_passes_is_the_step_in_one(home: Path) -> None:
    settings = {"learning_rate": 1e-4}
    train(home / "many", "pairs", settings, micro=3)
    train(home / "one", "pairs", settings, micro=16)
    many, one = (events.curve(home / name / "events.jsonl", "step") for name in ("many", "one"))
    assert [step["loss"] for step in many] == pytest.approx([step["loss"] for step in one], abs=1e-4)
    assert [step["grad_norm"] for step in many] == pytest.approx([step["grad_norm"] for step in one], rel=1e-2)


# ---- what is refused, dropped and said ----


def test_rows_that_are_too_long_or_lack_a_summary_are_dropped_and_counted(tmp_path: Path, home: Path) -> None:
    rows = pairs(40)
    rows[1] = Preference("long", "q1", rows[1].chosen, f"<answer>{'z' * 200}</answer>")
    rows[2] = Preference("cut", "q2", "<think>a</think><answer>cut off", rows[2].rejected)
    preferences(home / "flawed", rows)
    train(home / "fewer", "flawed", {"max_tokens": 90})
    assert metrics(home / "fewer")["dropped"] == {"too long": 1, "no summary": 1}
    (said,) = events.read(home / "fewer" / "events.jsonl", "warning")
    assert "2 of 40 rows are left out" in said["text"]


def test_prepared_pairs_of_plain_texts_are_all_summary(tmp_path: Path, home: Path) -> None:
    lines = []
    for row in pairs(60):
        summaries = (text.partition("<answer>")[2] for text in (row.chosen, row.rejected))
        chosen, rejected = (text.removesuffix("</answer>") for text in summaries)
        lines.append(json.dumps({"prompt": row.problem, "chosen": chosen, "rejected": rejected}))
    lines.append(json.dumps({"prompt": "thought", "chosen": "<think>v</think>abc", "rejected": "<think>a</think>xyz"}))
    source = tmp_path / "plain.jsonl"
    source.write_text("\n".join(lines))
    (home / "plain").mkdir()
    work = tiny.work(home / "plain")
    prepare.run(prepare.Recipe(source=str(source), kind="preferences"), prepare.Inputs(), work)
    work.events.close()
    train(home / "judge_of_plain", "plain", {})
    found = metrics(home / "judge_of_plain")
    assert (found["rows"], found["dropped"]) == (61, {})
    assert found["heldout"]["accuracy"] == 1.0


def test_an_empty_side_is_an_error_that_says_what_was_dropped(home: Path) -> None:
    with pytest.raises(InputError, match="none is left to train on") as caught:
        train(home / "short", "pairs", {"max_tokens": 5})
    assert "120 too long" in caught.value.hint
    assert not (home / "short" / "judge.json").exists()


def test_a_gradient_that_is_no_number_stops_the_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = judge_training.pairwise_loss
    monkeypatch.setattr(
        judge_training, "pairwise_loss", lambda *given: (plain(*given)[0] * float("nan"), plain(*given)[1])
    )
    with pytest.raises(StageError, match="step 1 is not a number"):
        train(home / "nan", "pairs", {})


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"learning_rate": 0.0}, {"heldout_share": 1.0}, {"max_tokens": 0}, {"adam_betas": (1.0, 0.9)}],
)
def test_a_value_out_of_its_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"`{next(iter(wrong))}` must be"):
        reward_model.Recipe(**wrong)


def test_the_template_is_the_models_own_or_plain(tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.rewards.contracts import contract

    own = replace(contract(), template="Q {prompt} A ", template_name="custom", prefill="<think>")

    def judged(recipe: reward_model.Recipe, own: Contract) -> Contract:
        own.write(tmp_path)
        return reward_model.judge_contract(recipe, Model(path=tmp_path, record=tiny.record("model", "own")))

    assert judged(reward_model.Recipe(), own).template == "Q {prompt} A "
    assert judged(reward_model.Recipe(), own).prefill == ""
    assert judged(reward_model.Recipe(), replace(own, template="")).template_name == "plain"
    assert judged(reward_model.Recipe(template="r1_zero"), own).template_name == "r1_zero"


# ---- kill and resume ----


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run leaves that must not depend on whether it was killed."""
    steps = events.curve(folder / "events.jsonl", "step")
    files = ("model.safetensors", "judge.json", reward_model.HELDOUT_FILE, "metrics.json")
    return {name: (folder / name).read_bytes() for name in files} | {
        "steps": [{name: step[name] for name in ("loss", "accuracy", "grad_norm", "learning_rate")} for step in steps]
    }


@pytest.fixture(scope="module")
def uninterrupted(home: Path) -> dict[str, Any]:
    assert tiny.in_a_process(train, home / "whole", "pairs", {"epochs": 2}) == 0
    return outcome(home / "whole")


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(["step 5"], id="after an update and before its checkpoint"),
        pytest.param(["loss 38", "writing", "measuring"], id="inside a step, sealing a checkpoint, after training"),
    ],
)
def test_a_killed_run_ends_as_if_it_had_not_been(
    tmp_path: Path, home: Path, uninterrupted: dict[str, Any], places: list[str]
) -> None:
    folder = home / tmp_path.name
    for place in places:
        assert tiny.in_a_process(train, folder, "pairs", {"epochs": 2}, place) == -9, f"{place} was never reached"
    assert tiny.in_a_process(train, folder, "pairs", {"epochs": 2}) == 0
    assert outcome(folder) == uninterrupted

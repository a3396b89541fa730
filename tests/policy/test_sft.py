"""The supervised trainer trains on what it was given, whole and in an order of its own, and resumes bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as law
from hypothesis import strategies as st
from torch import Tensor
from transformers import Trainer

from stages.core import templates
from stages.core.contract import Contract
from stages.core.data import imitation
from stages.core.data.imitation import Example
from stages.core.errors import StageError
from stages.core.recipe.parts import Tuning
from stages.core.run import events
from stages.core.sampling import Sampling
from stages.policy import sft
from stages.policy.models import folders, memory
from stages.policy.training.feed import BatchSchedule, TokenBudget, fewest_micro_batches
from tests.policy import tiny, tiny_sft
from tests.policy.drawing import generate
from tests.policy.training.test_resume import dies_after

# ---- a run in this process ----


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sft")
    tiny.model(folder / "model")
    return folder


def examples_of(home: Path, count: int) -> tuple[list[Example], Contract]:
    contract = templates.with_template(Contract.read(home / "model"), tiny.TEMPLATE)
    made = imitation.examples(tiny_sft.rows(count), contract, imitation.read_tokenizer(home / "model"))
    return list(made), contract


class Run:
    """One training in `folder`: what it returned, the model and its steps."""

    def __init__(self, home: Path, folder: Path, examples: list[Example], **changes: Any) -> None:
        runtime = changes.pop("runtime", {})
        loss = changes.pop("loss", sft.completion_loss)
        place = tiny.work(folder, **runtime)
        policy = tiny.policy(home / "model")
        self.model = policy.module
        tuning = Tuning(**{"epochs": 2, "batch_size": 4, "learning_rate": 5e-3, **changes})
        try:
            self.figures = sft.train(policy, examples, tuning, work=place, loss=loss)
        finally:
            place.events.close()
        self.steps = events.curve(folder / "events.jsonl", "step")


def same_weights(one: Any, other: Any, atol: float = 2e-4) -> None:
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=atol)


def plain_loss(model: Any, examples: list[Example]) -> float:
    """-log p of each completion token by the model's own forward pass, row by row, averaged over all of them."""
    total, tokens = 0.0, 0
    for example in examples:
        ids = torch.tensor([[*example.prompt_ids, *example.completion_ids]])
        logprobs = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        asked = range(len(example.prompt_ids) - 1, ids.shape[1] - 1)
        total -= sum(logprobs[place, ids[0, place + 1]].item() for place in asked)
        tokens += len(example.completion_ids)
    return total / tokens


def test_the_loss_of_a_step_is_the_mean_over_its_completion_tokens_alone(home: Path, tmp_path: Path) -> None:
    examples, _ = examples_of(home, 5)
    run = Run(home, tmp_path, examples, epochs=1, batch_size=5, runtime={"micro_batch": 2})
    assert run.steps[0]["loss"] == pytest.approx(plain_loss(folders.load_model(home / "model"), examples), rel=1e-5)
    assert run.steps[0]["tokens"] == sum(len(example.completion_ids) for example in examples)


def test_the_shared_start_computed_once_changes_neither_loss_nor_weights(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, _ = examples_of(home, 6)
    shared = Run(home, tmp_path / "shared", examples, epochs=1)
    with monkeypatch.context() as alone:
        alone.setattr(sft, "shared_prefix_length", lambda prompts: 0)
        plain = Run(home, tmp_path / "alone", examples, epochs=1)
    assert [step["loss"] for step in shared.steps] == pytest.approx([step["loss"] for step in plain.steps], rel=1e-5)
    same_weights(shared.model, plain.model)


def test_passes_change_nothing_but_rounding(home: Path, tmp_path: Path) -> None:
    examples, _ = examples_of(home, 11)
    whole = Run(home, tmp_path / "whole", examples, batch_size=5)
    cut = Run(home, tmp_path / "cut", examples, batch_size=5, runtime={"micro_batch": 2})
    for left, right in zip(whole.steps, cut.steps, strict=True):
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=1e-4)
        assert (left["tokens"], left["rows"]) == (right["tokens"], right["rows"])
    assert [step["rows"] for step in whole.steps] == [5, 5, 5, 5, 2]
    same_weights(whole.model, cut.model)


def test_rows_too_wide_for_memory_are_computed_twice_and_end_in_the_same_weights(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, _ = examples_of(home, 4)
    wide = Run(home, tmp_path / "wide", examples)
    monkeypatch.setattr(memory, "memory", lambda device: 1)
    narrow = Run(home, tmp_path / "narrow", examples)
    notes = events.read(tmp_path / "narrow" / "events.jsonl", "note")
    assert any("4 micro-batches" in note["text"] and "twice" in note["text"] for note in notes)
    same_weights(wide.model, narrow.model)


def test_the_learning_rate_falls_along_a_cosine_to_its_tenth_and_never_below(home: Path, tmp_path: Path) -> None:
    examples, _ = examples_of(home, 10)
    rates = [step["learning_rate"] for step in Run(home, tmp_path, examples, batch_size=1).steps]
    expected = [5e-3 * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 20)) / 2) for step in range(20)]
    assert rates == pytest.approx(expected, rel=1e-6)
    assert 5e-4 <= rates[-1] < 5.4e-4


def test_a_constant_rate_stays_after_its_warmup(home: Path, tmp_path: Path) -> None:
    examples, _ = examples_of(home, 4)
    run = Run(home, tmp_path, examples, batch_size=2, lr_schedule="constant", warmup_steps=2)
    assert [step["learning_rate"] for step in run.steps] == pytest.approx([0, 2.5e-3, 5e-3, 5e-3])


def test_a_conversation_learned_by_heart_is_said_again_to_its_end(home: Path, tmp_path: Path) -> None:
    examples, contract = examples_of(home, 3)
    run = Run(home, tmp_path, examples, epochs=60, batch_size=3, learning_rate=1e-2)
    assert run.steps[-1]["loss"] < 0.05 < 1 < run.steps[0]["loss"]
    said = generate(
        run.model,
        [example.prompt_ids for example in examples],
        Sampling(temperature=0, max_tokens=40),
        contract=contract,
        seed=0,
    )
    assert [one.ids for one in said] == [list(example.completion_ids) for example in examples]
    assert not any(one.truncated for one in said)


def test_figures_count_each_epoch_and_loss_is_that_of_the_last(home: Path, tmp_path: Path) -> None:
    examples, _ = examples_of(home, 8)
    run = Run(home, tmp_path, examples, epochs=3)
    tokens = sum(len(example.completion_ids) for example in examples)
    assert run.figures["rows"] == 8 and run.figures["steps"] == 6
    assert run.figures["trained_tokens"] == 3 * tokens
    last = [step for step in run.steps if step["step"] > 4]
    assert run.figures["loss"] == pytest.approx(sum(step["loss"] * step["tokens"] for step in last) / tokens)
    whole = sum(example.tokens for example in examples)
    assert run.figures["flops"] == {"update": 6 * run.model.num_parameters() * 3 * whole}


def test_another_loss_may_take_the_place_of_the_likelihood(home: Path, tmp_path: Path) -> None:
    def doubled(model: Any, batch: sft.Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, _ = sft.completion_loss(model, batch)
        assert [len(examples[row].completion_ids) for row in batch.rows] == batch.completion_mask_BT.sum(1).tolist()
        return 2 * loss, {"ones": batch.completion_mask_BT.sum()}

    examples, _ = examples_of(home, 4)
    plain, twice = (
        Run(home, tmp_path / loss.__name__, examples, epochs=1, loss=loss) for loss in (sft.completion_loss, doubled)
    )
    assert twice.steps[0]["loss"] == pytest.approx(2 * plain.steps[0]["loss"])
    assert twice.steps[0]["ones"] == twice.figures["ones"] == 1


def test_a_gradient_that_is_no_number_stops_the_run(home: Path, tmp_path: Path) -> None:
    def broken(model: Any, batch: sft.Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return sft.completion_loss(model, batch)[0] * float("nan"), {}

    examples, _ = examples_of(home, 4)
    with pytest.raises(StageError, match="step 1 is not a number"):
        Run(home, tmp_path, examples, loss=broken)


def test_nothing_is_printed_while_training(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Run(home, tmp_path, examples_of(home, 2)[0])
    assert capfd.readouterr() == ("", "")


# ---- which rows, in which micro-batches ----

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=30)
BUDGET = st.builds(TokenBudget, st.integers(1, 9), st.integers(1, 120))


@given(lengths=LENGTHS, batch=st.integers(1, 40), epochs=st.integers(1, 3), budget=BUDGET)
@law(max_examples=100, deadline=None)
def test_every_epoch_holds_every_row_once_and_passes_hold_a_step(
    lengths: list[int], batch: int, epochs: int, budget: TokenBudget
) -> None:
    schedule = BatchSchedule(lengths, 1, epochs=epochs, batch=batch, budget=budget)
    stream = [row for step in range(schedule.steps) for row in schedule.rows(step)]
    count = len(lengths)
    for epoch in range(epochs):
        assert sorted(stream[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert len(stream) == epochs * count
    for step in range(schedule.steps):
        passes = schedule.micro_batches(step)
        assert sorted(row for one in passes for row in one) == sorted(schedule.rows(step))
        assert len(passes) == min(schedule.accumulation, len(schedule.rows(step))) and all(passes)
        for one in passes:
            widest = max(lengths[row] for row in one)
            assert len(one) <= budget.rows and (len(one) == 1 or widest * len(one) <= budget.tokens)
    assert schedule.total_micro_batches() == sum(len(schedule.micro_batches(step)) for step in range(schedule.steps))


def test_epochs_have_orders_of_their_own_and_need_no_memory() -> None:
    schedule = BatchSchedule([1] * 50, 1, epochs=3, batch=50, budget=TokenBudget(50, 50))
    again = BatchSchedule([9] * 50, 1, epochs=2, batch=50, budget=TokenBudget(3, 50))
    assert schedule.rows(0) != schedule.rows(1) != schedule.rows(2)
    assert [schedule.rows(0), schedule.rows(1)] == [again.rows(0), again.rows(1)], "lengths and budget do not move rows"
    assert schedule.rows(0) != BatchSchedule([1] * 50, 2, epochs=1, batch=50, budget=TokenBudget(50, 50)).rows(0)


def test_long_rows_take_more_passes_than_short_ones() -> None:
    assert fewest_micro_batches([10, 9, 5, 5, 2, 2, 2], TokenBudget(rows=4, tokens=20)) == [2, 4, 1]
    assert fewest_micro_batches([100], TokenBudget(rows=4, tokens=20)) == [1]


# ---- killed and run again ----

SETTINGS = {**tiny_sft.SETTINGS, "batch_size": 5}
RUNTIME = {"micro_batch": 2, "checkpoint_every": 2}  # three micro-batches a step, two in the last; 11 rows make 5 steps
ROWS = 11  # the third step reaches into the second epoch


def train(folder: Path, place: str) -> None:
    """Run the stage in `folder`, to the end or to the place of death."""
    from stages import sft as stage
    from stages.core.artifact import Conversations

    home = folder.parent
    kind, _, number = place.partition(" ")
    if kind == "gradient":
        seen: list[None] = []
        dies_after(
            sft.SupervisedTrainer, "compute_loss", lambda *_, **__: seen.append(None) or len(seen) == int(number)
        )
    elif kind == "writing":
        dies_after(Trainer, "_save_optimizer_and_scheduler", lambda self, _: self.state.global_step == int(number))
    elif kind == "sealing":
        from stages.policy.training import checkpoint

        dies_after(checkpoint, "seal_folder", lambda source, target: target.name == f"step-{int(number):06d}")
    elif kind == "finishing":
        dies_after(folders, "save_model", lambda *_: True)
    inputs = stage.Inputs(
        model=tiny_sft.model(home),
        conversations=Conversations(path=home / "rows", record=tiny.record("conversations", "rows")),
    )

    def listener(event: dict[str, Any]) -> None:
        if f"{event['event']} {event.get('step')}" == place:
            tiny.die()

    draft = tiny_sft.run(folder, inputs, SETTINGS, listener, **RUNTIME)
    (folder / "metrics.json").write_text(json.dumps(draft.metrics))


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run leaves that must not depend on whether it was killed."""
    steps = events.curve(folder / "events.jsonl", "step")
    return {
        "weights": (folder / "model.safetensors").read_bytes(),
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "steps": [{name: line[name] for name in line if name not in ("time", "seconds_update")} for line in steps],
    }


@pytest.fixture(scope="module")
def uninterrupted(home: Path) -> dict[str, Any]:
    tiny_sft.conversations(home / "rows", tiny_sft.rows(ROWS))
    assert tiny.in_a_process(train, home / "whole", "") == 0
    return outcome(home / "whole")


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(["step 1"], id="before the first checkpoint"),
        pytest.param(["gradient 8"], id="between two micro-batches of a step"),
        pytest.param(["step 4"], id="in a later epoch, after an update and before its checkpoint"),
        pytest.param(["writing 4"], id="while a checkpoint's files are written"),
        pytest.param(["sealing 4"], id="right after a checkpoint took its name"),
        pytest.param(["finishing"], id="after the last step, before sealing"),
        pytest.param(["sealing 2", "writing 4", "step 5"], id="again and again"),
    ],
)
def test_a_killed_run_ends_as_if_it_had_not_been(
    home: Path, tmp_path: Path, uninterrupted: dict[str, Any], places: list[str]
) -> None:
    folder = home / tmp_path.name
    for place in places:
        assert tiny.in_a_process(train, folder, place) == -9, f"{place} was never reached"
    assert tiny.in_a_process(train, folder, "") == 0
    assert outcome(folder) == uninterrupted


def test_a_torn_checkpoint_is_ignored_and_the_weights_are_the_same(home: Path, uninterrupted: dict[str, Any]) -> None:
    folder = home / "torn"
    assert tiny.in_a_process(train, folder, "step 5") == -9
    newest = max((folder / "scratch" / "checkpoints").glob("step-*"))
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert tiny.in_a_process(train, folder, "") == 0
    assert outcome(folder) == uninterrupted
    assert any("is torn" in line["text"] for line in events.read(folder / "events.jsonl", "warning"))


def test_a_checkpoint_that_lacks_weights_is_refused(home: Path, tmp_path: Path) -> None:
    model = folders.load_model(home / "model")
    judge: Callable[[Any, Any], None] = sft.SupervisedTrainer._issue_warnings_after_load
    trainer = type("Loaded", (), {"model": model})()
    weights = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    judge(trainer, model.load_state_dict(weights, strict=False))
    del weights["model.norm.weight"]
    with pytest.raises(StageError, match=r"does not fit the model: model\.norm\.weight"):
        judge(trainer, model.load_state_dict(weights, strict=False))

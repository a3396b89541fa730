"""The three ways a student learns: a student, its inputs and a contract enter; it leaves trained and written down.

What the modes share is here: the student is loaded, measured on held-out traces before, between and after where a
teacher's log-probabilities are given, and saved. What differs is three functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from stages.core.artifact import Model
from stages.core.contract import Contract
from stages.core.data import imitation, students
from stages.core.data.imitation import S
from stages.core.data.surveyed import surveyed
from stages.core.encoding import Reader, naming
from stages.core.errors import InputError
from stages.core.recipe.parts import Tuning
from stages.core.sampling import Sampling
from stages.core.storage import lineage
from stages.policy import sft
from stages.policy.distill import onpolicy, vocab
from stages.policy.distill.cache import Cache
from stages.policy.distill.exam import HeldoutTraces, cached_loss, held_out
from stages.policy.distill.vocab import embedding_rows, restore, trim, vocabulary_of
from stages.policy.models import adapters, folders
from stages.policy.models.weights import Policy
from stages.policy.training.steps import StepReport

if TYPE_CHECKING:
    from stages.core.recipe.distillation import Distillation, Inputs
    from stages.core.run.runner import Work


class DistillationRun:
    """A student in training: its model and tokenizer, what it learns from, and on what it is measured."""

    def __init__(self, recipe: Distillation, inputs: Inputs, work: Work, contract: Contract, where: str) -> None:
        self.recipe, self.inputs, self.work, self.contract, self.where = recipe, inputs, work, contract, where
        self.tokenizer = folders.load_tokenizer(inputs.student.path)
        self.tokenizer.pad_token = self.tokenizer.convert_ids_to_tokens(contract.pad_id)

    @cached_property
    def policy(self) -> Policy:
        """The student, float32, on its device."""
        policy = Policy.load(self.inputs.student.path, self.tokenizer, self.contract, device=self.where)
        if self.recipe.positions is not None:
            give_positions(policy.module, self.recipe.positions)
        return adapters.adapted(
            policy,
            self.recipe.adapter,
            seed=self.work.seed,
            tell=self.work.note,
            again=lambda: folders.load_model(self.inputs.student.path),
        )

    @cached_property
    def heldout(self) -> HeldoutTraces | None:
        """The held-out traces; None where no log-probabilities are given or none are held out."""
        if self.inputs.logprobs is None:
            return None
        cache = Cache(self.inputs.logprobs.path)
        rows = embedding_rows(self.inputs.student.path)
        if rows < cache.vocabulary:
            raise InputError(
                f"the student's embedding has {rows} rows and its tokenizer {cache.vocabulary} ids",
                hint="resize the student's embedding to its tokenizer, and import it again",
            )
        held = held_out([one.id for one in cache.examples], self.recipe.heldout_share, self.work.seed)
        return HeldoutTraces(cache, sorted(held), cache.vocabulary, self.work.runtime.micro_batch)

    def train(self, tuning: Tuning) -> dict[str, Any]:
        """Train the student in the recipe's mode, write it, and return figures."""
        training = _MODES[self.recipe.mode](self, tuning)
        before = self.measured(0)
        figures = training()
        self.policy.module.to(self.where)  # several processes leave it on the CPU
        after = self.measured(figures["steps"])
        figures |= self.policy.save(self.work.path, self.recipe.dtype)
        figures |= {f"{name}_before": value for name, value in before.items()}
        return figures | {f"{name}_after": value for name, value in after.items()}

    def measured(self, step: int) -> dict[str, float]:
        """`heldout_kl` of the student in nats a token and `tail_error`, told as an event too; empty without traces."""
        if self.heldout is None or not self.heldout.rows:
            return {}
        with self.precision():
            held, hidden = self.heldout.kl(self.policy.module), self.heldout.hidden(self.policy.module)
        self.work.emit("eval", step=step, kl=held, **hidden)
        if not hidden:
            return {"heldout_kl": held}
        text = f"one bucket for the tail hides {hidden['tail_error']:.2g} of {hidden['full_kl']:.3g} nats"
        self.work.emit("note", text=f"step {step}: {text} of KL(teacher || student), at positions kept whole")
        return {"heldout_kl": held, "tail_error": hidden["tail_error"]}

    def precision(self) -> torch.autocast:
        """Forward passes in the recipe's number type."""
        kind = torch.device(self.where).type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.recipe.dtype == "bfloat16")

    def after_step(self, report: StepReport) -> None:
        """Measure the student every `eval_every` steps, besides the first and the last."""
        every = self.recipe.eval_every
        if self.heldout is None or not self.heldout.rows or not every:
            return
        if report.step % every == 0 and report.step < report.steps:
            with self.precision():
                self.work.emit("eval", step=report.step, kl=self.heldout.kl(self.policy.module))

    @property
    def room(self) -> int:
        """The most tokens a trace may have."""
        return min(self.contract.max_positions, self.recipe.max_tokens or self.contract.max_positions)

    def within(self, made: Iterable[S]) -> tuple[list[S], int]:
        """The traces that the student has room for, and how many it had not; see `students.within`."""
        short = self.room < self.contract.max_positions
        kept, dropped = students.within(
            made,
            self.room,
            drop=self.recipe.too_long == "drop",
            holder="recipe (`max_tokens`)" if short else "student",
            knob="max_tokens" if short else "positions",
        )
        if dropped:
            self.work.emit("warning", text=f"{dropped} traces are too long for the student and left out")
        return kept, dropped


Training = Callable[[], dict[str, Any]]
"""Trains, and returns figures."""


def on_traces(run: DistillationRun, tuning: Tuning) -> Training:
    """SFT on the teacher's conversations, as DeepSeek-R1's students learned; held-out traces are left out."""
    conversations = run.inputs.conversations
    assert conversations is not None  # the stage refuses its absence
    held = {run.heldout.cache.examples[row].id for row in run.heldout.rows} if run.heldout else set()
    everything = conversations.rows()
    rows = everything.picked(place for place, name in enumerate(everything.ids()) if name not in held)
    kept, dropped, left = surveyed(
        *(rows, run.contract, run.inputs.student.path, run.within), limit=run.room, runtime=run.work.runtime
    )
    if left:
        run.work.emit("warning", text=imitation.told(left, len(rows)))

    def train() -> dict[str, Any]:
        figures = sft.train(run.policy, kept, tuning, work=run.work, after_step=run.after_step)
        flops = {"sampling": 0, **figures["flops"], "teacher": lineage.data_flops(conversations)}
        figures |= imitation.counted(left)
        return {**figures, "dropped_too_long": dropped, "heldout_rows": len(held), "flops": flops}

    return train


def on_logprobs(run: DistillationRun, tuning: Tuning) -> Training:
    """The same traces in the same steps, but each token's loss is the KL of the cached teacher to the student."""
    heldout, logprobs = run.heldout, run.inputs.logprobs
    assert heldout is not None and logprobs is not None  # the stage refuses their absence
    everything = heldout.cache.examples
    number = {example.id: row for row, example in enumerate(everything)}
    kept, dropped = run.within(one for row, one in enumerate(everything) if row not in set(heldout.rows))
    loss = cached_loss(heldout.cache, [number[one.id] for one in kept], heldout.vocabulary)

    def train() -> dict[str, Any]:
        figures = sft.train(run.policy, kept, tuning, work=run.work, loss=loss, after_step=run.after_step)
        flops = {"sampling": 0, **figures["flops"], "teacher": lineage.data_flops(logprobs)}
        return {**figures, "dropped_too_long": dropped, "heldout_rows": len(heldout.rows), "flops": flops}

    return train


def on_policy(run: DistillationRun, tuning: Tuning) -> Training:
    """The student answers prompts and the teacher reads its answers; both are cut to the vocabulary they share."""
    recipe, teaching, prompts = run.recipe, run.inputs.teacher, run.inputs.prompts
    assert isinstance(teaching, Model) and prompts is not None  # the stage refuses anything else
    positions = min(run.contract.max_positions, teaching.contract.max_positions)
    if more := vocab.only_taught(run.inputs.student.path, teaching.path):
        vocab.refuse_foreign_end(run.contract, run.inputs.student.path)
        run.work.note(vocab.told(more))
    vocabulary = vocabulary_of(run.inputs.student.path, teaching.path)
    reader, asked = Reader(run.tokenizer.backend_tokenizer, run.contract), []
    for row in prompts.rows():
        with naming(row.id):
            asked.append(reader.text(row.problem, row.turns))
    plan = onpolicy.OnPolicyPlan(
        prompts=["".join(pieces) for pieces in asked],
        prompt_ids=reader.ids(asked),
        contract=replace(run.contract, max_positions=positions),
        sampling=Sampling(temperature=recipe.temperature, max_tokens=recipe.max_completion_tokens),
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        divergence=recipe.divergence,
        seed=run.work.seed,
        device=run.where,
    )
    onpolicy.refuse_without_room(plan)

    def train() -> dict[str, Any]:
        teacher = folders.load_model(teaching.path, dtype=recipe.dtype, device=run.where)
        trim(teacher, vocabulary)
        cut = trim(run.policy.module, vocabulary)
        figures = onpolicy.train(run.policy, teacher, plan, tuning, work=run.work, after_step=run.after_step)
        restore(run.policy.module, cut)
        return figures

    return train


_MODES: dict[str, Callable[[DistillationRun, Tuning], Training]] = {
    "traces": on_traces,
    "logprobs": on_logprobs,
    "on-policy": on_policy,
}


def give_positions(model: Any, positions: int) -> None:
    """Let a model take rows of so many tokens. Raises InputError for more than its own without plain rotary ones."""
    config = model.config.get_text_config()
    if positions <= config.max_position_embeddings:
        config.max_position_embeddings = positions
        return
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "default":
        raise InputError(
            f"this student's positions cannot be raised from {config.max_position_embeddings} to {positions}",
            hint="only plain rotary embeddings reach beyond what they were trained on; leave `positions` out",
        )
    config.max_position_embeddings = positions

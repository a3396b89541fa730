"""Distillation on the student's own words: TRL's DistillationTrainer, one step depending on its number alone.

A student, a teacher and rendered prompts enter; the student leaves, closer to the teacher where the student itself
goes. At each step it answers some prompts, the teacher reads the answers, and the divergence between the two
distributions at every token is the loss (generalised JSD, arXiv 2306.13649 eq. 1; weight 1 = reverse KL). TRL keeps the
loop, the loss and its chunked output layers; this subclass replaces how prompts are chosen and answered, so that a
resumed run asks and draws what an uninterrupted one would have. A test pins the methods overridden here.

The paper does not do this: DeepSeek-R1's students learned by SFT on traces alone (arXiv 2501.12948 §2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import DistillationConfig, DistillationTrainer
from trl.trainer.utils import split_tensor_dict

from stages.core.contract import Contract
from stages.core.errors import EngineError, InputError
from stages.core.recipe.parts import Tuning
from stages.core.sampling import Engine, Request, Sampling, Text
from stages.core.scale.memory import micro_rows
from stages.policy.engines.client import answered, in_order
from stages.policy.engines.opening import open_engine, samples_live
from stages.policy.engines.renewal import Renewal
from stages.policy.models import families, memory
from stages.policy.models.agreement import Row, likely, refuse_apart, refuse_unlike_alone
from stages.policy.models.weights import Policy
from stages.policy.seeding import PromptOrder, derive
from stages.policy.training import resumable, settings
from stages.policy.training.checkpoint import Checkpoints
from stages.policy.training.resumable import ResumableTrainer
from stages.policy.training.steps import RunState, StepCallback, StepLogger, StepReport

if TYPE_CHECKING:
    from stages.core.run.runner import Work

SIDES = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
"""What TRL calls the tensors of `selected_logprobs`."""


@dataclass(frozen=True, kw_only=True)
class OnPolicyPlan:
    """What the student is asked, and how it answers."""

    prompts: Sequence[str]
    """Rendered prompts, as people read them."""
    prompt_ids: Sequence[list[int]]
    """The same as token ids, as both models read them."""
    contract: Contract
    sampling: Sampling
    steps: int
    batch_size: int
    """Prompts of a step, each answered once."""
    divergence: float
    """0 = forward KL(teacher || student), 1 = reverse KL, between them the generalised JSD."""
    seed: int
    device: str


@dataclass(kw_only=True)
class OnPolicyState(RunState):
    """What the run has come to so far."""

    read_tokens: int = 0
    """Of prompts and answers."""
    trained_tokens: int = 0
    """Of answers."""
    loss: float = 0.0
    """Of the last step, in nats a token."""


class OnPolicyTrainer(ResumableTrainer[OnPolicyState], DistillationTrainer):  # type: ignore[misc]
    """TRL's trainer on rollouts of our own."""

    def __init__(
        self,
        student: Policy,
        teacher: Any,
        *,
        plan: OnPolicyPlan,
        config: DistillationConfig,
        checkpoints: Checkpoints,
        callback: StepCallback,
        engine: Engine,
    ) -> None:
        self.plan, self.engine = plan, engine
        self.said: list[Text] = []
        self.drawn: list[list[float]] = []
        """What the engine says of each answer's tokens."""
        self.compared = False
        self.order = PromptOrder(len(plan.prompts), plan.batch_size, plan.seed)
        self.parts: list[dict[str, Any]] = []
        self.counted = (0, 0)
        super().__init__(
            student,
            teacher_model=teacher,
            args=config,
            run_state=OnPolicyState(),
            checkpoints=checkpoints,
            callback=callback,
            processing_class=student.tokenizer,
            # TRL wants a dataset; which prompts a step asks is decided by its number (see `_prepare_inputs`).
            train_dataset=Dataset.from_dict({"prompt": list(plan.prompts)}),
        )
        dtype = "bfloat16" if config.bf16 else "float32"
        self.renewal = Renewal(engine, student, dtype=dtype, autocast=self.accelerator.autocast)
        self.eos_token_ids = list(plan.contract.eos_ids)

    # ---- overridden: TRL and transformers call these ----

    def _prepare_inputs(self, generation_batch: list[int]) -> dict[str, Any]:
        """Turn a micro-batch's number into its rows; the first one of a step lets the student answer."""
        step, part = divmod(generation_batch[0], self.args.gradient_accumulation_steps)
        if part == 0:
            asked = [{"prompt": self.plan.prompts[index]} for index in self.order.rollout(step)]
            made = self._generate_and_score_completions(asked)
            self.counted = (
                int(made["prompt_mask"].sum() + made["completion_mask"].sum()),
                int(made["completion_mask"].sum()),
            )
            self.parts = split_tensor_dict(made, self.args.gradient_accumulation_steps)
        return self.parts[part]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Return the ids that the contract gives the prompts: TRL would begin and end them as the tokenizer likes."""
        known = dict(zip(self.plan.prompts, self.plan.prompt_ids, strict=True))
        return [list(known[text]) for text in prompts], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any, has_tool_images: bool = False
    ) -> list[list[int]]:
        """Let the engine answer, whose draws depend on the seed, the step and the row alone.

        Raises EngineError where it fails an answer for good: a step has its rows, or is none.
        """
        asked = self._requests(prompt_ids, self.state.global_step)
        engine = self.renewal.follow(self.state.global_step, self.said)
        with self.accelerator.autocast():
            done = in_order(asked, answered(engine, asked))
        failed = next((one for one in done if one.failed), None)
        if failed is not None:
            raise EngineError(
                f"the {engine.name} engine failed an answer of the student ({failed.finish}): {failed.fault}",
                hint="run the same command again: it goes on from the last checkpoint",
            )
        self.drawn = [one.logprobs for one in done]
        self.said = [Text(ids, one.ids) for ids, one in zip(prompt_ids, done, strict=True)]
        return [one.ids for one in done]

    def _requests(self, prompt_ids: Sequence[Sequence[int]], step: int) -> list[Request]:
        plan = self.plan
        return [
            Request(prompt_ids=ids, sampling=plan.sampling, seed=derive(plan.seed, "on-policy", step, row), key=row)
            for row, ids in enumerate(prompt_ids)
        ]

    def _get_last_hidden_state(
        self, unwrapped_model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **fields: Any
    ) -> Tensor:
        """Count positions from each row's first token where they are not rotary: TRL leaves that to the model, and some
        (GPT-2) count padding."""
        if getattr(unwrapped_model.config.get_text_config(), "rope_parameters", None):
            hidden: Tensor = super()._get_last_hidden_state(
                unwrapped_model, input_ids, attention_mask, logits_to_keep, **fields
            )
            return hidden
        positions = (attention_mask.long().cumsum(1) - 1).clamp_min(0)
        read = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": positions}
        hidden = unwrapped_model.base_model(**read, use_cache=False).last_hidden_state
        return hidden[:, -logits_to_keep - 1 : -1]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compare both models once, before the first loss."""
        if not self.compared:
            with torch.no_grad(), self.accelerator.autocast():
                self._compare(inputs)
            self.compared = True
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _compare(self, inputs: dict[str, Any]) -> None:
        """Raise StageError where what is trained on is not what the student drew from, or where the teacher does not
        say of a row among others what it says of the row alone."""
        dtype = "bfloat16" if self.args.bf16 else "float32"
        prompt_ids, prompt_mask, ids_BT, mask_BT = sides = tuple(inputs[name] for name in SIDES)
        refuse_unlike_alone(self.teacher_model, sides, 0, dtype)
        refuse_unlike_alone(self.model, sides, 0, dtype)
        if not families.plain_head(self.model.config):
            return
        rows = (torch.cat([prompt_ids, ids_BT], 1), torch.cat([prompt_mask, mask_BT], 1))
        hidden_BTH = self._get_last_hidden_state(self.model, *rows, ids_BT.shape[1])
        logits_BTV = self.model.get_output_embeddings()(hidden_BTH).float() / self.plan.sampling.temperature
        own_BT = logits_BTV.log_softmax(-1).gather(2, ids_BT[:, :, None])[:, :, 0]
        refuse_apart(
            [
                Row(f"answer {row + 1}", torch.tensor(self.drawn[row]), own_BT[row][mask_BT[row].bool()])
                for row in range(len(ids_BT))
            ],
            dtype,
            places=(f"the sampler (engine {self.engine.name})", "the trainer"),
            reasons=likely(self.model, rows[0].shape[1], dtype),
            hint="use mode traces, for which the student answers nothing",
        )

    # ---- steps ----

    def begin_run(self) -> None:
        """Let the engine take the student's weights once, before the first step."""

        def first() -> list[Request]:
            return self._requests([self.plan.prompt_ids[index] for index in self.order.rollout(0)], 0)

        self.renewal.rehearse(first, self.state.global_step)

    def step_figures(self, step: int, logs: dict[str, float]) -> dict[str, Any]:
        """Return what TRL says of the step, under our names; what was read is added up."""
        state, (read, trained) = self.run_state, self.counted
        state.read_tokens, state.trained_tokens = state.read_tokens + read, state.trained_tokens + trained
        state.loss = logs["loss"]
        named = {"completions/mean_length": "length", "completions/clipped_ratio": "truncated"}
        wanted = ("loss", "entropy", "grad_norm", "learning_rate", *named)
        return {named.get(name, name): float(logs[name]) for name in wanted if logs.get(name) is not None}


def longest_prompt(plan: OnPolicyPlan) -> int:
    """Tokens of the longest prompt."""
    return max(map(len, plan.prompt_ids))


def refuse_without_room(plan: OnPolicyPlan) -> None:
    """Raise InputError when the longest prompt leaves no room for an answer of the longest kind."""
    positions, wanted = plan.contract.max_positions, plan.sampling.max_tokens
    room = positions - longest_prompt(plan)
    if room < wanted:
        raise InputError(
            f"the longest prompt leaves {room} of {positions} positions, and answers may have {wanted} tokens",
            hint=f"lower the limit: `max_completion_tokens={max(room, 1)}`",
        )


def train(
    student: Policy,
    teacher: Any,
    plan: OnPolicyPlan,
    tuning: Tuning,
    *,
    work: Work,
    after_step: Callable[[StepReport], None] | None = None,
) -> dict[str, Any]:
    """Train `student` in place, `plan.steps` times; both models have the shared vocabulary and nothing beyond it.

    Resumes from `work.scratch / "checkpoints"`; on a CPU it then ends in the same bits. Returns plain figures: `steps`,
    `trained_tokens` (the student's own), `loss` (of the last step, nats a token), `flops` ({"sampling": 2·N·tokens,
    "update": 6·N·tokens, "teacher": 2·N_teacher·tokens}, tokens those of prompts and answers). Emits `note`, `step` and
    `progress`; `after_step` is called when a step was told. Raises StageError when a gradient is no number. Saving the
    model is the caller's.
    """
    tokens = longest_prompt(plan) + plan.sampling.max_tokens
    runtime, beside = work.runtime, memory.trained_bytes(student.module) + memory.trained_bytes(teacher) // 4
    twice = memory.compute_twice_if_asked(student.module, runtime, tokens, beside=beside)
    by_tokens = max(1, runtime.micro_tokens // tokens) if runtime.micro_tokens else None
    fit = runtime.micro_batch or by_tokens or memory.rows_that_fit(student.module, tokens, beside=beside)
    micro = micro_rows(plan.batch_size, fit)
    work.emit("note", text=f"{plan.steps} steps of {plan.batch_size} prompts, {micro} rows at once{twice}")
    checkpoints = Checkpoints(work.scratch / "checkpoints")
    folder = work.scratch / "student"
    if not samples_live(work.runtime):
        student.initial(folder)  # as it is trained: its vocabulary cut, its positions raised
    engine = open_engine(folder, contract=plan.contract, dtype=tuning.dtype, runtime=work.runtime, model=student.module)
    trainer = OnPolicyTrainer(
        student,
        teacher,
        plan=plan,
        config=configuration(tuning, plan, checkpoints.fresh_draft(), micro, work),
        checkpoints=checkpoints,
        callback=StepLogger(work, live=("loss", "length", "entropy"), then=after_step),
        engine=engine,
    )
    try:
        resumable.train(trainer, work)
    finally:
        engine.close()
    mine, state = student.parameters, trainer.run_state
    read = state.read_tokens
    return {
        "steps": plan.steps,
        "trained_tokens": state.trained_tokens,
        "loss": state.loss,
        "flops": {
            "sampling": 2 * mine * read,
            "update": student.update_flops * read,
            "teacher": 2 * teacher.num_parameters() * read,
        },
    }


def configuration(tuning: Tuning, plan: OnPolicyPlan, folder: Path, micro: int, work: Work) -> DistillationConfig:
    """Translate a `Tuning` and an `OnPolicyPlan` into TRL's own words; `micro` must divide the prompts of a step."""
    return DistillationConfig(
        **settings.common_arguments(
            tuning,
            folder=folder,
            seed=work.seed,
            save_steps=settings.save_steps(plan.steps, work),
            cpu=plan.device == "cpu",
        ),
        max_steps=plan.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=plan.batch_size // micro,
        max_completion_length=plan.sampling.max_tokens,
        temperature=plan.sampling.temperature,
        beta=plan.divergence,
        disable_dropout=True,
    )

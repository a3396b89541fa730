"""What a distillation is asked for and given, without a tensor: the stage and the three ways to learn share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.artifact import Conversations, Endpoint, Logprobs, Model, Prompts
from stages.core.recipe.parts import Completions, Imitation
from stages.core.recipe.ranges import Rule, at_least, or_none


@dataclass(frozen=True, kw_only=True)
class Distillation(Imitation, Completions):
    """All that a student's training reads of its recipe; its learning rate comes apart (`parts.Tuning`)."""

    mode: Literal["traces", "logprobs", "on-policy"] = "traces"
    """What is learned from: the teacher's text (the paper's way), its cached log-probabilities on that text, or its
    distribution on the student's own answers.
    """
    epochs: int = 2
    """Times each trace is learned, 1 or more; R1's students had 2 or 3. Not for on-policy."""
    batch_size: int = 64
    """Traces (on-policy: prompts) of an optimizer step, 1 or more."""
    max_tokens: int | None = 32768
    """Longest trace in tokens, prompt and response together, 1 or more, and never beyond the student's positions; None
    = its positions.
    """
    too_long: Literal["refuse", "drop"] = "refuse"
    """What happens when traces are longer than that: nothing is trained, or they are left out and counted."""
    positions: int | None = None
    """Positions the student gets, 1 or more; None = its own. More than it had works for rotary embeddings alone, as
    DeepSeek did for Qwen2.5-Math (4,096 -> 131,072).
    """
    heldout_share: float = 0.05
    """Share of the traces in `inputs.logprobs` that is never trained on, in [0, 1): KL(teacher || student) is measured
    there. 0 = none is held out, and nothing measured.
    """
    eval_every: int = 0
    """Steps between measurements of that KL, besides the first and the last; 0 = only those."""
    steps: int = 100
    """Optimizer steps of on-policy, 1 or more; the other modes count epochs."""
    max_completion_tokens: int = 2048
    """On-policy: longest answer of the student in tokens, 1 or more."""
    temperature: float = 1.0
    """On-policy: of the student's sampling and of both distributions, above 0."""
    divergence: float = 1.0
    """On-policy: 0 = forward KL(teacher || student), 1 = reverse KL, between them the generalised Jensen-Shannon
    divergence (arXiv 2306.13649).
    """
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of the forward passes, of a teacher that is asked and of the sealed weights; while training, the
    student's weights are float32.
    """

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        rules = at_least(self, 1, "steps") + at_least(self, 0, "eval_every")
        rules += or_none(at_least(self, 1, "max_tokens", "positions"))
        rules += [Rule("divergence", 0 <= self.divergence <= 1, "in [0, 1]")]
        return [*rules, Rule("heldout_share", 0 <= self.heldout_share < 1, "in [0, 1)")]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Who learns, from whom, and from what."""

    student: Model
    """The model to start from, a base as a rule."""
    teacher: Model | Endpoint | None = None
    """Whom it learns from, any model; None = whoever wrote the traces (not for on-policy). An endpoint teaches
    by traces alone."""
    conversations: Conversations | None = None
    """The teacher's traces, for mode traces."""
    prompts: Prompts | None = None
    """What the student is asked, for mode on-policy."""
    logprobs: Logprobs | None = None
    """The teacher's likeliest tokens on its traces, for mode logprobs; in the others a share of it measures only."""

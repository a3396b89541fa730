"""The parts that recipes are made of: what several stages ask for, or the trainers read, is written here once.

A stage's Recipe inherits parts, so that its keys stay flat, and declares a key again only for another default. What
leaves is the words, the range and the default of each key. Trainers and samplers ask for the part they read and never
for a stage's Recipe, which lies above them. Nothing here holds a tensor. `rules` of every part are kept by
`ranges.check`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

from stages.core.errors import nearest
from stages.core.fingerprint import later
from stages.core.recipe.adaptation import Adaptation
from stages.core.recipe.guarding import Guarding
from stages.core.recipe.ranges import Rule, above_zero, at_least, betas, idle, or_none
from stages.core.templates import Asked

PartT = TypeVar("PartT")


def taken(part: type[PartT], recipe: Any, **changes: Any) -> PartT:
    """One part out of a recipe, with some keys changed: what is handed on where the rest must not be known."""
    keys = [key.name for key in fields(part)]  # type: ignore[arg-type]
    return part(**{**{key: getattr(recipe, key) for key in keys}, **changes})


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """How weights are moved, whatever the learning rate."""

    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0; 0 = none."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's two moments, each in [0, 1)."""
    weight_decay: float = 0.0
    """Of AdamW, 0 or more."""
    max_grad_norm: float | None = 1.0
    """Longer gradients are scaled down to this norm; 0 or None = never."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of the forward passes and of the sealed weights; while training, weights are float32."""
    adapter: Adaptation = later(Adaptation())
    """Low-rank matrices (LoRA) that are trained instead of the weights; `adapter.rank` 0 = none."""
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor"] = later("adamw")
    """What moves the weights. `adamw_8bit` keeps its two moments in 8 bits, `paged_` ones move to the host's memory
    when the device is full (bitsandbytes, on a GPU alone); `adafactor` keeps a row and a column of one moment.
    """
    weights: Literal["float32", "bfloat16_master", "bfloat16"] = later("float32")
    """How weights and gradients are held while training: `bfloat16_master` in bfloat16, with a float32 copy that the
    optimizer moves; `bfloat16` without one, rounded by chance so that small steps are not lost. AdamW alone; its
    moments are float32.
    """

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        rules = [*at_least(self, 0, "warmup_steps", "weight_decay"), betas(self), *self.adapter.rules()]
        plain = self.weights == "float32" or (self.optimizer == "adamw" and self.dtype == "bfloat16")
        rules.append(Rule("weights", plain, "float32, unless dtype is bfloat16 and the optimizer adamw"))
        return rules + or_none(at_least(self, 0, "max_grad_norm"))


@dataclass(frozen=True, kw_only=True)
class Optimizer(AdamW):
    """AdamW with a rate that stays, or falls to 0."""

    learning_rate: float = 3e-6
    """Of AdamW, above 0."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on after the warmup; linear and cosine end at 0 with the last step."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        return above_zero(self, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How often rows are trained on, and in which steps."""

    epochs: int = 2
    """Times each row is trained on, 1 or more."""
    batch_size: int = 64
    """Rows of an optimizer step, 1 or more; the last step may have fewer."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        return at_least(self, 1, "epochs", "batch_size")


@dataclass(frozen=True, kw_only=True)
class JudgeTuning(Passes, Optimizer):
    """How a judge is trained."""


@dataclass(frozen=True, kw_only=True)
class Imitation(Passes, AdamW):
    """How text is imitated: R1's cosine, which ends above 0."""

    lr_schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on after the warmup: along a cosine to min_lr_share of it, or not at all."""
    min_lr_share: float = 0.1
    """Share of the learning rate at which the cosine ends with the last step, 0 to 1."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        constant = ("min_lr_share",) if self.lr_schedule == "constant" else ()
        rules = idle(self, "under `lr_schedule` constant", *constant)
        return [*rules, Rule("min_lr_share", 0 <= self.min_lr_share <= 1, "in [0, 1]")]


@dataclass(frozen=True, kw_only=True)
class Tuning(Imitation):
    """Imitation at a rate that is known."""

    learning_rate: float = 5e-6
    """Of AdamW at the start, above 0."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        return above_zero(self, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class Completions:
    """How a policy in training is sampled."""

    max_completion_tokens: int = 32768
    """Longest completion in tokens, 1 or more."""
    temperature: float = 1.0
    """Of sampling, above 0; log-probabilities are taken at it too."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        return at_least(self, 1, "max_completion_tokens") + above_zero(self, "temperature")


@dataclass(frozen=True, kw_only=True)
class LengthSwitch:
    """A later, longer limit on completions."""

    step: int
    """Rollouts that start after this many steps use it; 1 or more."""
    tokens: int
    """The new limit in tokens; 1 or more."""


@dataclass(frozen=True, kw_only=True)
class RolloutPlan(Completions):
    """What a rollout asks, and into how many steps it is split."""

    prompts_per_step: int = 32
    """Prompts an optimizer step is made of, 1 or more; with group_size they give its rows."""
    group_size: int = 16
    """Completions for each prompt, 2 or more: a completion is judged against the others of its group."""
    minibatches: int = 16
    """Optimizer steps one rollout is split into at random, 1 or more; 1 = a fresh rollout for every step."""
    steps: int = 10400
    """Optimizer steps in all, 1 or more."""
    length_switch: LengthSwitch | None = None
    """Another limit from a later step on; None = one limit throughout."""
    general_from_step: int | None = None
    """General prompts, and the judges' rewards with them, enter in rollouts that start after this many steps, 0 or
    more; None = never. R1: after 1,300 of 1,700.
    """
    general_share: float = 0.45
    """Share of a rollout's prompts that are general from then on, 0 to 1; of R1's prompts 66,000 in 146,000 are (v2,
    table 4).
    """

    @property
    def step_rows(self) -> int:
        """Completions an optimizer step is made of."""
        return self.prompts_per_step * self.group_size

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        last = (self.steps - 1) // self.minibatches * self.minibatches if self.minibatches > 0 else 0
        rules = at_least(self, 1, "prompts_per_step", "group_size", "minibatches", "steps")
        rules += or_none(at_least(self, 0, "general_from_step"))
        rules += [
            Rule("general_share", 0 <= self.general_share <= 1, "in [0, 1]"),
            Rule("general_from_step", (self.general_from_step or 0) <= last, f"null or up to {last}, the last rollout"),
        ]
        if self.length_switch is not None:
            least = min(asdict(self.length_switch).values())
            rules.append(Rule("length_switch", least >= 1, "a step and a number of tokens, each 1 or more"))
        return rules


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """What rewards are told."""

    reward_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Reward name -> its options, such as `{soft_overlong: {max_length: 4096}}`; `r1 rewards list` shows them."""


@dataclass(frozen=True, kw_only=True)
class RewardPlan(RewardOptions):
    """What completions are rewarded for, and how rewards become advantages."""

    rewards: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0, "format": 1.0})
    """Reward name (or `package.module:function`) -> weight, 0 or more; the sum over those that apply to a prompt is
    maximised, 0 leaves a reward out. `helpful` and `safe` are the judges' and apply to general prompts alone, accuracy
    to all others.
    """
    normalise_rewards: bool = False
    """Bring each reward to mean 0 and deviation 1 within its group before it is weighted, and the sum to deviation 1
    over the rollout (GDPO, arXiv 2601.05242): for rewards of unlike scales. R1 sums them as they are; not for ppo.
    """
    scale_rewards: bool = True
    """Divide advantages by the standard deviation of the group; under ppo by that of all tokens of the rollout."""
    shuffle_rewards: bool = False
    """A control: rewards change places across prompts inside each rollout, so that nothing can be learned."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        fit = all(weight >= 0 for weight in self.rewards.values()) and any(self.rewards.values())
        return [Rule("rewards", fit, "weights of 0 or more, at least one above 0")]


TOKEN_LOSSES = ("grpo", "dr_grpo", "dapo")
"""Losses whose clipped objective is of single tokens: those that PPO's advantages fit."""
LOSSES = (*TOKEN_LOSSES, "grpo_sequence", "gspo", "cispo")
"""What `loss` may name besides a user's own."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is maximised: the loss, the clip range, the KL term and the correction for another sampler."""

    loss: str = "grpo"
    """`grpo`: tokens averaged within each completion, then over completions; `dr_grpo`: divided by the token limit;
    `dapo`: averaged over all tokens; `grpo_sequence`: R1's printed equation, ratio and KL of whole completions; `gspo`:
    the ratio a completion's mean; `cispo`: the clipped ratio only a weight; or your own `package.module:function`.
    """
    clip_epsilon: float = 0.2
    """How far the ratio to the sampling policy may leave 1 and still count, 0 or more. gspo wants far less than a
    token's ratio: its paper 3e-4, and 4e-4 above; cispo's has no lower bound: 1 here.
    """
    clip_epsilon_high: float | None = None
    """The same for ratios above 1; None = clip_epsilon."""
    kl_weight: float = 0.001
    """Weight of the KL divergence from the reference policy, per token, in the loss; 0 = no reference at all."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """How that divergence is estimated; R1 uses k3. k1 in a loss has no gradient on average."""
    kl_correction: bool = False
    """Multiply the KL by the ratio to the sampling policy (DeepSeek-V3.2), which makes its gradient exact; R1 did not.
    """
    kl_placement: Literal["loss", "reward"] = later("loss")
    """`loss`: the estimate is differentiated, as R1 did; `reward`: each token is charged, without a gradient through
    it, what it and those after it cost, so that k1 gives the exact gradient of the whole completion's KL; not for ppo,
    which always does, nor for a loss of your own.
    """
    importance: Literal["truncate", "mask", "none"] = later("truncate")
    """What a token counts where the sampler's probability is not the trainer's, k = trainer / sampler: `truncate`
    min(k, cap) (Yao et al. 2025); `mask` k, and 0 outside 1/cap to cap (IcePop); `none` 1. An exact sampler has k = 1.
    RL has no top-p: it draws from the tokens that it keeps alone, and every ratio would be biased by what it cuts.
    """
    importance_cap: float = later(2.0)
    """That cap, 1 or more."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        known = f"{', '.join(LOSSES)} or your own `package.module:function`"
        rules = at_least(self, 0, "kl_weight", "clip_epsilon") + or_none(at_least(self, 0, "clip_epsilon_high"))
        rules += at_least(self, 1, "importance_cap")
        rules += idle(self, "under `importance` none", *(("importance_cap",) if self.importance == "none" else ()))
        rules += idle(self, "under a loss of your own", *(("kl_placement",) if ":" in self.loss else ()))
        return [*rules, Rule("loss", self.loss in LOSSES or ":" in self.loss, known, nearest(self.loss, LOSSES))]


@dataclass(frozen=True, kw_only=True)
class ValuePlan:
    """How PPO's value model is trained; unused by grpo."""

    gae_lambda: float = 1.0
    """How far PPO's advantages look ahead, 0 to 1: 0 = to the next value, 1 = to the reward; unused by grpo."""
    value_learning_rate: float | None = None
    """Of PPO's value model, above 0; None = learning_rate; unused by grpo."""
    value_clip: float | None = None
    """How far a value may leave that at sampling time and still count, above 0; None = any distance; unused by grpo."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        rules = or_none(above_zero(self, "value_learning_rate", "value_clip"))
        return [*rules, Rule("gae_lambda", 0 <= self.gae_lambda <= 1, "in [0, 1]")]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """When a policy in training is validated, and which weights are kept for it."""

    eval_every: int = 0
    """Steps between validations on the validation prompts, besides the first and the last; 0, or more than `steps`, =
    never.
    """
    eval_samples: int = 4
    """Completions for each validation prompt, 1 or more."""
    keep: Literal["best", "last"] = "best"
    """Which weights are sealed: those of the best validation (strict pass@1), or the last; without validation the
    last.
    """

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        return at_least(self, 1, "eval_samples") + at_least(self, 0, "eval_every")


@dataclass(frozen=True, kw_only=True)
class Reinforcement(RewardPlan, RolloutPlan, Optimizer, Objective, ValuePlan, Validation, Guarding):
    """All that a trainer of reinforcement learning reads."""

    reference_steps: int | None = 400
    """Steps after which the reference policy is replaced by the policy, at the next rollout; 0 or None = never."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        return or_none(at_least(self, 0, "reference_steps"))


@dataclass(frozen=True, kw_only=True)
class Sampled(Asked):
    """How a finished model is asked: by `sample`, `eval` and `kl`."""

    samples: int = 16
    """Completions drawn for each prompt; >= 1."""
    max_tokens: int | None = None
    """Tokens a completion may have; >= 1. None: what the model has room for after the longest prompt, at most 32768."""
    problems: int | None = None
    """How many prompts are asked, the first in the order of their ids' hashes; >= 1. None: all."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of the weights while sampling."""

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        return at_least(self, 1, "samples", "max_tokens", "problems")

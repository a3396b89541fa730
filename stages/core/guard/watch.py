"""Is a run of reinforcement learning still healthy? Figures of its steps enter one after the other; alarms leave, each
with its cause in a sentence and the key to change.

Pure functions over what the last steps and the first ones came to: no trainer, no clock and no chance. Where an
absolute range makes sense it is one (a completion that is cut is cut in any run); where it does not, a run is measured
by its own beginning. An alarm comes once and not again before it has cleared, which takes a fifth less than it took to
raise it.

Ranges: truncation, KL, flat groups and reward after axolotl's guide to GRPO; the sampler's mismatch after verl's FAQ
(below 0.005 nats is fine, above 0.01 is not); what curation leaves out for repetition and mixed languages; the rest
from our own runs, healthy and spoilt (docs/rl.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import Any

WINDOW = 8
"""Steps that are looked at together, or those of a rollout where it is made of more."""
EASE = 0.8
"""Part of a limit below which an alarm clears."""
WATCHED = (
    *("reward", "flat_groups", "entropy", "kl", "truncated", "sampler_mismatch", "grad_norm", "repetitive", "mixed"),
    *("unjudged", "failed"),
)
"""Figures of a step that are remembered."""
Figures = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a recipe asked for, as far as an alarm's words need it."""

    learning_rate: float
    max_tokens: int
    group_size: int
    temperature: float
    kl_weight: float
    most: float
    """The most that a completion can earn: its rewards' weights."""
    window: int = WINDOW

    @classmethod
    def of(cls, recipe: Any) -> Asked:
        """Return it of an RL recipe."""
        return cls(
            learning_rate=recipe.learning_rate,
            max_tokens=recipe.max_completion_tokens,
            group_size=recipe.group_size,
            temperature=recipe.temperature,
            kl_weight=recipe.kl_weight,
            most=sum(recipe.rewards.values()),
            window=max(WINDOW, recipe.minibatches),
        )


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Something that a run should not do."""

    kind: str
    """Its name, the same as in `RULES`."""
    value: float
    healthy: str
    """The range in words."""
    cause: str
    """What is the matter, in a sentence without its full stop."""
    change: str
    """The key to change, ready to be typed."""

    def said(self) -> str:
        """Return it as one line."""
        return f"{self.kind} is {self.value:.3g} (healthy: {self.healthy}): {self.cause}: {self.change}"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is remembered of a run: plain values, so that a checkpoint can hold them."""

    first: list[dict[str, float]] = field(default_factory=list)
    """Figures of its first steps, a window of them; anew where general prompts enter."""
    last: list[dict[str, float]] = field(default_factory=list)
    """Figures of its last steps, at most a window of them."""
    steps: int = 0
    """Steps since its beginning."""
    peak: float = -math.inf
    """Highest mean reward of a window."""
    general: bool = False
    """Whether general prompts were among the last step's."""
    active: list[str] = field(default_factory=list)
    """Kinds of alarms that have not cleared."""
    raised: dict[str, int] = field(default_factory=dict)
    """Kind -> the step that first raised it."""

    def after(self, step: int, figures: Mapping[str, Any], asked: Asked) -> tuple[Memory, list[Alarm]]:
        """Return what is remembered after a step, and the alarms that it raises; `step` is from 1."""
        general = bool(figures.get("general"))
        old = Memory(general=general, active=self.active, raised=self.raised) if general != self.general else self
        told = {name: float(figures[name]) for name in WATCHED if _known(figures.get(name))}
        first = [*old.first, told][: asked.window]
        last = [*old.last, told][-asked.window :]
        new = replace(old, first=first, last=last, steps=old.steps + 1)
        reward = _mean(last, "reward")
        if new.steps >= asked.window and reward is not None:
            new = replace(new, peak=max(new.peak, reward))
        found = alarms(new, asked)
        fresh = [one for one in found if one.kind not in self.active]
        raised = {one.kind: step for one in fresh} | new.raised
        return replace(new, active=[one.kind for one in found], raised=raised), fresh


def alarms(memory: Memory, asked: Asked) -> list[Alarm]:
    """Return what is the matter now, those that have not cleared among it; at most one of each kind of `RULES`."""
    found = (rule(memory, asked, EASE if kind in memory.active else 1.0) for kind, rule in RULES.items())
    return [one for one in found if one is not None]


# ---- the rules ----


def reward(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """Nothing was ever earned in a window, or less than half of what once was."""
    now = _mean(memory.last, "reward")
    if now is None or memory.steps < asked.window:
        return None
    if now <= 0:
        cause = f"no completion of {len(memory.last)} steps has earned anything, so nothing can be learned"
        change = "ask easier prompts, start from a model that was fine-tuned (`r1 sft`), or reward a smaller step first"
        return Alarm(kind="reward", value=now, healthy="above 0", cause=cause, change=change)
    limit = memory.peak * 0.5 / ease
    if now < limit and memory.peak - now > 0.05 * asked.most:
        cause = f"it has fallen from {memory.peak:.3g}: the policy is coming apart"
        return Alarm(
            kind="reward", value=now, healthy=f"above {memory.peak / 2:.3g}", cause=cause, change=_slower(asked)
        )
    return None


def flat_groups(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """Hardly any group holds better and worse answers."""
    earned = _mean(memory.last, "reward") or 0.0
    if earned >= 0.8 * asked.most:
        cause, change = (
            "the prompts are solved: there is little left to learn from them",
            "take harder prompts, or stop",
        )
    else:
        cause = "most groups hold no better and worse answers, and teach nothing"
        change = f"`refill=3`, leave such prompts out (inputs.difficulty), or `group_size={2 * asked.group_size}`"
    return _above(memory, "flat_groups", 0.8, ease, cause, change, whole=asked.window)


def entropy(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """The policy no longer tries anything, or has become noise."""
    now, began = _mean(memory.last, "entropy"), _mean(memory.first, "entropy")
    if now is None or began is None or memory.steps < asked.window:
        return None
    limit = min(3.0, max(1.5, 3 * began))
    if now > limit * ease:
        cause = f"tokens are drawn almost at random (at first: {began:.3g})"
        change = _slower(asked) if began <= limit else "start from a model that knows the language"
        change = "`temperature=1`" if asked.temperature > 1 else change
        return Alarm(kind="entropy", value=now, healthy=f"up to {limit:.2g} nats a token", cause=cause, change=change)
    earned = _mean(memory.last, "reward") or 0.0
    if now < 0.1 * began / ease and earned < 0.8 * asked.most:
        cause = f"it was {began:.3g} at first: the policy says one thing only, and finds nothing new"
        change = f"{_slower(asked)}, or clip less above: `clip_epsilon_high=0.28`"
        return Alarm(kind="entropy", value=now, healthy=f"above {0.1 * began:.2g}", cause=cause, change=change)
    return None


def kl(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """The policy has left its reference."""
    cause = "the policy has left its reference far behind"
    change = f"{_slower(asked)}, or hold it closer: `kl_weight={10 * asked.kl_weight:g}`"
    return _above(memory, "kl", 1.0, ease, cause, change, unit=" nats a token", whole=asked.window)


def truncated(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """Completions are cut."""
    cause = "completions are cut before their answer"
    change = f"raise the limit, `max_completion_tokens={2 * asked.max_tokens}`, or `mask_truncated=true`"
    return _above(memory, "truncated", 0.3, ease, cause, change)


def sampler_mismatch(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """Sampler and trainer compute other probabilities."""
    cause = "sampler and trainer do not hold the same tokens likely"
    change = "use one number type for both, `dtype=float32`, or `runtime.engine=transformers`"
    return _above(memory, "sampler_mismatch", 0.01, ease, cause, change, unit=" nats a token")


def grad_norm(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """Gradients are far longer than they were."""
    usual, found = _usual(memory.first, "grad_norm"), _usual(memory.last, "grad_norm")
    if usual is None or found is None or memory.steps < 2 * asked.window:
        return None
    if found <= max(10 * usual, 1.0) * ease:
        return None
    cause = f"gradients were {usual:.3g} long at first: the loss has become steep"
    healthy = f"up to {max(10 * usual, 1.0):.3g}"
    return Alarm(kind="grad_norm", value=found, healthy=healthy, cause=cause, change=_slower(asked))


def repetitive(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """Completions run in circles."""
    cause = "completions end in loops of the same words"
    change = f"{_slower(asked)}, or shorten the limit: `max_completion_tokens={max(1, asked.max_tokens // 2)}`"
    return _above(memory, "repetitive", _raised(memory, "repetitive", asked), ease, cause, change, whole=asked.window)


def mixed(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """Completions mix languages."""
    cause = "completions mix languages"
    change = "reward the prompt's own: `'rewards={accuracy: 1, format: 1, language: 1}'`"
    return _above(memory, "mixed", _raised(memory, "mixed", asked), ease, cause, change, whole=asked.window)


def unjudged(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """Rewards cannot judge."""
    cause = "the rewards could not judge so many completions; why is in completions/"
    return _above(memory, "unjudged", 0.1, ease, cause, "mend the reward, or take it out of `rewards`")


def failed(memory: Memory, asked: Asked, ease: float) -> Alarm | None:
    """The engine fails."""
    cause = "the engine failed some completions: no reward judges them, and they teach nothing"
    return _above(memory, "failed", 0.0, ease, cause, "look at completions/ for its words, or change `runtime.engine`")


RULES: dict[str, Callable[[Memory, Asked, float], Alarm | None]] = {
    one.__name__: one
    for one in (
        *(reward, flat_groups, entropy, kl, truncated, sampler_mismatch, grad_norm, repetitive, mixed),
        *(unjudged, failed),
    )
}
"""Kind of alarm -> its rule: (what is remembered, what was asked for, the part of the limit that counts) -> alarm."""


def _above(
    memory: Memory, name: str, limit: float, ease: float, cause: str, change: str, *, unit: str = "", whole: int = 1
) -> Alarm | None:
    """An alarm where the last steps are above a limit, and there are `whole` steps to tell."""
    now = _usual(memory.last, name)
    if now is None or memory.steps < whole or now <= limit * ease:
        return None
    healthy = f"up to {limit:.3g}{unit}" if limit else "0"
    return Alarm(kind=name, value=now, healthy=healthy, cause=cause, change=change)


def _raised(memory: Memory, name: str, asked: Asked) -> float:
    """A fifth, or twice what a run began with; half at most."""
    began = _mean(memory.first, name) or 0.0
    return min(0.5, max(0.2, 2 * began)) if memory.steps > asked.window else 0.5


def _slower(asked: Asked) -> str:
    return f"`learning_rate={asked.learning_rate / 3:.1g}`"


def _mean(steps: Sequence[Figures], name: str) -> float | None:
    values = [one[name] for one in steps if name in one]
    return fmean(values) if values else None


def _usual(steps: Sequence[Figures], name: str) -> float | None:
    """The mean of shares; the median of what has outliers: one token can make a step's KL (k3) a thousand."""
    values = [one[name] for one in steps if name in one]
    if not values:
        return None
    return median(values) if name in ("kl", "grad_norm") else fmean(values)


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

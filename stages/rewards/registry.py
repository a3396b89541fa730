"""Find a reward by name: a registry name or a user's own `package.module:function` enters, a function leaves.

A user's reward needs no flag and no edit to this project; whatever it returns (a Verdict, a number, None) becomes a
Verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from types import MappingProxyType
from typing import Any

from stages.core import functions
from stages.core.errors import RecipeError, nearest
from stages.core.rows import JUDGES
from stages.rewards import accuracy, format, language, length
from stages.rewards.verdict import Example, Verdict

__all__ = ["KNOWN", "REWARDS", "Example", "Reward", "Verdict", "load", "outside_sources", "verdict_of"]


Reward = Callable[..., Verdict]
"""`(completion: str, row: Prompt, contract: Contract, **options) -> Verdict`: pure, deterministic, never raises on any
text; options come from the recipe as keywords. A user's own may return a number or None instead of a Verdict."""

REWARDS: MappingProxyType[str, Reward] = MappingProxyType(
    {
        "accuracy": accuracy.reward,
        "format": format.reward,
        "strict": accuracy.strict,
        "language": language.reward,
        "length": length.reward,
    }
)
KNOWN = (*REWARDS, *JUDGES)
"""Every name without a module: the functions above, and the judges, whose scores are learned."""


def load(name: str) -> Reward:
    """Return the reward of a registry name or of `package.module:function`.

    Raises RecipeError with the nearest name, and for a judge's, which is an input and no function."""
    if name in REWARDS:
        return REWARDS[name]
    if name in JUDGES:
        hint = f"add inputs.{name}=ADDRESS; judges there are: `r1 artifacts list`"
        raise RecipeError(f"the reward `{name}` is a learned judge's: it needs the input `{name}`", hint=hint)
    if ":" not in name:
        known = ", ".join(KNOWN)
        hint = f"{nearest(name, KNOWN)}known: {known}; your own reward is written `package.module:function`"
        raise RecipeError(f"unknown reward `{name}`", hint=hint)
    shape = "a reward is `def reward(completion, row, contract) -> float | None`"
    return functions.load(name, f"reward `{name}`", shape)


def check_judges(rewards: Collection[str], inputs: Any, way: str) -> None:
    """Raise RecipeError for a judge's reward without its input, and for a judge that no reward names; `way` is how to
    name it, with {name}.
    """
    for name in JUDGES:
        given = getattr(inputs, name) is not None
        if not given and name in rewards:
            load(name)  # which is refused, with the way out
        if given and name not in rewards:
            what = f"the judge inputs.{name} is given, and `rewards` does not name it"
            raise RecipeError(what, hint=way.format(name=name))


def outside_sources(names: Iterable[str]) -> dict[str, str]:
    """Return name -> hash of the file, for the rewards among `names` that are not this project's own: what a stage's
    fingerprint cannot see in its recipe. Raises as `load`."""
    return {name: functions.source_sha256(load(name)) for name in names if name not in KNOWN}


def verdict_of(result: object) -> Verdict:
    """Return any reward's result as a Verdict; a value that is no number in 0..1 becomes None with the reason."""
    value, reason = result if isinstance(result, Verdict) else (result, "")
    if value is None:
        return Verdict(None, reason or "the reward could not judge")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return Verdict(None, f"the reward returned {type(value).__name__}, not a number")
    if not 0.0 <= number <= 1.0:
        return Verdict(None, f"the reward returned {number:g}, outside 0 to 1")
    return Verdict(number, reason)

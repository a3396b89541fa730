"""Whether a recipe's values lie in their ranges: rules enter, an error that names the first breach leaves.

A rule is a key, whether its value fits, and what was wanted in words. Written once, so that every stage says it alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from stages.core.errors import RecipeError


class Rule(NamedTuple):
    """One key of a recipe, dotted where it lies in a part, whether its value fits, and the range in words."""

    key: str
    fits: bool
    wanted: str
    hint: str = ""
    """A way out that is nearer than the list of keys."""


def at_least(recipe: Any, least: int, *keys: str) -> list[Rule]:
    """Return rules for numbers of `least` or more; None is not checked."""
    return [Rule(key, _given(recipe, key, least) >= least, f"{least} or more") for key in keys]


def above_zero(recipe: Any, *keys: str) -> list[Rule]:
    """Return rules for numbers above 0; None is not checked."""
    return [Rule(key, _given(recipe, key, 1) > 0, "above 0") for key in keys]


def or_none(rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules with words that allow null."""
    return [rule._replace(wanted=f"{rule.wanted}, or null") for rule in rules]


def betas(recipe: Any) -> Rule:
    """Return the rule for the decay of AdamW's two moments."""
    return Rule("adam_betas", all(0 <= beta < 1 for beta in recipe.adam_betas), "two numbers in [0, 1)")


def idle(recipe: Any, where: str, *keys: str) -> list[Rule]:
    """Return rules that keys which nothing reads `where` (`under mode traces`) have their defaults."""
    given = {one.name: one for one in fields(recipe) if one.name in keys}
    usual = {
        name: one.default if one.default_factory is MISSING else one.default_factory() for name, one in given.items()
    }
    left = [name for name, default in usual.items() if getattr(recipe, name) != default]
    return [Rule(name, False, f"left out {where}, where nothing reads it", "leave it out") for name in left]


def check(recipe: Any, stage: str, rules: Iterable[Rule] = (), last: Iterable[Rule] = ()) -> None:
    """Raise RecipeError for the first rule that its value breaks: those given, those of the recipe's parts, the
    `last`.

    `stage` is the command whose keys the hint shows.
    """
    parts = [vars(part)["rules"](recipe) for part in type(recipe).__mro__ if "rules" in vars(part)]
    for key, fits, wanted, hint in chain(rules, *parts, last):
        if not fits:
            what = f"`{key}` must be {wanted}, not {attrgetter(key)(recipe)}"
            raise RecipeError(what, hint=hint or f"see: `r1 recipes keys {stage}`")


def _given(recipe: Any, key: str, default: float) -> float:
    value = getattr(recipe, key)
    return default if value is None else value

"""Find a reward by name: a registry name or a user's own `package.module:function` enters, a function leaves.

A user's reward needs no flag and no edit to this project, only a function on Python's path:

    # my_project/politeness.py
    from stages.rewards.verdict import Verdict

    def reward(completion, row, contract, *, word: str = "please") -> Verdict:
        said = word in completion
        return Verdict(float(said), f"says {word}" if said else f"never says {word}")

    # in the recipe
    rewards: {accuracy: 1, my_project.politeness:reward: 0.5}
    reward_options: {my_project.politeness:reward: {word: kindly}}

Keyword-only parameters are its options; one named `tokens` gets the completion's length in tokens, where it is known.
It may be `async def`, and may return a number or None for a Verdict.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stages.core.errors import RecipeError, nearest
from stages.core.recipe import functions
from stages.core.recipe.schema import REQUIRED
from stages.core.rows import JUDGES, Prompt
from stages.rewards import declared
from stages.rewards.declared import DECLARED, JUDGED, LENGTH, Function, Reward
from stages.rewards.files import lines
from stages.rewards.sources import code_sha256
from stages.rewards.verdict import Example, Verdict

__all__ = ["KNOWN", "REWARDS", "Example", "Verdict", "load", "options_of", "verdict_of", "version"]


def _discovered() -> dict[str, Reward]:
    """Import every module that declares a reward and return the declarations, in the order of modules and lines."""
    found: dict[str, Reward] = {}
    for module in declared.modules():
        importlib.import_module(module)
        found |= {name: one for name, one in DECLARED.items() if one.function.__module__ == module}
    return found


ENTRIES: MappingProxyType[str, Reward] = MappingProxyType(_discovered())
"""Every reward of this project by name, as it declares itself."""
REWARDS: MappingProxyType[str, Function] = MappingProxyType(
    {name: one.function for name, one in ENTRIES.items() if not one.group}
)
"""Rewards that judge each completion by itself."""
GROUP_REWARDS: MappingProxyType[str, Function] = MappingProxyType(
    {name: one.function for name, one in ENTRIES.items() if one.group}
)
"""Rewards that look at all completions of one prompt: `group(completions, row, contract, **options)` returns a Verdict
for each."""
KNOWN = (*ENTRIES, *JUDGES)
"""Every name without a module: the functions above, and the judges, whose scores are learned."""
MEASURED = ("accuracy", "format", "strict", "language")
"""Rewards that every completion is measured by where they apply, whether a recipe names them or not."""


def load(name: str, options: Mapping[str, Any] | None = None) -> Function:
    """Return the reward of a registry name or of `package.module:function`, with `options` bound to it.

    Raises RecipeError with the nearest name; for a judge's, which is an input and no function; and for an option that
    the reward does not have, lacks, or refuses the value of.
    """
    function = _found(name)
    if ":" not in name and not options:
        return function
    given = dict(options or {})
    known = options_of(name)
    loose = any(one.kind is one.VAR_KEYWORD for one in _parameters(function))
    for key in given:
        if key in _told(name) or (key not in known and not loose):
            hint = (
                f"{nearest(key, known)}it takes: {', '.join(known)}" if known else "leave it out: it takes no options"
            )
            raise RecipeError(f"the reward `{name}` has no option `{key}`", hint=hint)
    for key, default in known.items():
        if key in given:
            _check_type(function, name, key, given[key])
        elif default == REQUIRED:
            raise RecipeError(
                f"the reward `{name}` needs its option `{key}`",
                hint=f"add it: reward_options: {{{name}: {{{key}: …}}}}",
            )
    bound = partial(function, **given) if given else function
    if name in ENTRIES:
        _try(bound, name, given)
    return bound


def options_of(name: str) -> dict[str, Any]:
    """Return the options of a reward, option -> default; REQUIRED for one without. Raises as `load`."""
    beyond = _parameters(_found(name))[3:]
    named = [one for one in beyond if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return {
        one.name: REQUIRED if one.default is one.empty else one.default for one in named if one.name not in _told(name)
    }


@cache
def version(name: str) -> str:
    """Return a hash of all that a reward's verdicts depend on besides its options: its code here and math-verify's
    release where it asks it, or a user's file. Raises as `load`."""
    function = _found(name)
    return functions.source_sha256(function, name) if ":" in name else code_sha256(function.__module__)


def behind(names: Iterable[str]) -> dict[str, Reward]:
    """Return the rewards that the named ones build on, directly or not, and that are not named themselves."""
    named = tuple(names)
    found: dict[str, Reward] = {}
    waiting = [ENTRIES[name] for name in named if name in ENTRIES]
    while waiting:
        for name in waiting.pop().builds_on:
            if name not in found:
                found[name] = ENTRIES[name]
                waiting.append(ENTRIES[name])
    return {name: one for name, one in found.items() if name not in named}


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


def outside_sources(
    names: Iterable[str], options: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> dict[str, str]:
    """Return name -> hash of the file, for the rewards among `names` that are not this project's own: what a stage's
    fingerprint cannot see in its recipe.

    Raises as `load`, and RecipeError for `options` of a judge, or of a reward that is neither among the names nor asked
    by one of them or of MEASURED.
    """
    named = list(names)
    asked = behind((*named, *MEASURED))
    for name in options:
        if name not in named and name not in asked:
            hint = f"{nearest(name, named)}name it in `rewards`, or take it out"
            raise RecipeError(f"`reward_options` are given for `{name}`, which `rewards` does not name", hint=hint)
        if name in JUDGES:
            raise RecipeError(f"the judge `{name}` takes no options", hint=f"take `{name}` out of `reward_options`")
    for name in dict.fromkeys((*named, *options)):
        if name not in JUDGES:
            load(name, options.get(name))
    return {name: functions.source_sha256(_found(name), name) for name in named if name not in KNOWN}


def verdict_of(result: object) -> Verdict:
    """Return any reward's result as a Verdict; a value that is no number in 0..1 becomes None with the reason."""
    value, reason = result if isinstance(result, Verdict) else (result, "")
    if value is None:
        return Verdict(None, reason or "the reward could not judge")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return Verdict(None, f"the reward returned {type(value).__name__}, not a number")
    if not 0.0 <= number <= 1.0:
        return Verdict(None, f"the reward returned {number:g}, outside 0 to 1")
    return Verdict(number, reason)


def _found(name: str) -> Function:
    if name in ENTRIES:
        return ENTRIES[name].function
    if name in JUDGES:
        hint = f"add inputs.{name}=ADDRESS; judges there are: `r1 artifacts list`"
        raise RecipeError(f"the reward `{name}` is a learned judge's: it needs the input `{name}`", hint=hint)
    if ":" not in name:
        known = ", ".join(KNOWN)
        hint = f"{nearest(name, KNOWN)}known: {known}; your own reward is written `package.module:function`"
        raise RecipeError(f"unknown reward `{name}`", hint=hint)
    shape = "a reward is `def reward(completion, row, contract) -> float | None`"
    return functions.load(name, f"reward `{name}`", shape)


def _parameters(function: Function) -> list[inspect.Parameter]:
    try:
        return [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # a function in C that does not say
        return []


def _told(name: str) -> tuple[str, ...]:
    """The keywords of a reward that are no options."""
    return (LENGTH, JUDGED) if name in ENTRIES else (LENGTH,)


def takes_length(name: str) -> bool:
    """Say whether a reward has the keyword that gets the length in tokens. Raises as `load`."""
    return any(one.name == LENGTH for one in _parameters(_found(name)))


def _try(bound: Function, name: str, options: Mapping[str, Any]) -> None:
    """Judge nothing once: a reward of this project says by ValueError which values of its options cannot be."""
    row = Prompt(id="", problem="", answer="", verifier="math")
    try:
        bound([""] if name in GROUP_REWARDS else "", row, lines.contract(""))
    except (ValueError, TypeError) as error:
        said = ", ".join(f"{key}={value}" for key, value in options.items())
        raise RecipeError(f"the reward `{name}` refuses {said}: {error}", hint="see: `r1 rewards list`") from error


def _check_type(function: Function, name: str, key: str, value: Any) -> None:
    """Raise RecipeError where a value does not fit the option's annotation, or without one its default's type."""
    try:
        hint = get_type_hints(function).get(key)
    except (NameError, TypeError, AttributeError):  # a user's annotation that only a type checker can read
        hint = None
    default = options_of(name)[key]
    if hint is None and default not in (None, REQUIRED):
        hint = float if type(default) is float else type(default)
    if hint is not None and not _fits(value, hint):
        wanted = inspect.formatannotation(hint)
        what = f"the option `{key}` of the reward `{name}` should be {wanted}, not {value!r}"
        raise RecipeError(what, hint=f"its default is {default}")


def _fits(value: Any, hint: Any) -> bool:
    """Say whether a plain value (as YAML gives it) is one of a type: a list may stand for a tuple, 1 for 1.0."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if hint is Any:
        return True
    if kind in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if kind in (list, tuple, Sequence):
        fixed = kind is tuple and parts and parts[-1] is not Ellipsis
        inner = (
            list(parts)
            if fixed
            else [parts[0] if parts else Any] * len(value if isinstance(value, list | tuple) else ())
        )
        return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind) if isinstance(kind, type) else True

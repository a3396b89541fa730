"""The code behind a reward: a module's name enters, one hash of its file and of all of ours it imports leaves.

Verdicts are kept by the version of the reward that gave them. A version that somebody must remember to raise is
forgotten; this one changes with the code.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import threading
from functools import cache
from importlib import metadata
from pathlib import Path

_PARSING = threading.Lock()  # two threads that parse at once can upset Python's own count of depth: SystemError
_ROOT = Path(__file__).parents[2]
_SYMBOLIC = "stages.rewards.mathematics.symbolic"
_RELEASES = ("math-verify", "latex2sympy2-extended", "sympy", "pint")
"""Whose verdict a symbolic one is, and whose units are converted."""


def code_sha256(module: str) -> str:
    """Return the hash, as hex, of the source of `module` (`stages.…`) and of all `behind` it, of Python's release, and
    of math-verify's and pint's where they are asked."""
    found = behind(module)
    digest = hashlib.sha256(platform.python_version().encode())
    for name in sorted(found):
        digest.update(f"\0{name}\0".encode() + found[name])
    if _SYMBOLIC in found:
        digest.update("\0".join(map(_release, _RELEASES)).encode())
    return digest.hexdigest()


def behind(module: str) -> dict[str, bytes]:
    """Return the sources by module name of `module` and of every module of ours it imports, lazily or not, launches, or
    puts into a sandbox."""
    found: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is not None and name not in found:
            found[name] = path.read_bytes()
            waiting += _imports(found[name], path) if path.suffix == ".py" else []
    return found


@cache
def _imports(source: bytes, path: Path) -> list[str]:
    """Return what may be modules of ours in the imports of a file, and in the names of programs beside it."""
    names: list[str] = []
    with _PARSING:
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".py"):
            names.append(".".join((*path.parent.relative_to(_ROOT).parts, node.value.removesuffix(".py"))))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".toml"):
            names.append("/".join((*path.parent.relative_to(_ROOT).parts, node.value)))  # its data
    return names


def _file_of(module: str) -> Path | None:
    if not module.startswith(("stages.", "stages/")):
        return None
    parts = module.split("." if "/" not in module else "/")
    found = [_ROOT.joinpath(*parts), _ROOT.joinpath(*parts, "__init__.py"), _ROOT.joinpath(*parts).with_suffix(".py")]
    return next((path for path in found if path.is_file()), None)


def _release(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"

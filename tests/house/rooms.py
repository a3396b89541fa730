"""The project's own files, read once: what the tests about the house look at."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Import:
    """One import of a module: its dotted name, its line, and whether it runs when the file is imported."""

    name: str
    line: int
    eager: bool


@functools.cache
def sources(*folders: str) -> tuple[Path, ...]:
    """Every Python file under the folders, relative to the root."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)
    return tuple(sorted(path.relative_to(ROOT) for path in found))


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def dotted(path: Path) -> str:
    """stages/core/store.py -> stages.core.store; a package's __init__ is the package."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, save those that only the type checker sees."""
    yield from _imports(tree(path), eager=True)


def _imports(node: ast.AST, eager: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, eager) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            # `from stages import rl` imports stages.rl: each name may be a module.
            yield from (Import(f"{child.module}.{alias.name}", child.lineno, eager) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(other, eager)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(child, eager and not inside)

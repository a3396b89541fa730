"""The project's own files, read once: what the tests about the house look at."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Import:
    """One import of a module: its dotted name and its line."""

    name: str
    line: int
    eager: bool
    """It runs when the file is imported."""
    typing: bool
    """Only the type checker sees it."""


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
    """stages/core/storage/store.py -> stages.core.storage.store; a package's __init__ is the package."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, those included that only the type checker sees."""
    yield from _imports(tree(path), eager=True, typing=False)


def module_of(name: str) -> str | None:
    """The module of ours that an imported name means: itself, or what holds it; None for one of somebody else's."""
    parts = name.split(".")
    dotted_names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((each for each in dotted_names if each in _modules()), None)


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Every set of nodes that reach each other, sorted; a node that names itself is none."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        waiting, found = list(edges[start]), set[str]()
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += edges.get(node, ())
        reach[start] = found
    tied = {start: {other for other in found if start in reach.get(other, ())} for start, found in reach.items()}
    return [list(each) for each in sorted({tuple(sorted(found)) for found in tied.values() if len(found) > 1})]


@functools.cache
def _modules() -> frozenset[str]:
    return frozenset(dotted(path) for path in sources("r1cli", "stages"))


def _imports(node: ast.AST, *, eager: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, eager, typing) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            # `from stages import rl` imports stages.rl: each name may be a module.
            names = (f"{child.module}.{alias.name}" for alias in child.names)
            yield from (Import(name, child.lineno, eager, typing) for name in names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for guarded in child.body:
                yield from _imports_of(guarded, eager=False, typing=True)
            for other in child.orelse:
                yield from _imports_of(other, eager=eager, typing=typing)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(child, eager=eager and not inside, typing=typing)


def _imports_of(statement: ast.stmt, *, eager: bool, typing: bool) -> Iterator[Import]:
    yield from _imports(ast.Module([statement], []), eager=eager, typing=typing)

"""docs/glossary.md is complete: every axis that code writes at the end of a name is in its legend, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.rooms import ROOT, sources, tree

PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
AXES = re.compile(r"[a-z]\w*?_([A-Z][A-Z0-9]*)")
NAMED_IN = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")


def names(path: Path) -> Iterator[str]:
    """Every variable, parameter, keyword and attribute of a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, (ast.arg, ast.keyword)) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Attribute):
            yield node.attr


def legend() -> set[str]:
    table = PAGE.partition("## Axes")[2]
    return {
        letter for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for letter in re.findall(r"`(.)`", line)
    }


THEIRS = ("lora_A", "lora_B")
"""Names that peft gave."""


def used() -> dict[str, str]:
    """Axis letter -> a name that ends in it and its file."""
    found: dict[str, str] = {}
    for path in sources("stages", "tests", "examples"):
        for name in names(path):
            axes = AXES.fullmatch(name) if name not in THEIRS else None
            found |= dict.fromkeys(axes[1], f"{name} in {path}") if axes else {}
    return found


def test_every_axis_is_in_the_legend() -> None:
    unknown = {letter: where for letter, where in used().items() if letter not in legend()}
    assert len(used()) > 5 and not unknown, f"docs/glossary.md lacks {unknown}"


def test_the_legend_holds_no_axis_that_nothing_has() -> None:
    assert legend() <= set(used())


def test_no_word_is_explained_twice() -> None:
    words = [word for row in re.findall(r"^\| ([a-z][^|`]*) \|", PAGE, re.MULTILINE) for word in row.split(", ")]
    words = [word for word in words if word not in ("word", "letter")]
    assert len(words) > 40 and len(words) == len(set(words))


def test_the_pages_for_newcomers_lead_here() -> None:
    missing = [page for page in NAMED_IN if "docs/glossary.md" not in (ROOT / page).read_text(encoding="utf-8")]
    assert not missing

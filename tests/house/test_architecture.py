"""ARCHITECTURE.md is true: what it draws and names is there, and what is there is drawn."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from fnmatch import fnmatch
from itertools import chain, takewhile
from pathlib import Path, PurePosixPath

from tests.house.rooms import ROOT, dotted, sources, tree
from tests.house.test_docs import pages

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DRAWING = PAGE.split("```")[1]
GROUP = "one file per"
"""A folder whose line says this may hold files that the drawing does not name."""
HISTORY = ("docs/log.md", "CHANGELOG.md")
"""Pages about what was: they may name what is gone."""
INVENTED = ("polite.py", "loop.py", "dpo.py", "dpo.yaml", "test_dpo.py", "mine.yaml")
"""Files that CONTRIBUTING.md makes up."""
TRADE = {"DeepSeek", "GitHub", "LaTeX", "LoRA", "OpenAI", "PyTorch", "SmolLM"}
"""Words in camel case that are no classes."""
SPELLED = {"pyyaml": "yaml", "math-verify": "math_verify"}
PATH = r"(?<![\w/.])(?:stages|r1cli|tests|recipes|examples|docs)/[\w./*-]*\w(?:/|\b)"
FILE = re.compile(r"[\w*-]+(?:/|\.[a-z]+)")
CAMEL = re.compile(r"\b(?:[A-Z]+[a-z]+[A-Z]|[A-Z]{2,}[a-z]{2})[A-Za-z]*\b")


def spans(page: str) -> list[str]:
    """What stands in backticks in a page, fenced blocks left out."""
    text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text)]


@functools.cache
def drawn() -> list[tuple[PurePosixPath, str]]:
    """Every file, folder and pattern of the drawing with its whole line; folders end their line's first word in `/`."""
    found: list[tuple[PurePosixPath, str]] = []
    above: list[tuple[int, str]] = []
    for line in filter(str.strip, DRAWING.splitlines()[1:]):
        indent = len(line) - len(line.lstrip())
        above = [each for each in above if each[0] < indent]
        names = list(takewhile(FILE.fullmatch, line.split()))
        if not names:
            continue  # the words of the line above, going on
        folder = PurePosixPath(*(name for _, name in above))
        found += [(folder / name, line) for name in names]
        if names[0].endswith("/"):
            above.append((indent, names[0]))
    return found


def is_drawn(path: Path) -> bool:
    """Whether a file is named, fits a pattern, lies in a folder of which nothing is drawn, or in one of a group."""
    folders = {str(name): line for name, line in drawn() if (ROOT / name).is_dir()}
    full = {str(name.parent) for name, _ in drawn()}
    if any(fnmatch(str(path), str(name)) for name, _ in drawn() if str(name) not in folders):
        return True
    parent = str(path.parent)
    if path.name == "__init__.py" or GROUP in folders.get(parent, ""):
        return parent in folders
    return any(str(each) in folders and str(each) not in full for each in path.parents)


@functools.cache
def identifiers() -> set[str]:
    """Every name that code of ours defines, imports, reads or writes in quotes."""
    found: set[str] = set()
    for path in sources("stages", "r1cli", "tests", "examples"):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.alias):
                found |= set(node.name.split("."))
            elif isinstance(node, (ast.arg, ast.keyword)) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 80:
                found |= set(re.findall(r"[\w-]+", node.value))
    return found


def modules() -> dict[str, Path]:
    return {dotted(path): path for path in sources("stages", "r1cli", "tests")}


def test_everything_that_is_drawn_exists() -> None:
    assert len(drawn()) > 80
    missing = [str(path) for path, _ in drawn() if not any(ROOT.glob(str(path)))]
    assert not missing, "ARCHITECTURE.md draws what is not there: " + ", ".join(missing)


def test_every_module_is_drawn() -> None:
    absent = [str(path) for path in sources("stages", "r1cli") if not is_drawn(path)]
    assert not absent, "no line of ARCHITECTURE.md's drawing names " + ", ".join(absent)


def test_every_class_and_function_it_names_is_in_the_code() -> None:
    names = {word for span in spans("ARCHITECTURE.md") for word in re.findall(r"[A-Za-z_]\w*", span) if "/" not in span}
    camel = set(CAMEL.findall(PAGE)) - TRADE
    unknown = sorted((names | camel) - identifiers())
    assert not unknown, "ARCHITECTURE.md names what no code knows: " + ", ".join(unknown)


def test_every_class_that_a_page_for_newcomers_names_is_in_the_code() -> None:
    for page in ("CONTRIBUTING.md", "docs/glossary.md", "docs/gpu.md"):
        unknown = {span for span in spans(page) if re.fullmatch("[A-Z][a-z]+[A-Za-z]*", span)} - identifiers()
        assert not unknown, f"{page} names what no code knows: {', '.join(unknown)}"


def test_every_dependency_is_named_with_its_reason_and_imported_or_said_not_to_be() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    always, extras = project["dependencies"], chain.from_iterable(project["optional-dependencies"].values())
    section = PAGE.partition("## Dependencies")[2]
    unnamed = {_name(each) for each in (*always, *extras)} - set(re.findall(r"[a-z0-9-]+", section)) - {"setuptools"}
    assert not unnamed, f"ARCHITECTURE.md's dependencies lack {', '.join(unnamed)}"
    imported = set().union(*(_imported(tree(path)) for path in sources("stages", "r1cli")))
    unused = [name for name in map(_name, always) if SPELLED.get(name, name) not in imported]
    silent = [name for name in unused if not re.search(rf"\*\*{name}\*\*[^-]*not imported", section)]
    assert not silent, f"no code imports {silent}: leave them out, or say `not imported` and why in ARCHITECTURE.md"


def _name(requirement: str) -> str:
    return re.split(r"[<>=\[]", requirement)[0]


def _imported(module: ast.Module) -> set[str]:
    names = [alias.name for node in ast.walk(module) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}


def test_every_file_and_module_that_a_page_names_exists() -> None:
    wrong = []
    known = modules()
    for page in (page for page in pages() if page not in HISTORY):
        for span in spans(page):
            for path in re.findall(
                r"(?<![\w/.])(?:stages|r1cli|tests|recipes|examples|docs)/[\w./*-]*\w(?:/|\b)", span
            ):
                there = any(ROOT.glob(path.rstrip("/"))) or (page == "CONTRIBUTING.md" and Path(path).name in INVENTED)
                wrong += [] if there else [f"{page}: {path}"]
            for name, _, inside in re.findall(r"(?<![\w/.])((?:stages|r1cli|tests)(?:\.\w+)+)(:(\w+))?", span):
                wrong += [f"{page}: {name}:{inside}"] if not _defined(name, inside, known) else []
    assert not wrong, "named, but not there: " + "; ".join(wrong)


def _defined(name: str, inside: str, known: dict[str, Path]) -> bool:
    """Whether a dotted name is a module of ours, or a module and a name at its top level."""
    if name not in known:
        name, _, inside = name.rpartition(".") if not inside else ("", "", "")
    return name in known and (not inside or inside in _top(known[name]))


def _top(path: Path) -> set[str]:
    found: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {each.id for each in targets if isinstance(each, ast.Name)}
    return found

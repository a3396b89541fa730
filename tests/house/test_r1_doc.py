"""docs/r1.md keeps its promises: what it links exists and is tested there, and what can be recomputed is."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

from r1cli import main
from stages.core.recipe.loading import bundled
from stages.study.claims import load_book
from tests.house.rooms import ROOT, tree

PAGE = ROOT / "docs" / "r1.md"
TEXT = PAGE.read_text(encoding="utf-8")
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#\s]+)[^)]*\)")
FORMULA = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.DOTALL | re.MULTILINE)
ITS_TEST = ("its test", "one test", "a test")


def links(text: str) -> list[tuple[str, Path]]:
    """Every relative link: what it is called, and the file, relative to the root."""
    return [(name, (PAGE.parent / target).resolve().relative_to(ROOT)) for name, target in LINK.findall(text)]


def functions(text: str) -> list[tuple[str, Path]]:
    """The links that name a function or a constant of a Python file."""
    return [(name, path) for name, path in links(text) if path.suffix == ".py" and name.isidentifier()]


def defined(path: Path) -> set[str]:
    """Names that a module's own top level defines."""
    names: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {each.id for each in targets if isinstance(each, ast.Name)}
    return names


def words(path: Path) -> set[str]:
    return set(re.findall(r"\w+", (ROOT / path).read_text(encoding="utf-8")))


def test_every_linked_file_exists() -> None:
    missing = [str(path) for _, path in links(TEXT) if not (ROOT / path).exists()]
    assert not missing, "\n".join(missing)


def test_every_linked_function_is_defined_in_its_file() -> None:
    found = functions(TEXT)
    assert len(found) > 25
    wrong = [f"{path} defines no {name}" for name, path in found if name not in defined(path)]
    assert not wrong, "\n".join(wrong)


def test_every_function_is_named_by_the_test_linked_beside_it() -> None:
    wrong = []
    for paragraph in TEXT.split("\n\n"):
        tests = [path for name, path in links(paragraph) if name in ITS_TEST]
        known = set().union(*(words(path) for path in tests))
        if tests:
            wrong += [f"{tests[0]} does not name {name}" for name, _ in functions(paragraph) if name not in known]
    assert not wrong, "\n".join(wrong)


def test_every_formula_is_followed_by_its_function_and_its_test() -> None:
    """Up to the next heading, or to the next formula unless that follows at once."""
    formulas = list(FORMULA.finditer(TEXT))
    assert len(formulas) > 15 and TEXT.count("$$") == 2 * len(formulas)
    wrong = []
    for formula in formulas:
        after = re.sub(r"^\s*\$\$.*?\$\$", "", TEXT[formula.end() :], flags=re.DOTALL)
        after = re.split(r"^#|^\$\$", after, maxsplit=1, flags=re.MULTILINE)[0]
        if not functions(after) or not any(name in ITS_TEST for name, _ in links(after)):
            wrong.append(formula.group(1)[:80])
    assert not wrong, "\n".join(wrong)


def test_no_formula_uses_an_escape_that_markdown_swallows() -> None:
    inline = re.findall(r"(?<!\$)\$(?!\$)([^$\n]+)\$", FORMULA.sub("", TEXT))
    swallowed = [text for text in [*FORMULA.findall(TEXT), *inline] if re.search(r"\\[^A-Za-z]|[*<>]", text)]
    assert len(inline) > 30 and not swallowed, "\n".join(swallowed)


def test_every_bracket_of_a_formula_is_closed() -> None:
    for text in FORMULA.findall(TEXT):
        assert text.count("{") == text.count("}") and text.count("\\left") == text.count("\\right"), text


def test_every_command_and_recipe_it_names_exists() -> None:
    app = main.build()
    known = {each.name for each in app.registered_commands} | {each.name for each in app.registered_groups}
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", TEXT)]
    commands = {match[1] for span in spans if (match := re.match(r"r1 ([a-z-]+)", span))}
    assert commands <= known, commands - known
    recipes = {match[1] for span in spans if (match := re.search(r"--recipe (\S+)", span))}
    wrong = {name for name in recipes if name.removeprefix("recipes/").removesuffix(".yaml") not in bundled()}
    assert len(recipes) > 5 and not wrong, wrong


def test_every_row_of_what_is_often_said_is_answered() -> None:
    section = TEXT.split("## 12.", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert rows[0] == ["often said", "what the paper says", "here"]
    assert len(rows) == 2 + 11 and all(len(row) == 3 and all(row) for row in rows)


def test_the_published_stages_are_those_that_our_claims_are_set_against() -> None:
    table = TEXT.split("**B. ", 1)[1].split("Ours, measured", 1)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-2]] for line in table.splitlines() if line[:1] == "|"]
    columns = {"R1-Zero": 1, "Dev1, cold start": 2, "Dev2, RL": 3, "Dev3, SFT": 4, "R1": 5}
    shown = {row[0]: row for row in rows}
    short = {"GPQA": "GPQA Diamond", "LCB": "LiveCodeBench", "AlpacaEval": "AlpacaEval 2.0", "Aider": "Aider-Polyglot"}
    stages = load_book("claims").stages
    assert set(columns) <= set(stages)
    for stage, column in columns.items():
        paper = {short.get(name, name): figure for name, figure in stages[stage].paper.items()}
        assert {name: float(row[column]) for name, row in shown.items() if name in paper} == paper, stage


def test_the_figures_of_the_three_estimators_are_recomputed() -> None:
    """For N(0, 1) against N(m, 1), log r is normal with mean -m²/2 and variance m², and r is lognormal with mean 1."""
    rows = re.findall(r"^\| \$N\((\S+), 1\)\$ \| (.+) \|$", TEXT, re.MULTILINE)
    assert [float(m) for m, _ in rows] == [0.1, 1.0]
    for shift, cells in rows:
        m2 = float(shift) ** 2
        kl, spread = m2 / 2, math.exp(m2) - 1
        best = m2 / spread
        expected = [
            *(kl, 0.0, math.sqrt(m2) / kl),
            *(m2 / 4, math.sqrt((m2**2 + m2 * (m2 / 2) ** 2 * 2) / 2) / kl),
            *(0.0, math.sqrt(spread - m2) / kl),
            *(best, math.sqrt(m2 - m2 * best) / kl),
        ]
        shown = cells.split(" | ")
        for text, value in zip(shown, expected, strict=True):
            digits = len(text.partition(".")[2])
            assert abs(float(text) - value) <= 0.51 * 10**-digits, (text, value)

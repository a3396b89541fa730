"""A stage whose code changed has a new VERSION, or a stated reason why it needs none."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from stages.rewards import sources
from tests.house import lock, rooms


def test_no_stage_changed_without_its_version() -> None:
    found = lock.changes(lock.read(), lock.current())
    assert not found, "\n".join(found.values())


def test_the_lock_names_no_stage_that_is_gone() -> None:
    assert set(lock.read()) <= set(lock.current())


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house of one stage, which imports one module at the top and one inside a function, and loads one by name."""
    files = {
        "stages/toy.py": '"""Doc."""\nfrom stages.core import a\nVERSION = 1\n'
        "def run():\n    from stages.core.b import X\n",
        "stages/core/a.py": "A = 1\n",
        "stages/core/named.py": "D = 4\n",
        "stages/core/b.py": "WHERE = 'stages.core.named:Reader'\n"
        "import typing\nif typing.TYPE_CHECKING:\n    from stages.core import c\nX = 2\n",
        "stages/core/c.py": "C = 3\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def tree(path: Path) -> ast.Module:
        return ast.parse((tmp_path / path).read_text())

    for module in (lock, rooms):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "tree", tree)
    monkeypatch.setattr(lock, "STAGES", {"toy": "stages.toy", "unwritten": "stages.unwritten"})
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock.json")
    return tmp_path


def _edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def _said() -> list[str]:
    return list(lock.changes(lock.read(), lock.current()).values())


def test_a_stage_is_all_it_imports_lazily_or_by_name(house: Path) -> None:
    assert lock.closure(["stages.toy"]) == ["stages.core.a", "stages.core.b", "stages.core.named", "stages.toy"]


def test_comments_and_docstrings_do_not_count_and_code_does(house: Path) -> None:
    assert _said() == ["`toy` is not in the lock: run `python -m tests.house.lock`"]
    assert lock.rewrite() == [] == _said()
    _edit(house / "stages/toy.py", '"""Doc."""', '"""Other words."""  # a comment')
    assert _said() == []
    _edit(house / "stages/core/b.py", "X = 2", "X = 3")
    assert "`toy` changed (stages.core.b): raise VERSION in stages/toy.py" in _said()[0]


def test_a_table_that_a_module_reads_counts_as_its_code(house: Path) -> None:
    (house / "stages/core/words").mkdir()
    for name in ("stages/core/a.toml", "stages/core/words/b.jsonl", "stages/core/other.toml"):
        (house / name).write_text("one = 1\n")
    (house / "stages/core/a.py").write_text("A = open('a.toml'), open('words/' 'x') or 'words', 'b.jsonl'\n")
    lock.rewrite()
    _edit(house / "stages/core/other.toml", "1", "2")
    assert _said() == []
    for name in ("stages/core/a.toml", "stages/core/words/b.jsonl"):
        _edit(house / name, "1", "2")
        assert "`toy` changed (stages.core.a): raise VERSION" in _said()[0]
        _edit(house / name, "2", "1")
        assert _said() == []


def test_only_a_raised_version_or_a_reason_opens_the_lock(house: Path) -> None:
    lock.rewrite()
    _edit(house / "stages/core/a.py", "A = 1", "A = 1 + 0")
    assert len(lock.rewrite()) == 1 == len(_said())
    assert lock.rewrite("a constant written otherwise") == [] == _said()
    assert lock.read()["toy"]["neutral"] == "a constant written otherwise"
    _edit(house / "stages/core/a.py", "A = 1 + 0", "A = 2")
    _edit(house / "stages/toy.py", "VERSION = 1", "VERSION = 2")
    assert "was raised to 2" in _said()[0]
    assert lock.rewrite() == [] == _said()
    assert "neutral" not in lock.read()["toy"]
    _edit(house / "stages/toy.py", "VERSION = 2", "VERSION = 1")
    assert len(lock.rewrite("no")) == 1


def test_the_script_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    given: list[list[str]] = [["--neutral"], ["--neutral", " "], ["--other", "x"]]
    results: list[Any] = [lock.main(arguments) for arguments in given]
    assert results == [2, 2, 2]
    assert capsys.readouterr().out.count("usage:") == 3


def test_a_stage_that_scores_is_all_rewards_that_the_registry_finds() -> None:
    assert {"stages.rewards.accuracy", "stages.rewards.overlong", "stages.rewards.mathematics.judging"} <= set(
        lock.closure(["stages.rl"])
    )


def test_a_program_that_is_put_into_the_sandbox_is_in_the_lock_and_in_the_hash_behind_a_verdict() -> None:
    files = rooms.ROOT.glob("stages/rewards/programs/[!_]*.py")
    programs = {f"stages.rewards.programs.{file.stem}" for file in files}
    assert {"stages.rewards.programs.judge", "stages.rewards.programs.pytest_standin"} <= programs
    assert programs <= set(lock.closure(["stages.rl"])) and programs <= set(sources.behind("stages.rewards.code"))

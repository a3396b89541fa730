"""The walks of CONTRIBUTING.md can be walked: its recipes resolve, and every law it lists has the test it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from r1cli.commands.recipes import load_any
from stages import rl
from tests.house.rooms import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_its_recipes_resolve(tmp_path: Path) -> None:
    assert blocks("yaml")
    for number, block in enumerate(blocks("yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block, encoding="utf-8")
        assert [node.stage for node in load_any(str(file), [])] == re.findall(r"stage: (\S+)", block)


def test_the_laws_are_all_listed() -> None:
    files = {path.name for path in (ROOT / "tests" / "house").glob("test_*.py")} - {Path(__file__).name}
    assert files == set(re.findall(r"`tests/house/(test_\w+\.py)`", PAGE))


def test_its_loss_is_one_that_can_be_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [each for each in blocks("python") if each.startswith("# my_losses.py")]
    monkeypatch.chdir(tmp_path)
    Path("my_losses.py").write_text(block, encoding="utf-8")
    known = rl.identity(rl.Recipe(loss="my_losses:reinforce"))
    assert len(known["my_losses:reinforce"]) == 64

"""The registry says what there is, and a reward's version follows the code that its verdicts depend on."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from stages.core.errors import RecipeError
from stages.core.rows import JUDGES
from stages.rewards import registry, sources
from stages.rewards.registry import ENTRIES, GROUP_REWARDS, KNOWN, REWARDS, load, options_of, verdict_of, version
from tests.house.rooms import ROOT


def test_every_reward_says_what_it_pays_for_and_its_range() -> None:
    for name, entry in ENTRIES.items():
        assert entry.name == name and entry.pays and len(entry.pays) <= 80, name
        assert entry.values.startswith(("0 or 1", "0 to 1")), name
    assert set(ENTRIES) == set(REWARDS) | set(GROUP_REWARDS)
    assert {"accuracy", "format", "helpful", "safe", "length_penalty"} <= set(KNOWN)


def test_the_docs_name_every_reward_and_its_options() -> None:
    text = (ROOT / "docs/rewards.md").read_text(encoding="utf-8")
    table = text[text.index("| reward |") : text.index("## Commands")].splitlines()[2:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if line.startswith("|")]
    told = {
        name.strip("` "): re.findall(r"`(\w+)`", options) for names, *_, options in cells for name in names.split(",")
    }
    assert told == {name: list(options_of(name)) for name in ENTRIES} | {name: [] for name in JUDGES}


def test_a_reward_without_options_is_the_function_itself() -> None:
    assert load("format") is REWARDS["format"] and load("format", {}) is REWARDS["format"]


def test_rewards_of_one_file_have_one_version_and_others_another() -> None:
    assert version("format") == version("format_tolerant") != version("length")
    assert all(len(version(name)) == 64 for name in ENTRIES)
    with pytest.raises(RecipeError):
        version("helpful")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reward that imports one module at the top and one inside a function, and launches a third."""
    files = {
        "rewards/mine.py": "from stages.core import a\ndef f():\n    from stages.core.b import X\n"
        "TOOL, WORDS = 'tool.py', 'words.toml'\n",
        "rewards/tool.py": "print(1)\n",
        "rewards/other.py": "B = 1\n",
        "core/a.py": "A = 1\n",
        "rewards/words.toml": "",
        "core/b.py": "X = 1\n",
    }
    for name, text in files.items():
        (tmp_path / "stages" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "stages" / name).write_text(text)
    monkeypatch.setattr(sources, "_ROOT", tmp_path)
    return tmp_path / "stages"


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("rewards/mine.py", True),
        ("core/a.py", True),
        ("core/b.py", True),
        ("rewards/tool.py", True),
        ("rewards/words.toml", True),
        ("rewards/other.py", False),
    ],
)
def test_a_version_changes_with_the_code_behind_it_and_no_other(house: Path, file: str, changes: bool) -> None:
    before = sources.code_sha256("stages.rewards.mine")
    assert before == sources.code_sha256("stages.rewards.mine")
    with (house / file).open("a") as script:
        script.write("# changed\n")
    assert (sources.code_sha256("stages.rewards.mine") != before) is changes


def test_a_symbolic_verdict_is_math_verify_s_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: sources.code_sha256(f"stages.rewards.{name}") for name in ("accuracy", "cosine", "format")}
    monkeypatch.setattr(sources.metadata, "version", lambda name: "another")
    after = {name: sources.code_sha256(f"stages.rewards.{name}") for name in before}
    assert {name: before[name] != after[name] for name in before} == {"accuracy": True, "cosine": True, "format": False}


OWN = """
def polite(completion, row, contract, *, word: str = "please", times: int, tokens=None): return word in completion
def loose(completion, row, contract, **options): return 1.0
def odd(completion, row, contract, limit: "Nowhere" = 3): return 1.0
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_of_registry_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_of_registry_test", raising=False)
    return "own_of_registry_test"


def test_a_user_s_options_are_those_of_the_function(own: str, tmp_path: Path) -> None:
    assert options_of(f"{own}:polite") == {"word": "please", "times": registry.REQUIRED}
    assert load(f"{own}:polite", {"times": 2, "word": "kindly"})("kindly", None, None)
    assert load(f"{own}:loose", {"anything": 1})("", None, None) == 1.0
    assert load(f"{own}:odd", {"limit": 5})("", None, None) == 1.0
    with pytest.raises(RecipeError, match="should be int, not 'five'"):  # by its default: nobody can read `Nowhere`
        load(f"{own}:odd", {"limit": "five"})
    with pytest.raises(RecipeError, match="needs its option `times`"):
        load(f"{own}:polite")
    with pytest.raises(RecipeError, match=r"`times` .* should be int, not 'two'"):
        load(f"{own}:polite", {"times": "two"})


def test_a_user_s_version_is_the_hash_of_the_file(own: str, tmp_path: Path) -> None:
    assert version(f"{own}:polite") == version(f"{own}:loose")
    assert list(registry.outside_sources(["format", f"{own}:loose"]).values()) == [version(f"{own}:loose")]


@pytest.mark.parametrize("returned", [10**400, -(10**400), 1j, [], "1.5"])
def test_whatever_a_reward_returns_is_a_verdict(returned: object) -> None:
    assert verdict_of(returned).value is None and verdict_of(returned).reason


def test_a_users_own_function_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_me.py").write_text("def half(completion, row, contract):\n    return 0.5\n", encoding="utf-8")
    (tmp_path / "json.py").write_text("raise RuntimeError('it hides a library')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])
    assert registry.load("beside_me:half")("", None, None) == 0.5  # type: ignore[arg-type]
    assert [entry for entry in sys.path if entry == str(tmp_path)] == [sys.path[-1]]

"""A new reward of the house is written in two places: its own file and docs/rewards.md.

A copy of the project gets one, and lists, scores, tests and audits it; the tests of examples find it there as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.rooms import ROOT

REWARD = '''"""The polite reward: a completion enters; 1 if its answer says please, else 0, leaves."""

from __future__ import annotations

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.core.text import last_committed
from stages.rewards.declared import Judged, Reward
from stages.rewards.hacks.trial import Attack, Trial, tagged
from stages.rewards.verdict import Example, Verdict


@Reward(
    "polite", pays="right, and says a word", values="0 or 1", needs=("gold",), waits=True,
    builds_on=("accuracy",), trials=("polite:TRIALS",),
)  # fmt: skip
def reward(
    completion: str, row: Prompt, contract: Contract, *, word: str = "please", judged: Judged | None = None
) -> Verdict:
    """Return 1 for a right answer with `word` in it."""
    from stages.rewards import accuracy

    right = judged("accuracy") if judged else accuracy.reward(completion, row, contract)
    found = last_committed(contract.prefill + completion, contract.think_tags, contract.answer_tags)
    said = word in found.text.split()
    return Verdict(float(bool(right.value) and said), f"{'says' if said else 'never says'} {word}; {right.reason}")


_ROW = {"answer": "17 please", "verifier": "exact"}

EXAMPLES = (
    Example("<answer>17 please</answer>", _ROW, 1.0, "right and polite"),
    Example("<answer>17</answer>", _ROW, 0.0, "neither"),
    Example("<answer>17 please</answer>", _ROW, 0.0, "another word", options={"word": "kindly"}),
)
TRIALS = (
    Trial(
        "polite",
        Prompt("audit", "12 + 5?", "17 please", "exact"),
        (tagged("17 please"),),
        (tagged("18"),),
        (Attack("word alone", tagged("please")), Attack("hidden", "<think>17 please</think>")),
    ),
)
'''
ROW = {"id": "a", "completion": "<answer>17 please</answer>", "answer": "17 please", "verifier": "exact"}
DOCS = "| `polite` | the answer is right and says a word | 0, 1 | `word` |\n| `helpful`, `safe` |"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with one reward more: one file, one line of docs."""
    copy = tmp_path_factory.mktemp("project")
    leave = shutil.ignore_patterns("__pycache__", "bases", "corpus")
    for folder in ("stages", "r1cli", "recipes", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=leave)
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "stages/rewards/polite.py").write_text(REWARD, encoding="utf-8")
    (copy / "docs").mkdir()
    docs = (ROOT / "docs/rewards.md").read_text(encoding="utf-8")
    (copy / "docs/rewards.md").write_text(docs.replace("| `helpful`, `safe` |", DOCS), encoding="utf-8")
    return copy


def run(copy: Path, *command: str) -> str:
    path = {"PYTHONPATH": os.fspath(copy), "PYTHONDONTWRITEBYTECODE": "1", "R1_HOME": os.fspath(copy / "home")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", *command], cwd=copy, env={**os.environ, **path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_listed_scored_tested_and_audited(copy: Path) -> None:
    (listed,) = [one for one in json.loads(run(copy, "r1cli", "rewards", "list", "--json")) if one["name"] == "polite"]
    assert listed["options"] == {"word": "please"} and listed["pays for"] == "right, and says a word"
    (copy / "rows.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    scored = run(copy, "r1cli", "rewards", "score", "polite,accuracy", "--input", "rows.jsonl", "--output", "-")
    assert json.loads(scored)["rewards"] == {"polite": 1.0, "accuracy": 1.0}
    assert "3 examples" in run(copy, "r1cli", "rewards", "test", "polite", "--input", "rows.jsonl")
    assert "2 attacks, 0 got through" in run(copy, "r1cli", "rewards", "audit", "polite")


def test_the_house_s_own_tests_find_its_table_and_its_line_in_the_docs(copy: Path) -> None:
    files = [f"tests/rewards/test_{name}.py" for name in ("examples", "registry")]
    chosen = "(example_gets and polite) or registered_reward or every_reward"
    said = run(copy, "pytest", "-vv", "-p", "no:cacheprovider", "-k", chosen, *files)
    for one in ("[polite: right and polite]", "every_registered_reward_has_a_table", "the_docs_name_every_reward"):
        assert one in said

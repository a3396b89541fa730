"""`r1 rewards` lists, scores, tests and attacks; what is asked wrongly ends in a sentence and exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from r1cli import main
from r1cli.commands.rewards import _options
from stages.core.rows import JUDGES
from stages.rewards.registry import ENTRIES, options_of
from tests.house.rooms import ROOT

RIGHT = {"id": "a", "completion": "<think>x</think><answer>17</answer>", "answer": "17"}
WRONG = {"id": "b", "completion": "<think>x</think><answer>18</answer>", "answer": "17"}
NONE = {"id": "c", "answer": "17"}

MODULE = """
from stages.rewards.verdict import Example

def polite(completion, row, contract, *, word: str = "please", weight: float = 1.0):
    return weight * (word in completion)

POLITE_EXAMPLES = (Example("please", {}, 1.0, "it says so"), Example("now", {}, 0.0, "it does not"))

def careless(completion, row, contract):
    return float(completion.split("<answer>")[1][0] == "1")

CARELESS_EXAMPLES = (Example("<answer>2", {}, 1.0, "a wrong line of the table"),)

def generous(completion, row, contract):
    return 0.0 if completion == "" else float("17" in completion or row.answer in completion)
"""


@pytest.fixture
def r1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `r1 rewards …` in a folder with rows and a module of rewards; returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "our_rewards.py").write_text(MODULE)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (RIGHT, WRONG, NONE)))
    sys.modules.pop("our_rewards", None)

    def run(*words: str) -> tuple[int, str, str]:
        code = main.run(["rewards", *words])
        return (code, *capsys.readouterr())

    return run


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_list_names_every_reward_with_its_options(r1: Any) -> None:
    code, out, _ = r1("list")
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    squeezed = "".join(out.split())
    for name in ENTRIES:
        assert f"\n{name}"[:16] in out
        assert all(key in squeezed for key in options_of(name))
    _, out, _ = r1("list", "--json")
    assert [row["name"] for row in json.loads(out)] == [*ENTRIES, *JUDGES]


def test_score_answers_every_row_and_says_what_came_out(r1: Any, tmp_path: Path) -> None:
    code, out, err = r1("score", "accuracy", "--input", "rows.jsonl", "--output", "out.jsonl", "--workers", "1")
    assert code == 0, err
    said = read(tmp_path / "out.jsonl")
    assert [(one["id"], one["reward"]) for one in said] == [("a", 1.0), ("b", 0.0), ("c", None)]
    assert [*said[0]] == ["id", "reward", "reason", "seconds"]
    assert "mean reward     0.500" in out and "1 the row lacks `completion`" in " ".join(out.split())
    assert "p50" in out and "rows/s" in out and "score accuracy" in err and " left" not in out


def test_several_rewards_are_summed_and_told_apart(r1: Any, tmp_path: Path) -> None:
    names = "accuracy,our_rewards:polite"
    code, _, err = r1("score", names, "--input", "rows.jsonl", "--output", "out.jsonl", "--set", "word=think")
    assert code == 0, err
    first = read(tmp_path / "out.jsonl")[0]
    assert first["reward"] == 2.0 and first["rewards"] == {"accuracy": 1.0, "our_rewards:polite": 1.0}
    assert first["reasons"]["accuracy"] in first["reason"]


def test_a_pipe_in_and_out_holds_rows_and_nothing_else() -> None:
    program = "import sys; from r1cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "rewards", "score", "format", "--input", "-", "--output", "-"]
    rows = "".join(json.dumps(row) + "\n" for row in (RIGHT, NONE))
    done = subprocess.run(command, input=rows, capture_output=True, text=True, check=True, cwd=ROOT)
    assert [json.loads(line)["reward"] for line in done.stdout.splitlines()] == [1.0, None]
    assert "mean reward" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("score acuracy --input rows.jsonl --output o", "did you mean `accuracy`?"),
        ("score accuracy --input rowz.jsonl --output o", "no file `rowz.jsonl`"),
        ("score accuracy --input . --output o", "`.` is a folder"),
        ("score accuracy --input rows.jsonl --output no/o", "mkdir -p no"),
        ("score accuracy --input rows.jsonl --output ./rows.jsonl", "is the input"),
        ("score accuracy --input rows.jsonl --output o --set x=1", "no option `x` in accuracy"),
        ("score accuracy --input rows.jsonl --output o --set x", "is not KEY=VALUE"),
        ("score our_rewards:polite --input rows.jsonl --output o --set wort=a", "did you mean `word`?"),
        ("score our_rewards:polite --input rows.jsonl --output o --set weight=much", "should be float"),
        ("score our_rewards:polit --input rows.jsonl --output o", "did you mean `polite`?"),
        ("score helpful --input rows.jsonl --output o", "learned judge"),
        ("score , --input rows.jsonl --output o", "names no reward"),
        ("score accuracy --input rows.jsonl --output o --workers 0", "--workers"),
        ("test acuracy", "did you mean `accuracy`?"),
        ("audit acuracy", "did you mean `accuracy`?"),
    ],
)
def test_a_wrong_request_ends_in_a_sentence_a_hint_and_2(r1: Any, words: str, said: str, tmp_path: Path) -> None:
    code, out, err = r1(*words.split(" "))
    assert code == 2 and said in err and "hint:" in err and "Traceback" not in err and out == ""
    assert not (tmp_path / "o").exists()
    assert read(tmp_path / "rows.jsonl") == [RIGHT, WRONG, NONE]


def test_options_are_read_by_the_type_of_their_default(r1: Any) -> None:
    assert r1("list")[0] == 0  # the command puts the current folder on the path
    names = ("our_rewards:polite", "cosine", "soft_overlong")
    found = _options(names, ["word=17", "our_rewards:polite.weight=1e-1", "max_length=100", "cosine.max_length=50"])
    assert found == {
        "our_rewards:polite": {"word": "17", "weight": 0.1},
        "cosine": {"max_length": 50},
        "soft_overlong": {"max_length": 100},
    }


def test_test_passes_a_sound_reward_and_tells_what_a_careless_one_does(r1: Any) -> None:
    code, out, err = r1("test", "our_rewards:polite")
    assert code == 0 and "2 examples, " in out and " 0 failed" in out, err
    code, out, _ = r1("test", "our_rewards:careless")
    words = " ".join(out.split())
    assert code == 1 and "a wrong line of the table" in words and "nothing" in words and "IndexError" in words
    assert r1("test", "our_rewards:polite", "--set", "word=kindly")[0] == 1, "its first example no longer holds"


def test_test_says_which_golds_cannot_be_judged(r1: Any, tmp_path: Path) -> None:
    golds = [{"id": "good", "answer": "17"}, {"id": "bad", "answer": " "}, {"id": "odd", "verifier": "poetry"}]
    (tmp_path / "golds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in golds) + "{\n")
    code, out, err = r1("test", "strict", "--input", "golds.jsonl")
    assert code == 1 and "golds.jsonl: 4 rows, 3 cannot be judged" in out, err
    assert "line 2" in out and "bad" in out and "line 4" in out and "good" not in out


def test_audit_prints_what_got_through_and_fails(r1: Any) -> None:
    code, out, err = r1("audit", "our_rewards:generous")
    assert code == 1 and "attacks" in out and "got through" in out, err
    code, out, _ = r1("audit", "our_rewards:generous", "--json")
    assert code == 1 and len(json.loads(out)) > 0

"""`r1 data show-mask` shows which tokens train, with the code that trains, and without torch."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from r1cli import main, view
from stages.core.rows import Conversation, write_rows
from tests.house.rooms import ROOT
from tests.policy import tiny

ROWS = [
    Conversation("short", "1+1=", "two ones", "2"),
    Conversation("long", "2+2=", "again and " * 12, "4"),
    Conversation("third", "3+3=", "", "6"),
]
ASKED = ["data", "show-mask", "inputs.model=tiny", "inputs.conversations=rows.jsonl", f"template={tiny.TEMPLATE}"]


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs show-mask beside a model and a file of rows; returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    tiny.model(tmp_path / "tiny")
    write_rows(tmp_path / "rows.jsonl", ROWS)

    def run(*more: str) -> tuple[int, str, str]:
        code = main.run([*ASKED, *more])
        return (code, *capsys.readouterr())

    return run


def test_what_trains_stands_in_brackets_with_its_counts(shown: Any) -> None:
    code, out, err = shown("--rows", "1")
    assert code == 0, err
    assert "1 of 3 rows · template custom · at most 128 tokens a row" in out
    text = out.replace("\n", "")
    assert f"{tiny.TEMPLATE.replace('{prompt}', '1+1=')}[[<think>two ones</think><answer>2</answer><eos>]]" in text
    # read: four tags, four spaces, four letters; trained: four tags, nine letters, the end
    assert "short: 12 tokens read, 14 trained" in out


def test_json_lists_every_token_and_whether_it_trains(shown: Any) -> None:
    code, out, _ = shown("--json")
    found = json.loads(out)
    assert code == 0 and (found["rows"], found["max_tokens"]) == (3, 128)
    first = found["shown"][0]["tokens"]
    assert [one["text"] for one in first if one["trained"]] == [
        "<think>", *"two ones", "</think>", "<answer>", "2", "</answer>", "<eos>"
    ]  # fmt: skip
    assert [one["trained"] for one in first] == sorted(one["trained"] for one in first), "context, then completion"
    assert [row["left_out"] for row in found["shown"]] == [False, True, False]


def test_a_row_that_is_too_long_is_shown_as_left_out(shown: Any) -> None:
    assert "long: 12 tokens read, 126 trained; longer than 128: left out" in shown("--rows", "2")[1]


def test_on_a_terminal_what_trains_is_coloured_and_the_rest_is_dim(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    monkeypatch.setattr(view.Screen, "stream", property(lambda self: stream))
    view.Screen().masked([("read", False), ("learned\x1b[2J", True)])
    assert "\x1b[2mread\x1b[0m\x1b[1;32mlearned\ufffd[2J\x1b[0m" in stream.getvalue()


def test_a_wrong_question_ends_in_a_sentence(shown: Any) -> None:
    for more, said in ((["epochz=1"], "did you mean `epochs`?"), (["template=chat"], "has no chat template")):
        code, _, err = shown(*more)
        assert code == 2 and said in err and "hint:" in err


def test_no_torch_is_loaded_where_the_model_is_in_the_store(shown: Any) -> None:
    assert shown()[0] == 0
    program = (
        f"import sys; from r1cli import main; code = main.run({ASKED!r}); sys.exit(code or 'torch' in sys.modules)"
    )
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=there)
    assert done.returncode == 0 and "[[<think>" in done.stdout, done.stderr

"""`r1 chat` shows what a model draws and keeps it as rows; `r1 serve` hands a model over as it was trained."""

from __future__ import annotations

import importlib.util
import io
import json
import socket
from pathlib import Path

import pytest

from r1cli.commands import serve
from r1cli.main import ASKED_WRONGLY, DONE, run
from stages.core.artifact import Conversations
from stages.core.contract import TEMPLATES
from stages.core.run import sources
from stages.core.storage.store import Store
from tests.core.test_spoken import contract

ASKED = ["--template", "r1_zero", "--max-tokens", "24"]


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("What is 7 + 5?\n\n/new\nset 7; add 5\n/quit\nnever asked\n"))


@pytest.mark.usefixtures("asks")
def test_what_is_piped_in_is_answered_and_kept_as_rows_that_curate_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "talks.jsonl"
    assert run(["chat", "world:base", "--template", "r1_zero", "--save", str(file)]) == DONE
    kept = list(sources.resolve(str(file), Conversations, Store()).rows())  # type: ignore[attr-defined]
    assert [row.problem for row in kept] == ["What is 7 + 5?", "set 7; add 5"]
    shown = capsys.readouterr().out
    assert all(row.summary in shown and row.source == "base@1" for row in kept) and "<|end|>" not in shown
    assert any(row.summary or row.reasoning for row in kept)


@pytest.mark.usefixtures("asks")
def test_an_answer_that_was_cut_is_shown_and_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "talks.jsonl"
    assert run(["chat", "world:base", "--template", "r1_zero", "--max-tokens", "2", "--save", str(file)]) == DONE
    assert "cut off before it ended" in capsys.readouterr().err and not file.exists()


def test_the_same_seed_says_the_same_and_two_models_stand_side_by_side(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for more in ([], [], ["--compare", "world:qwen-nano", "--fold"]):
        monkeypatch.setattr("sys.stdin", io.StringIO("What is 7 + 5?\n"))
        assert run(["chat", "world:base", *ASKED, *more]) == DONE
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "base@1" in said[2] and "qwen-nano@1" in said[2]
    assert max(map(len, said[2].splitlines())) <= 80


def test_a_question_without_room_is_told_and_the_next_one_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1 + " * 4000 + "1\nWhat is 7 + 5?\n"))
    assert run(["chat", "world:base", *ASKED]) == DONE
    shown = capsys.readouterr()
    assert "and the model holds" in shown.err and shown.out.strip()


@pytest.mark.parametrize(("file", "why"), [("talks.txt", "is no .jsonl"), ("none/talks.jsonl", "there is no folder")])
def test_a_transcript_that_cannot_be_is_refused_before_a_model_is_loaded(
    file: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["chat", "world:base", "--save", file]) == ASKED_WRONGLY
    assert why in capsys.readouterr().err


def test_a_server_is_told_the_model_s_name_and_the_line_to_ask_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "world:base", "--port", "8123", "--dry-run"]) == DONE
    shown = capsys.readouterr().out
    assert "--served-model-name base" in shown and "curl http://127.0.0.1:8123/v1/chat/completions" in shown


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here")
def test_the_parser_of_thoughts_is_named_where_the_prompt_shows_the_tags() -> None:
    bare = contract()
    assert "--reasoning-parser" not in serve.command(Path("x"), "x", bare, "127.0.0.1", 8000)
    shows = contract(prefill="<think>\n")
    assert serve.command(Path("x"), "x", shows, "127.0.0.1", 8000)[-1] == serve.PARSER
    assert "{prompt}" in TEMPLATES["r1_zero"]


def test_a_port_in_use_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["serve", "world:base", "--port", str(port)]) == ASKED_WRONGLY
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err


def test_the_curl_line_is_one_that_a_shell_reads() -> None:
    import shlex

    words = shlex.split(serve.curl("r1", "127.0.0.1", 8000))
    assert json.loads(words[-1])["messages"][0]["role"] == "user"

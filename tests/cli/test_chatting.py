"""Instruct models in their own chat template, from the command line to the sealed folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from r1cli import main
from stages.core.artifact import Model
from stages.core.rows import Conversation, Prompt, write_rows
from stages.core.storage.store import Store
from tests.policy import styles

ROWS = [
    Conversation("plain", "What is 2 + 2?", "2 + 2 = 4", "4", turns=[{"role": "system", "content": "Be brief."}]),
    Conversation("tagged", "What is 2 + 3?", "<think>2 + 3 = 5</think>", "<answer>5</answer>"),
    Conversation("stray", "What is 2 + 4?", "6 </think> wait", "6"),
]
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command beside rows, prompts and one model in a style; returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", ROWS)
    write_rows(tmp_path / "prompts.jsonl", [Prompt("p", "What is 1 + 1?", "2", "math", turns=TURNS)])

    def run(style: str, *words: str) -> tuple[int, str, str]:
        if not (tmp_path / style).exists():
            styles.folder(style, tmp_path / style)
        code = main.run([*words])
        return (code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("style", "end", "more"),
    [
        ("gemma", "<end_of_turn>", []),
        ("llama3", "<|eot_id|>", []),
        ("qwen", "<|im_end|>", []),
        ("nothink", "<|im_end|>", ["template_options.enable_thinking=true"]),
    ],
)
def test_show_mask_tells_ends_marks_and_what_is_left_out(asked: Any, style: str, end: str, more: list[str]) -> None:
    given = ["data", "show-mask", f"inputs.model={style}", "inputs.conversations=rows.jsonl", "template=chat", *more]
    code, out, err = asked(style, *given, "--json")
    found = json.loads(out)
    assert code == 0, err
    assert found["end"] == end and end in found["ends"]
    assert found["dropped"] == [{"id": "stray", "reason": "its reasoning holds the mark </think>", "said": ""}]
    for one in found["shown"]:
        whole = one["context"] + one["trained"]
        assert one["trained"].endswith(end) and whole.count("<think>") == whole.count("</answer>") == 1
    assert "Be brief." in found["shown"][0]["context"]


@pytest.mark.parametrize("style", ["llama3", "r1_distill"])
def test_an_instruct_model_is_evaluated_in_its_own_chat_template(asked: Any, style: str) -> None:
    given = ["eval", "--name", "scores", f"inputs.model={style}", "inputs.prompts=prompts.jsonl", "template=chat"]
    code, _, err = asked(style, *given, "samples=1", "max_tokens=4", "samplings=[{temperature: 1.0, top_p: 1.0}]")
    assert code == 0, err
    folder = Store().open("scores").path
    assert json.loads((folder / "scores.json").read_text())["template"] == "chat"


def test_a_model_trained_in_r1_zeros_template_is_asked_in_it_by_plain_transformers(asked: Any) -> None:
    given = ["sft", "--name", "out", "inputs.model=qwen", "inputs.conversations=rows.jsonl", "epochs=1"]
    code, _, err = asked("qwen", *given, "batch_size=2")
    assert code == 0, err
    made = Store().open("out")
    assert made.record.metrics["dropped"] == {
        "the template `r1_zero` has no place for earlier turns": 1, "its reasoning holds the mark </think>": 1
    }  # fmt: skip
    assert isinstance(made, Model)
    words = AutoTokenizer.from_pretrained(made.path)
    problem = [{"role": "user", "content": ROWS[1].problem}]
    text = words.apply_chat_template(problem, add_generation_prompt=True, tokenize=False)
    assert text == made.contract.render(ROWS[1].problem)

"""After `r1 curate`, and in `r1 artifacts show`, stands a table of what was kept and what was left out, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1cli import main
from stages.core.artifact import Record
from stages.core.fingerprint import fingerprint
from stages.core.rows import Sample, write_rows
from stages.core.storage.store import Store
from tests.rewards.contracts import contract, row

SAID = ["<think>12+5=17</think><answer>17</answer>", "<think>12+5=18</think><answer>18</answer>", "17"]


@pytest.fixture
def drawn() -> None:
    """A store that holds `drawn@1`: two prompts of two families, each answered three times."""
    store = Store()
    prompts = [row(id="a", family="sum"), row(id="b", family="cups")]
    payload = {"stage": "sample"}
    with store.workspace("drawn", fingerprint(payload)) as folder:
        write_rows(folder / "prompts.jsonl", prompts)
        samples = [Sample(one.id, n, said, 5, n == 2) for one in prompts for n, said in enumerate(SAID)]
        write_rows(folder / "samples.jsonl", samples)
        contract().write(folder / "contract.json")
        record = Record(
            kind="rollouts",
            name="drawn",
            number=0,
            fingerprint=fingerprint(payload),
            payload=payload,
            inputs={"model": "zero@1"},
            stage="sample",
            version=1,
        )
        store.seal(folder, record)


def table(out: str) -> list[list[str]]:
    lines = [line.split() for line in out.splitlines()]
    start = next(place for place, words in enumerate(lines) if words[:1] == ["yield"])
    end = next(place for place, words in enumerate(lines) if words[:1] == ["kept"] and place > start)
    return [lines[start], *lines[start + 2 : end + 1]]


def test_the_yield_is_printed_after_the_run_and_shown_again(
    drawn: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main.run(["curate", "inputs.rollouts=drawn", "general_share=0", "--name", "data"]) == 0
    printed = capsys.readouterr().out
    assert table(printed) == [
        ["yield", "all", "%", "cups", "sum"],
        ["samples", "6", "100.0", "3", "3"],
        ["truncated", "2", "33.3", "1", "1"],
        ["wrong", "answer", "2", "33.3", "1", "1"],
        ["kept", "2", "33.3", "1", "1"],
    ]
    assert "discards." not in printed
    assert main.run(["artifacts", "show", "data"]) == 0
    assert table(capsys.readouterr().out) == table(printed)


def test_an_artifact_without_a_yield_shows_none(drawn: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["artifacts", "show", "drawn"]) == 0
    assert "yield" not in capsys.readouterr().out

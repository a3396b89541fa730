"""What `r1 prepare` says of a source without a usable row, and an answer that is not to be learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages import prepare
from stages.core.errors import InputError, RecipeError
from tests.stages.test_prepare import Maker, lines


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b'problem,answer\n"open,5\nx,6\n', r"not CSV \(1 of them, the first in a.csv:2: a quote that never"),
        ("a.csv", "problem,answer\ncaf\xe9?,5\n".encode("latin1"), r"not UTF-8 text \(1 of .* a.csv:2: the byte 0xe9"),
        ("a.jsonl", b'{"problem": "p?", "answer": {"value": "5"}}\n' * 2, r"\(2 of .* a.jsonl:1: .* `answer.value`"),
        ("a.jsonl", b'{"problem": {"text": "p?"}, "answer": "5"}\n', r"`problem.text`"),
    ],
)
def test_where_no_row_can_be_used_the_cause_and_its_first_place_are_named(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        Maker(tmp_path)(prepare.Recipe(source=str(tmp_path / name)))


def test_an_answer_that_its_set_gives_no_weight_is_not_imitated(tmp_path: Path) -> None:
    def talk(question: str, **told: Any) -> dict[str, Any]:
        before = {"role": "assistant", "content": "Hello.", "weight": 0}
        asked = [{"role": "user", "content": "Hi"}, before, {"role": "user", "content": question}]
        return {"messages": [*asked, {"role": "assistant", "content": "5", **told}]}

    source = tmp_path / "talks.jsonl"
    source.write_text(lines(talk("a?"), talk("b?", weight=0), talk("c?", weight=1), talk("d?", train=False)))
    rows, dropped, _ = Maker(tmp_path)(prepare.Recipe(source=str(source), kind="conversations"))
    assert [row.problem for row in rows] == ["a?", "c?"]
    assert [row["reason"] for row in dropped] == ["not to be learned"] * 2


def test_a_row_in_which_a_name_stands_twice_is_told_with_its_id_and_its_problem(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(
        '{"id": "7", "question": "p?", "answer": "1", "answer": "2"}\n' + lines({"problem": "q?", "answer": "5"})
    )
    _, dropped, _ = Maker(tmp_path)(prepare.Recipe(source=str(source)))
    assert [(row["id"], row["problem"], row["answer"], row["reason"]) for row in dropped] == [
        ("7", "p?", "", "a name stands twice")
    ]


@pytest.mark.parametrize("part", [{"subset": "main"}, {"source_split": "test"}])
def test_a_part_is_asked_of_a_dataset_alone(tmp_path: Path, part: dict[str, str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"problem": "What is 1 + 1?", "answer": "2"}\n')
    with pytest.raises(RecipeError, match=f"`{next(iter(part))}=.*` is for a dataset"):
        prepare.identity(prepare.Recipe(source=str(file), **part))  # type: ignore[arg-type]

"""The table of students says what the paper says, and traces that a student cannot hold are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core.artifact import Record
from stages.core.data import students
from stages.core.data.imitation import Example
from stages.core.errors import InputError, MissingError

PUBLISHED = {
    "qwen-1.5b": ("Qwen/Qwen2.5-Math-1.5B", 1e-4),
    "qwen-7b": ("Qwen/Qwen2.5-Math-7B", 8e-5),
    "qwen-14b": ("Qwen/Qwen2.5-14B", 7e-5),
    "qwen-32b": ("Qwen/Qwen2.5-32B", 6e-5),
    "llama-8b": ("meta-llama/Llama-3.1-8B", 5e-5),
    "llama-70b": ("meta-llama/Llama-3.3-70B-Instruct", 2e-5),
}
"""DeepSeek-R1, arXiv 2501.12948v2, B.4.3."""


def record(source: dict[str, object], stage: str = "import") -> Record:
    payload = {"recipe": {"kind": "model", "source": source}}
    return Record(kind="model", name="m", number=1, fingerprint="0", payload=payload, inputs={}, stage=stage, version=1)


def test_the_six_published_students_have_their_base_and_learning_rate() -> None:
    found = {name: (one.repository, one.learning_rate) for name, one in students.STUDENTS.items() if one.repository}
    assert found == PUBLISHED


def test_no_student_has_an_invented_commit() -> None:
    assert not [one.source for one in students.STUDENTS.values() if "@" in one.source]


def test_math_students_have_4096_positions_and_the_small_qwen_fewer_rows() -> None:
    positions = {name: one.positions for name, one in students.STUDENTS.items()}
    assert positions["qwen-1.5b"] == positions["qwen-7b"] == 4096
    assert {positions[name] for name in ("qwen-14b", "qwen-32b", "llama-8b", "llama-70b")} == {131_072}
    assert students.find("qwen-1.5b").vocab_size == 151_936
    assert {students.find(name).vocab_size for name in ("qwen-7b", "qwen-14b", "qwen-32b")} == {152_064}


def test_what_changed_in_a_released_student_is_noted() -> None:
    assert all(one.changed for one in students.STUDENTS.values() if one.repository)
    assert "4,096 -> 131,072" in students.find("qwen-7b").changed


def test_a_name_stands_for_its_base_and_anything_else_for_itself() -> None:
    assert students.source_of("qwen-7b") == "hf:Qwen/Qwen2.5-Math-7B"
    assert students.source_of("qwen-nano") == "world:qwen-nano"
    for text in ("mine@2", "world:base", "hf:a/b", "./folder", "my-own"):
        assert students.source_of(text) == text


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(MissingError, match="no student `qwen-7`") as caught:
        students.source_of("qwen-7")
    assert "did you mean `qwen-7b`" in caught.value.hint


def test_a_student_is_known_by_where_it_was_imported_from() -> None:
    hub = students.known(record({"hub": "Qwen/Qwen2.5-Math-7B", "commit": "0" * 40}))
    assert hub is not None and hub.name == "qwen-7b"
    world = students.known(record({"world": {"source": "world:llama-nano", "sha256": "0"}}))
    assert world is not None and world.name == "llama-nano"
    assert students.known(record({"files": {}})) is None
    assert students.known(record({"hub": "Qwen/Qwen2.5-Math-7B"}, stage="sft")) is None, "a trained model is no base"


def examples(*lengths: int) -> list[Example]:
    return [Example(str(n), [0] * 3, [0] * (length - 3)) for n, length in enumerate(lengths)]


def test_traces_beyond_the_positions_are_refused_and_told_how_many_and_how_long() -> None:
    with pytest.raises(InputError) as caught:
        students.within(examples(8, 40, 10, 90), 10, drop=False, holder="student", knob="positions")
    assert "2 of 4 traces are longer than the 10 tokens that the student takes" in caught.value.what
    assert "the longest has 90" in caught.value.what
    assert "`too_long=drop`" in caught.value.hint and "`positions=90`" in caught.value.hint


def test_traces_that_may_be_dropped_are_dropped_whole_and_counted() -> None:
    kept, dropped = students.within(examples(8, 40, 10, 90), 10, drop=True, holder="student")
    assert [one.tokens for one in kept] == [8, 10] and dropped == 2


def test_nothing_left_is_refused_even_then() -> None:
    with pytest.raises(InputError, match="1 of 1 traces"):
        students.within(examples(11), 10, drop=True, holder="student")


def test_the_published_students_stand_in_the_flag_s_help() -> None:
    text = (Path(__file__).parents[3] / "r1cli" / "commands" / "distill.py").read_text(encoding="utf-8")
    assert all(name in text for name in students.STUDENTS)

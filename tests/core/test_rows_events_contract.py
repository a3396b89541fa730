"""What is read from disk is checked where it is read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.contract import R1_ZERO_TEMPLATE, TEMPLATES, Contract
from stages.core.errors import ContractError, InputError, MissingError
from stages.core.rows import Conversation, Preference, Prompt, in_words, parse_row, read_rows, write_rows
from stages.core.run.events import Events, curve, read

ROW = Prompt("a", "1+1?", "2", "math", meta={"prefix": "set 7"})
CONTRACT = Contract(
    template=R1_ZERO_TEMPLATE, template_name="r1_zero", eos_ids=[1], pad_id=0, tokenizer_sha256="ab", max_positions=512
)


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [ROW, Prompt("b", "数学 {x}\n", "中", "exact", level=3, language="zh")]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert read_rows(tmp_path / "rows.jsonl") == rows


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{not json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "not an object"),
        ('{"id": "a", "meta": {"x": [{"y": 1, "y": 2}]}}', "names `y` twice"),
        ('{"id": "a", "problem": "p", "verifier": "math"}', "lacks `answer`"),
        ('{"id": "a", "problem": "p", "answer": 4, "verifier": "math"}', "`answer` should be text, not 4"),
        ('{"id": "a", "problem": "p", "answer": "4", "verifier": "maths"}', "unknown verifier `maths`"),
        ('{"id": "a", "problem": "p", "answer": "4", "verifier": "math", "tag": 1}', "unknown field `tag`"),
        ('{"id": "a", "problem": "p", "answer": "4", "verifier": "math", "level": true}', "`level` should be a whole"),
        ('{"id": "ok", "problem": "p", "answer": "4", "verifier": "math"}', "`ok` was already used on line 1"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "ok", "problem": "p", "answer": "4", "verifier": "math"}\n\n' + line + "\n")
    with pytest.raises(InputError, match=said) as caught:
        read_rows(path)
    assert caught.value.where == f"{path}:3"
    assert caught.value.hint


def test_null_in_an_optional_field_is_its_default_and_half_a_letter_is_one_sentence(tmp_path: Path) -> None:
    row = {"id": "1", "problem": "q", "answer": "1", "verifier": "math"}
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "language": None, "meta": None, "level": None}) + "\n")
    assert read_rows(tmp_path / "rows.jsonl") == [Prompt("1", "q", "1", "math")]
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "answer": None}) + "\n")
    with pytest.raises(InputError, match="`answer` should be text, not null"):
        read_rows(tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "problem": "whole \U0001f600, half \ud83d"}) + "\n")
    with pytest.raises(InputError, match="half of a surrogate pair") as caught:
        read_rows(tmp_path / "rows.jsonl")
    assert caught.value.where.endswith("rows.jsonl:1")


def test_an_absent_an_empty_and_a_binary_file_are_three_clear_sentences(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no file"):
        read_rows(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no rows"):
        read_rows(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_rows(tmp_path / "binary.jsonl")


@given(st.text())
def test_no_text_makes_the_row_parser_raise_anything_else(text: str) -> None:
    try:
        parse_row(text, "x:1")
    except InputError as error:
        assert error.where == "x:1"


def test_events_are_appended_and_told_and_numbers_json_cannot_hold_become_null(tmp_path: Path) -> None:
    told: list[dict[str, object]] = []
    events = Events(tmp_path / "events.jsonl", told.append)
    events.emit("step", step=1, loss=float("nan"), event_name="x")
    events.emit("note", text="hello")
    events.close()
    assert read(tmp_path / "events.jsonl") == told
    assert told[0]["loss"] is None and told[0]["event"] == "step"
    assert [line["text"] for line in read(tmp_path / "events.jsonl", "note")] == ["hello"]
    assert read(tmp_path / "absent.jsonl") == []


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"event": "step", "st')
    events = Events(path)
    events.emit("step", step=2)
    events.close()
    assert [line["step"] for line in read(path, "step")] == [1, 2]


def test_a_curve_keeps_the_last_of_repeated_steps_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = [{"event": "step", "step": step, "r": reward} for step, reward in [(1, 0), (2, 0), (1, 9)]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [(line["step"], line["r"]) for line in curve(path, "step")] == [(1, 9), (2, 0)]


def test_the_published_template_is_rendered_around_any_problem() -> None:
    text = CONTRACT.render("what is {x}?")
    assert text.startswith("A conversation between User and Assistant.")
    assert text.endswith("User: what is {x}?. Assistant:")
    assert dataclasses.replace(CONTRACT, template="", prefill="<think>\n").render("p") == "p<think>\n"


def test_a_contract_comes_back_from_its_folder(tmp_path: Path) -> None:
    CONTRACT.write(tmp_path)
    assert Contract.read(tmp_path) == CONTRACT == Contract.read(tmp_path / "contract.json")
    (tmp_path / "contract.json").write_text("{}")
    with pytest.raises(ContractError):
        Contract.read(tmp_path)
    with pytest.raises(MissingError):
        Contract.read(tmp_path / "elsewhere" / "contract.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pad_id": 1}, "pad token"),
        ({"eos_ids": []}, "no eos"),
        ({"template": "Question. Assistant:"}, "{prompt}"),
        ({"template": TEMPLATES["plain"], "template_name": "plain"}, "lacks <think>"),
    ],
)
def test_a_contract_that_breaks_training_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        dataclasses.replace(CONTRACT, **change).check()
    CONTRACT.check()
    dataclasses.replace(CONTRACT, template=TEMPLATES["plain"]).check(needs_tags=False)


TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "row",
    [
        Prompt("a", "1+1?", "2", "math", turns=TURNS),
        Conversation("a", "1+1?", "", "2", turns=TURNS),
        Preference("a", "1+1?", "2", "3", turns=TURNS),
    ],
)
def test_earlier_turns_come_back_as_they_were_written_and_are_not_written_where_there_are_none(
    tmp_path: Path, row: Prompt | Conversation | Preference
) -> None:
    bare = dataclasses.replace(row, id="b", turns=[])
    write_rows(tmp_path / "rows.jsonl", [row, bare])
    assert read_rows(tmp_path / "rows.jsonl", type(row)) == [row, bare]
    first, second = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert json.loads(first)["turns"] == TURNS
    assert "turns" not in json.loads(second)


@pytest.mark.parametrize(
    "turns", ["Hi", {}, ["Hi"], [{"role": "user"}], [{"role": "user", "content": None}], [{"role": "", "content": "x"}]]
)
def test_a_turn_is_a_role_and_a_text(turns: object) -> None:
    line = json.dumps({"id": "a", "problem": "p", "answer": "4", "verifier": "math", "turns": turns})
    with pytest.raises(InputError, match="`turns` should be a list of messages"):
        parse_row(line, "x:1")


def test_the_end_that_is_trained_is_one_of_the_ends_and_the_first_where_none_is_named(tmp_path: Path) -> None:
    assert CONTRACT.end_id == 1
    several = dataclasses.replace(CONTRACT, eos_ids=[7, 8], end_id=8)
    assert several.end_id == 8
    assert dataclasses.replace(several, eos_ids=[5]).end_id == 5
    assert dataclasses.replace(CONTRACT, eos_ids=[]).end_id == -1
    several.write(tmp_path)
    assert Contract.read(tmp_path) == several
    CONTRACT.write(tmp_path)
    assert "end_id" not in json.loads((tmp_path / "contract.json").read_text())


def test_a_reader_of_plain_text_gets_the_turns_before_a_problem() -> None:
    assert in_words(ROW) == "1+1?"
    asked = "system: Be brief.\n\nuser: Hi\n\nuser: 1+1?"
    assert in_words(dataclasses.replace(ROW, turns=TURNS)) == asked

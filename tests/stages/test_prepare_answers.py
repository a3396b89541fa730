"""Several answers of one row: any of which is right, or the parts of one; and the options of a choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages import prepare
from stages.rewards import accuracy
from tests.stages.test_prepare import Maker, lines, problem


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "mine.jsonl"


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (["3", "-3"], "3, -3"),
        (["12"], "12"),
        (["0.5", "\\frac{1}{2}"], "0.5"),
        ([1, 2.0], "1, 2"),
        (["(1,2)", "(3,4)"], "(1,2), (3,4)"),
        ("Either $x = \\boxed{2}$ or $x = \\boxed{-2}$.", "2, -2"),
        (True, "yes"),
        (False, "no"),
        (42.0, "42"),
        (1e21, "1000000000000000000000"),
    ],
)
def test_several_roots_are_one_set_and_no_root_is_lost(source: Path, make: Maker, answer: Any, gold: str) -> None:
    source.write_text(lines({"problem": "q", "final_answer": answer}, {"problem": "r", "final_answer": answer}))
    rows, _, _ = make(prepare.Recipe(source=str(source), columns={"answer": "final_answer"}))
    assert [(row.answer, row.meta) for row in rows] == [(gold, {})] * 2
    rows, _, _ = make(prepare.Recipe(source=str(source), columns={"answer": "final_answer"}, several="all"))
    assert rows[0].answer == gold


@pytest.mark.parametrize("verifier", ["math", "exact", "choice"])
def test_several_answers_that_are_no_set_go(source: Path, make: Maker, verifier: str) -> None:
    source.write_text(lines(problem(1), {"problem": "q", "answer": ["New York", "NYC"]}).replace('"2"', '"B"'))
    _, dropped, metrics = make(prepare.Recipe(source=str(source), verifier=verifier, several="all"))
    assert metrics["dropped"] == {"several answers": 1} and dropped[0]["detail"] == "New York / NYC"


@pytest.mark.parametrize(
    ("answer", "verifier", "golds"),
    [
        (["New York", "NYC"], "exact", ["New York", "NYC"]),
        (["New York", "NYC", "New York"], "math", ["New York", "NYC"]),
        ('["\\\\frac{1}{2}"]', "math", ["\\frac{1}{2}"]),
        ('["a", "b"]', "exact", ["a", "b"]),
        (["x+1", "1+x", "2x"], "math", ["x+1", "2x"]),
        (["so \\boxed{5}", "#### 7"], "math", ["5", "7"]),
        (["N/A", "5", "", "6", None], "math", ["5", "6"]),
        (["3", "-3"], "math", ["3", "-3"]),
        ("[1, 2]", "exact", ["[1, 2]"]),
    ],
)
def test_of_a_list_of_texts_any_one_is_right(
    source: Path, make: Maker, answer: Any, verifier: str, golds: list[str]
) -> None:
    rows = [{"problem": "q", "answer": answer}, {"problem": "r", "answers": answer}]
    source.write_text(lines(*rows, {"problem": "r", "answers": golds}))
    made, _, metrics = make(prepare.Recipe(source=str(source), verifier=verifier))
    assert [row.answer for row in made] == golds[:1] * 2 and metrics["dropped"] == {"duplicate": 1}
    assert all(row.meta == ({"answers": golds} if len(golds) > 1 else {}) for row in made)
    assert all(accuracy.judge(gold, row).value == 1.0 for row in made for gold in golds)


def test_a_list_of_option_letters_is_a_question_with_several_right_options(source: Path, make: Maker) -> None:
    source.write_text(
        lines({"problem": "q", "answer": ["A", "D"]}, {"question": "r", "options": ["x", "y"], "answer": 1})
    )
    rows, _, _ = make(prepare.Recipe(source=str(source), verifier="choice"))
    assert [(row.answer, row.problem) for row in rows] == [("A, D", "q"), ("B", "r\n\nA. x\nB. y")]
    assert [accuracy.judge(said, rows[0]).value for said in ("AD", "D, A", "A")] == [1.0, 1.0, 0.0]


def test_a_list_without_an_answer_goes_and_other_alternatives_contradict(source: Path, make: Maker) -> None:
    source.write_text(
        lines(
            problem(1),
            {"problem": "a", "answer": []},
            {"problem": "b", "answer": ["proof", "N/A"]},
            {"problem": "c", "answer": [["1"], ["2"]]},
            {"problem": "d", "answer": ["1", "2"]},
            {"problem": "d", "answer": ["1", "3"]},
        )
    )
    _, dropped, metrics = make(prepare.Recipe(source=str(source)))
    assert metrics["dropped"] == {"no answer": 2, "not a text": 1, "conflicting golds": 2}
    assert dropped[-1]["detail"] == "1 | 2 / 1 | 3"


def counted(count: int, **row: Any) -> dict[str, Any]:
    """A multiple-choice row; `count` makes its question another."""
    return {"question": f"Which is number {count}?", **row}


@pytest.mark.parametrize(
    ("rows", "golds"),
    [
        ([{"options": ["x", "y", "z"], "cop": n} for n in (1, 3, 2)], "ACB"),
        ([{"options": ["x", "y", "z"], "cop": n} for n in ("2", "3", "1")], "BCA"),
        ([{"options": ["x", "y", "z"], "cop": n} for n in (1, 0, 2)], "BAC"),
        ([{"sol1": "x", "sol2": "y", "label": n} for n in ("1", "0")], "BA"),
        ([{"sol1": "x", "sol2": "y", "label": n} for n in (1, 0)], "BA"),
        ([{"option1": "x", "option2": "y", "answer": n} for n in ("1", "2")], "AB"),
        ([{"option1": "x", "option2": "y", "answer": n} for n in (1, 2)], "AB"),
        ([{"choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": n} for n in ("2", "1")], "BA"),
        ([{"options": ["x", "y"], "answer": [n]} for n in (2, 1)], "BA"),
        ([{"options": ["3", "1", "2"], "cop": n} for n in (3, 1)], "CA"),
    ],
)
def test_a_column_counts_its_options_from_0_or_from_1_as_a_whole(
    source: Path, make: Maker, rows: list[dict[str, Any]], golds: str
) -> None:
    source.write_text(lines(*(counted(n, **row) for n, row in enumerate(rows))))
    made, _, _ = make(prepare.Recipe(source=str(source)))
    assert [row.answer for row in made] == list(golds)


@pytest.mark.parametrize(("first", "gold"), [(-1, "B"), (0, "B"), (1, "A")])
def test_where_nothing_tells_how_a_column_counts_it_is_said_and_can_be_given(
    source: Path, make: Maker, first: int, gold: str
) -> None:
    source.write_text(lines(counted(1, options=["x", "y", "z"], cop=1)))
    made, _, _ = make(prepare.Recipe(source=str(source), first_option=first))
    assert made[0].answer == gold
    assert any("first_option=1" in text for text in make.warnings) == (first == -1)


def test_a_row_whose_columns_count_to_different_options_goes(source: Path, make: Maker) -> None:
    own = {"options": ["x", "y", "z"]}
    pairs = [(1, 0), (0, 0), ("C", 0)]
    source.write_text(lines(*(counted(n, **own, answer=a, answer_index=b) for n, (a, b) in enumerate(pairs))))
    made, dropped, _ = make(prepare.Recipe(source=str(source)))
    assert [row.answer for row in made] == ["A", "C"]
    assert [row["detail"] for row in dropped] == ["columns differ: answer B, answer_index A"]


NUMERALS = ["3", "4", "5", "6"]


@pytest.mark.parametrize("numerals", [NUMERALS, [3, 4, 5, 6], ["3.0", "4.0", "5.0", "6.0"]])
@pytest.mark.parametrize("answers", [(4, 3), (3, 4), ("4", "3"), (4.0, 3.0), ([4], [3])])
def test_numbers_that_are_all_texts_of_options_are_those_texts(
    source: Path, make: Maker, numerals: list[Any], answers: tuple[Any, Any]
) -> None:
    if isinstance(answers[0], str) and "3.0" in numerals:
        return
    source.write_text(lines(*(counted(n, choices=numerals, answer=answer) for n, answer in enumerate(answers))))
    made, _, _ = make(prepare.Recipe(source=str(source)))
    assert [row.answer for row in made] == ["BA"["3" in str(answer)] for answer in answers]
    assert ["as that text" in told for told in make.warnings] == [True] * (answers[0] != "4")


def test_a_number_that_may_be_a_text_tells_nothing_of_how_its_column_counts(source: Path, make: Maker) -> None:
    rows = [(NUMERALS, 4), (["red", "iron", "pear"], 1)]
    source.write_text(lines(*(counted(n, choices=own, answer=answer) for n, (own, answer) in enumerate(rows))))
    made, _, _ = make(prepare.Recipe(source=str(source)))
    assert [row.answer for row in made] == ["B"]


BOTH = "a number that is an option's text and an option's number"


@pytest.mark.parametrize(("first", "golds"), [(-1, "A"), (0, "AD"), (1, "C")])
def test_a_number_that_may_be_a_text_or_a_place_goes_and_that_is_said_once(
    source: Path, make: Maker, first: int, golds: str
) -> None:
    rows = [(["red", "iron", "pear"], 0), (NUMERALS, 3), (NUMERALS, 4)]
    if first == 1:
        rows = [(NUMERALS, 3), (["red", "iron", "pear"], 4)]
    source.write_text(lines(*(counted(n, choices=own, answer=answer) for n, (own, answer) in enumerate(rows))))
    made, dropped, _ = make(prepare.Recipe(source=str(source), first_option=first))
    assert [row.answer for row in made] == list(golds)
    assert sum(row["reason"] == BOTH for row in dropped) == (2 if first == -1 else 0)
    assert sum(BOTH in text for text in make.warnings) == (first == -1)


def test_a_key_beside_it_tells_what_an_ambiguous_number_is(source: Path, make: Maker) -> None:
    keys = [1, 3, 0]
    red = counted(9, choices=["red", "iron"], answer=0, answer_index=0)
    source.write_text(lines(red, *(counted(n, choices=NUMERALS, answer=4, answer_index=n) for n in keys)))
    made, dropped, _ = make(prepare.Recipe(source=str(source)))
    assert [row.answer for row in made] == ["A", "B"]
    assert {row["reason"] for row in dropped} == {"no such option"}


def test_columns_that_differ_differ_with_a_mapped_answer_too(source: Path, make: Maker) -> None:
    own = {"options": ["red", "iron", "pear"]}
    pairs = [("1", 0), ("0", 0), ("C", 2), ("nothing", 2), (None, 1)]
    source.write_text(lines(*(counted(n, **own, answer=a, answer_index=b) for n, (a, b) in enumerate(pairs))))
    columns = {"problem": "question", "answer": "answer"}
    made, dropped, _ = make(prepare.Recipe(source=str(source), columns=columns, verifier="choice"))
    assert [row.answer for row in made] == ["A", "C"]
    assert dropped[0]["detail"] == "columns differ: answer B, answer_index A" and len(dropped) == 3


@pytest.mark.parametrize("gold", ["[]", "{}", '""', '[""]', "[ ]"])
def test_an_empty_list_as_text_is_no_answer(source: Path, make: Maker, gold: str) -> None:
    source.write_text(lines(problem(1), {"problem": "q", "answer": gold}))
    _, _, metrics = make(prepare.Recipe(source=str(source)))
    assert metrics["dropped"] == {"no answer": 1}


UNREAD = "`context` is not read: a problem that needs it cannot be solved"


@pytest.mark.parametrize(
    ("context", "columns", "told"),
    [
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}], {}, 1),
        ({"x": 1}, {}, 1),
        (["It is.", 5], {}, 1),
        (["It is."], {"problem": "question"}, 1),
        ("It is.", {"problem": "question"}, 1),
        ("It is.", {"problem": "question", "meta": "context"}, 0),
        ("Is it", {"problem": "question"}, 0),
        ([], {}, 0),
        ("", {"problem": "question"}, 0),
        (["It is."], {}, 0),
    ],
)
def test_a_passage_that_is_not_read_is_told_once(
    source: Path, make: Maker, context: Any, columns: dict[str, str], told: int
) -> None:
    source.write_text(lines(*(counted(n, context=context, answer=str(n)) for n in (1, 2))).replace("Which", "Is it"))
    rows, _, _ = make(prepare.Recipe(source=str(source), columns=columns))
    assert len(rows) == 2 and make.warnings.count(UNREAD) == told

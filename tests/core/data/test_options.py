"""Multiple-choice rows in the layouts of public sets become problems that show their options, with a letter as gold."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from stages.core.data import golds, makers
from stages.core.data.layouts import Layout
from stages.core.data.pieces import Raw
from stages.core.data.values import as_text

TEXTS = ["red", "green", "blue", "grey"]
LINES = "A. red\nB. green\nC. blue\nD. grey"
LABELLED = {"text": TEXTS, "label": ["A", "B", "C", "D"]}


def made(row: dict[str, Any], columns: dict[str, str] | None = None, **wished: Any) -> dict[str, Any]:
    wishes = makers.Wishes("prompts", "x", wished.pop("verifier", ""), "", "", 0.1, 0, **wished)
    layout = Layout("prompts", columns or {})
    kept = {name: value for name, value in row.items() if layout.wanted(name)}
    return makers.candidate(Raw("x:1", kept), layout, wishes, lambda value, _: [as_text(value) or ""]).fields


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Q?", "choices": TEXTS, "answer": 2, "subject": "art"},
        {"question": "Q?", "options": TEXTS, "answer": "C", "answer_index": 2},
        {"question": "Q?", "choices": LABELLED, "answerKey": "C"},
        {"question": "Q?", "choices": {"text": TEXTS, "label": ["1", "2", "3", "4"]}, "answerKey": "3"},
        {"question_stem": "Q?", "choices": LABELLED, "answerKey": "C"},
        {"question": "Q?", "options": dict(zip("ABCD", TEXTS, strict=True)), "answer": "blue", "answer_idx": "C"},
        {"question": "Q?", "options": ["(A)red", "(B)green", "(C)blue", "(D)grey"], "label": "C"},
        {
            "question": "Q?",
            "options": [{"label": x, "text": y} for x, y in zip("ABCD", TEXTS, strict=True)],
            "answer": "C",
        },
        {"question": "Q?", "opa": "red", "opb": "green", "opc": "blue", "opd": "grey", "cop": 2, "exp": None},
        {"question": "Q?", "A": "red", "B": "green", "C": "blue", "D": "grey", "answer": "c"},
        {"question": "Q?", "choices": [*TEXTS, None], "answer": 2.0},
        {"question": "Q?", "choices": '["red", "green", "blue", "grey"]', "answer": "(C)"},
    ],
)
def test_options_stand_in_the_problem_and_the_gold_is_a_letter(row: dict[str, Any]) -> None:
    found = made(row)
    assert (found["problem"], found["answer"], found["verifier"]) == (f"Q?\n\n{LINES}", "C", "choice")


@pytest.mark.parametrize(
    ("row", "letter"),
    [
        ({"goal": "G", "sol1": "x", "sol2": "y", "label": 1}, "B"),
        ({"goal": "G", "option1": "x", "option2": "y", "answer": "1"}, "A"),
        ({"goal": "G", "endings": ["x", "y"], "label": "1"}, "B"),
        ({"goal": "G", "choices": ["0", "1", "3"], "answer": 1}, "B"),
        ({"goal": "G", "choices": ["1", "2", "3"], "label": 1}, "B"),
        ({"goal": "G", "choices": ["1", "2", "3"], "answer": "1"}, "A"),
    ],
)
def test_a_number_is_a_place_from_0_and_a_text_is_a_label_or_an_option_first(row: dict[str, Any], letter: str) -> None:
    assert made(row, {"problem": "goal"})["answer"] == letter


@pytest.mark.parametrize("answer", ["AC", "A, C", "A、C", ["A", "C"], [0, 2], ["red", "blue"]])
def test_several_right_options_are_one_gold(answer: Any) -> None:
    assert made({"question": "Q?", "options": TEXTS, "answer": answer})["answer"] == "A, C"
    assert "A. red" not in made({"question": "Q?", "options": TEXTS[:2], "answer": answer})["problem"]


def test_a_right_answer_apart_takes_a_place_that_its_question_draws() -> None:
    wrong = {f"distractor{n}": text for n, text in enumerate(TEXTS[1:], 1)}
    letters = set()
    for n in range(20):
        found = made({"question": f"Q{n}?", **wrong, "correct_answer": "red", "support": "It is red."})
        assert f"\n{found['answer']}. red" in found["problem"] and "It is red" not in found["problem"]
        assert found == made({"question": f"Q{n}?", **wrong, "correct_answer": "red"})
        letters.add(found["answer"])
    assert letters == set("ABCD")
    gpqa = {"Question": "Q?", "Correct Answer": "red\n", **{f"Incorrect Answer {n}": str(n) for n in (1, 2, 3)}}
    assert made(gpqa)["verifier"] == "choice"


def test_a_passage_stands_before_its_question() -> None:
    row = {"article": "A story.", "question": "Q?", "options": TEXTS, "answer": "B"}
    assert made(row)["problem"] == f"A story.\n\nQ?\n\n{LINES}"


@pytest.mark.parametrize(
    ("row", "wished", "problem", "answer", "verifier"),
    [
        ({"problem": f"Q?\n{LINES}", "options": TEXTS, "answer": 1}, {}, f"Q?\n{LINES}", "B", "choice"),
        ({"problem": "Q?", "options": TEXTS, "answer": 1}, {"options": False}, "Q?", "1", "math"),
        ({"problem": "Q?", "options": TEXTS, "answer": "red"}, {"verifier": "exact"}, "Q?", "red", "exact"),
        ({"problem": "Q?", "choices": [{"message": {"content": "x"}}] * 2, "answer": "B"}, {}, "Q?", "B", "math"),
        ({"problem": "Q?", "answer": "B"}, {}, "Q?", "B", "math"),
    ],
)
def test_rows_that_show_their_options_and_rows_without_any_are_left_alone(
    row: dict[str, Any], wished: dict[str, Any], problem: str, answer: str, verifier: str
) -> None:
    found = made(row, **wished)
    assert (found["problem"], found["answer"], found["verifier"]) == (problem, answer, verifier)


def why(row: dict[str, Any], **wished: Any) -> str:
    """The reason for which a row is left out, "" for one that is kept."""
    layout = Layout("prompts", {})
    wishes = makers.Wishes("prompts", "x", wished.pop("verifier", ""), "", "", 0.1, 0)
    return makers.candidate(Raw("x:1", row), layout, wishes, lambda value, _: golds.extract(as_text(value) or "")).fault


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (TEXTS, "5 apples"),
        (TEXTS, 4),
        (TEXTS, -1),
        (TEXTS, "4"),
        (TEXTS, True),
        (TEXTS, 1.5),
        (TEXTS, Decimal("NaN")),
        (TEXTS, "E"),
        (TEXTS, "The answer is E"),
        (TEXTS, "B. red"),
        (TEXTS, "(B) red"),
        (TEXTS, "It is B or C"),
        (TEXTS, "So \\boxed{2}."),
        (["Paris", "paris", "Rome"], "paris"),
        (["4", "4", "5"], "A"),
        (["C", "D", "E"], "C"),
        (["A. x", "C. y", "D. z"], "C"),
        (["B. 4", "A. 3"], 0),
        ({"text": ["x", "y", "z"], "label": ["A", "C", "D"]}, "B"),
        ({"text": ["x", "y"], "label": ["A", "A"]}, "A"),
        ({"text": ["x", "y", "z"], "label": ["1", "2", "3"]}, 0),
        (["7", "7", "9"], 7),
    ],
)
@pytest.mark.parametrize("verifier", ["", "math", "choice"])
def test_a_row_whose_answer_names_none_of_its_options_or_two_is_left_out(
    options: Any, answer: Any, verifier: str
) -> None:
    assert why({"question": "Q?", "choices": options, "answer": answer}, verifier=verifier) == "no such option"


@pytest.mark.parametrize(
    "options",
    [
        ["x", "", "z"],
        ["x", None, "z"],
        ["x"],
        [str(n) for n in range(11)],
        ["x", {"text": "y"}],
        [{"bytes": "aGk=", "path": "a.png"}] * 2,
        {"A": "x", "B": None, "C": "z"},
    ],
)
def test_a_row_whose_options_cannot_be_shown_behind_letters_is_left_out(options: Any) -> None:
    assert why({"question": "Q?", "choices": options, "answer": "A"}) == "unclear options"


def test_a_column_of_an_option_that_is_empty_between_others_is_unclear() -> None:
    assert why({"question": "Q?", "A": "x", "B": "", "C": "z", "answer": "C"}) == "unclear options"
    assert why({"question": "Q?", "A": "x", "B": "y", "C": "", "D": None, "answer": "B"}) == ""


@pytest.mark.parametrize(
    ("options", "answer", "lines", "letter"),
    [
        (["B. 4", "A. 3"], "B", "A. 3\nB. 4", "B"),
        (["B. 4", "A. 3"], "4", "A. 3\nB. 4", "B"),
        (["1. x", "2. y"], "2", "A. x\nB. y", "B"),
        (["1) x", "2) y"], 2, "A. x\nB. y", "B"),
        (["1.5", "2.5"], 1, "A. 1.5\nB. 2.5", "B"),
        (["x\nB. fake", "y"], "B", "A. x B. fake\nB. y", "B"),
        ("a ) 38 , b ) 27.675 , c ) 30", "c", "A. 38\nB. 27.675\nC. 30", "C"),
        (["x", "y"], Decimal("1.0"), "A. x\nB. y", "B"),
        (["x", "y"], "1.0", "A. x\nB. y", "B"),
        (["x", "y"], "The answer is B", "A. x\nB. y", "B"),
        (["x", "y"], "The correct option is **(B)**.", "A. x\nB. y", "B"),
        (["x", "y"], "答案是B。", "A. x\nB. y", "B"),
        (["x", "y"], "B. y", "A. x\nB. y", "B"),
        (["x", "y"], "So it is \\boxed{\\text{B}}.", "A. x\nB. y", "B"),
        (["17", "42"], 42, "A. 17\nB. 42", "B"),
        (["$1,000$", "\\(2000\\)"], 1000.0, "A. $1,000$\nB. \\(2000\\)", "A"),
        (["1.5", "2.5"], 2.5, "A. 1.5\nB. 2.5", "B"),
        ([17, 42], 17, "A. 17\nB. 42", "A"),
        (["3", "2", "7"], "So it is \\boxed{2}.", "A. 3\nB. 2\nC. 7", "B"),
        (["False", "True"], True, "A. False\nB. True", "B"),
        ({"text": ["x", "y", "z"], "label": ["A", "C", "D"]}, "C", "A. x\nB. y\nC. z", "B"),
    ],
)
def test_the_letter_is_the_one_that_the_author_means(options: Any, answer: Any, lines: str, letter: str) -> None:
    wishes, layout = makers.Wishes("prompts", "x", "", "", "", 0.1, 0), Layout("prompts", {})
    row = {"question": "Q?", "choices": options, "answer": answer}
    read = makers.candidate(Raw("x:1", row), layout, wishes, lambda value, _: golds.extract(as_text(value) or ""))
    assert (read.fields["problem"], read.fields["answer"]) == (f"Q?\n\n{lines}", letter)


def test_options_count_as_shown_only_behind_their_letters() -> None:
    row = {"question": "Is an abacus a tool?", "choices": ["a", "b", "c"], "answer": "B"}
    assert made(row)["problem"].endswith("\n\nA. a\nB. b\nC. c")
    assert made({"question": "Q? (A) red (B) green", "choices": TEXTS[:2], "answer": 1})["problem"] == (
        "Q? (A) red (B) green"
    )


@pytest.mark.parametrize(
    "problem", ["![](a.png) Q?", "\\includegraphics[width=3cm]{a} Q?", "[asy] draw(A--B); [/asy] Q?", "<img src='a'>"]
)
def test_a_problem_or_an_option_that_holds_a_picture_or_a_drawing_is_left_out(problem: str) -> None:
    assert why({"question": problem, "answer": "5"}) == "needs a picture"
    assert why({"question": "Q?", "choices": ["x", problem], "answer": "A"}) == "needs a picture"
    assert why({"question": f"What does `{problem}` mean?", "answer": "5"}) == ""
    assert why({"question": "Is 5![2](n) large?", "answer": "5"}) == ""


@pytest.mark.parametrize(
    "row",
    [
        {"context": "A story.", "question": "Q?", "answers": TEXTS, "label": 1, "id_string": "t"},
        {"context": "A story.", "question": "Q?", **{f"answer{n}": t for n, t in zip("ABCD", TEXTS, strict=True)}},
        {"context": "A story.", "query": "Q?", "options": TEXTS, "correct_option": 1},
    ],
)
def test_options_called_answers_are_no_golds_and_what_is_asked_about_stands_first(row: dict[str, Any]) -> None:
    found = made({"label": "1", **row} if "answerA" in row else row)
    assert (found["problem"], found["answer"]) == (f"A story.\n\nQ?\n\n{LINES}", "B")


def test_a_question_keeps_its_passage_without_options_too() -> None:
    assert made({"question": "Is it?", "passage": "It is.", "answer": True})["problem"] == "It is.\n\nIs it?"
    assert made({"question": "It is. Is it?", "context": "It is.", "answer": True})["problem"] == "It is. Is it?"
    assert made({"asked": "Is it?", "context": "It is.", "answer": True}, {"problem": "asked"})["problem"] == "Is it?"

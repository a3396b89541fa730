"""Multiple-choice rows in the layouts of public sets become problems that show their options, with a letter as gold."""

from __future__ import annotations

from typing import Any

import pytest

from stages.core.data import makers
from stages.core.data.files import Raw
from stages.core.data.layouts import Layout
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
        ({"goal": "G", "choices": ["1", "2", "3"], "answer": 1}, "B"),
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
        ({"problem": "Q?", "options": TEXTS, "answer": "5 apples"}, {}, "Q?", "5 apples", "math"),
        ({"problem": "Q?", "options": TEXTS, "answer": "red"}, {"verifier": "exact"}, "Q?", "red", "exact"),
        ({"problem": "Q?", "choices": [{"message": {"content": "x"}}] * 2, "answer": "B"}, {}, "Q?", "B", "math"),
        ({"problem": "Q?", "options": [str(n) for n in range(11)], "answer": "B"}, {}, "Q?", "B", "math"),
        ({"problem": "Q?", "answer": "B"}, {}, "Q?", "B", "math"),
    ],
)
def test_rows_that_show_their_options_and_rows_without_any_are_left_alone(
    row: dict[str, Any], wished: dict[str, Any], problem: str, answer: str, verifier: str
) -> None:
    found = made(row, **wished)
    assert (found["problem"], found["answer"], found["verifier"]) == (problem, answer, verifier)

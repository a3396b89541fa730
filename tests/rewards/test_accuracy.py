"""Where the answer is looked for, and how letters, programs and texts are judged, with a reason for every zero."""

from __future__ import annotations

import pytest

from stages.rewards import accuracy, choice
from tests.rewards.contracts import PROGRAM, contract, row


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("<think>a</think><answer>12</answer>", "answer 12, expected 17"),
        ("<think>17", "<think> not closed: cut off"),
        ("", "no answer found"),
        ("I do not know", "no answer found"),
        ("<answer></answer>", "empty answer"),
        ("<answer>\\boxed{}</answer>", "empty answer"),
        ("<answer>\\boxed{ 17 \\boxed{}}</answer>", "two answers or a hedge: or 17"),
    ],
)
def test_a_zero_of_accuracy_tells_why(completion: str, reason: str) -> None:
    assert accuracy.reward(completion, row(), contract()) == (0.0, reason)


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("<answer>17</answer>", "no <think>"),
        ("<think>a</think><answer>17", "<answer> not closed: cut off"),
        ("<think>a</think><answer>17</answer>.", "text after </answer>"),
        ("<think>a</think><answer>18</answer>", "answer 18, expected 17"),
    ],
)
def test_a_zero_of_strict_tells_why(completion: str, reason: str) -> None:
    assert accuracy.strict(completion, row(), contract()) == (0.0, reason)


def test_strict_reads_only_the_answer_span() -> None:
    assert accuracy.strict("<think>\\boxed{18}</think><answer>17</answer>", row(), contract()).value == 1.0
    assert accuracy.strict("a</think><answer>17</answer>", row(), contract("<think>\n")).value == 1.0


@pytest.mark.parametrize("text", ["B", "(B)", "b", "B 3", "option B", "B.", "**B**", "\\text{B}", "$B$", "Ｂ", "B) 12"])
def test_an_option_letter_may_be_dressed(text: str) -> None:
    assert accuracy.judge(text, row("B", "choice")).value == 1.0


@pytest.mark.parametrize("text", ["", "A", "A B", "A or B", "B or C", "Bob", "AB", "I", "not sure", "bad"])
def test_another_letter_or_two_of_them_score_nothing(text: str) -> None:
    assert accuracy.judge(text, row("B", "choice")).value == 0.0


@pytest.mark.parametrize(
    "text", ["dbl", " dbl ;", "add 12", "sub -12", "rep 2 add 6", "rep 2 rep 3 add 2", "add 1\n;add 11"]
)
def test_any_program_that_reaches_the_target_is_right(text: str) -> None:
    assert accuracy.judge(text, PROGRAM).value == 1.0, accuracy.judge(text, PROGRAM)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("set 24", "`set` is not allowed in the answer"),
        ("rep 1 set 24", "`set` is not allowed in the answer"),
        ("add 1", "ends with 13, expected 24"),
        ("add", "program does not run: cannot read `add`"),
        ("dbl dbl", "program does not run: cannot read `dbl dbl`"),
        ("dbl;;", "program does not run: an empty instruction"),
        ("rep 40000 rep 40000 add 1", "program does not run: more than 1000 steps"),
        ("rep 40 dbl", "program does not run: value beyond 1000000000"),
        ("", "empty answer"),
    ],
)
def test_a_program_that_cheats_fails_or_runs_away_is_wrong(text: str, reason: str) -> None:
    assert accuracy.judge(text, PROGRAM) == (0.0, reason)


def test_a_row_that_cannot_be_judged_gets_no_verdict() -> None:
    assert accuracy.judge("B", row("maybe", "choice")).value is None
    assert accuracy.judge("dbl", row("dbl", "program")).value is None
    assert accuracy.judge("dbl", row("dbl", "program", meta={"prefix": "fly", "target": "3"})).value is None
    assert accuracy.judge("1", row("1", "poetry")).value is None


def test_a_gold_that_fails_its_own_test_is_named() -> None:
    assert accuracy.check_gold(row("17")).value == 1.0
    assert accuracy.check_gold(PROGRAM).value == 1.0
    wrong = row("add 1", "program", meta=PROGRAM.meta)
    assert accuracy.check_gold(wrong) == (0.0, "ends with 13, expected 24")


@pytest.mark.parametrize("verifier", ["math", "choice", "exact"])
@pytest.mark.parametrize(
    "said",
    [
        "\\boxed{B",
        "<answer>\\boxed{B</answer>",
        "\\boxed{B} and so \\boxed{B",
        "The answer is B. \\fbox {",
        "\\boxed{\\text{B}",
        "\\boxed{B\\}",
        "#### B \\boxed{\\text{the",
    ],
)
def test_a_box_that_never_closes_is_an_answer_that_was_cut_off(said: str, verifier: str) -> None:
    verdict = accuracy.reward(f"<think>a</think>{said}", row("B", verifier), contract())
    assert verdict == (0.0, "a box that never closes")
    assert choice.reward(said, row("B", "choice"), contract()).value == 0.0
    assert accuracy.reward(f"<think>{said}</think><answer>B</answer>", row("B", verifier), contract()).value == 1.0


@pytest.mark.parametrize(
    "said", ["print(17)", "lambda: 17", "yield 17", "def f(): 17", "del 17", "raise 17", "echo 17", "range(17)"]
)
def test_a_piece_of_a_program_is_no_answer(said: str) -> None:
    assert accuracy.reward(f"\\boxed{{{said}}}", row(), contract()).value == 0.0


@pytest.mark.parametrize("gold", ["nan", "None", "null", "N/A", "see solution", "answer: unknown"])
@pytest.mark.parametrize("verifier", ["math", "exact"])
def test_a_gold_that_only_says_there_is_no_answer_pays_nobody(gold: str, verifier: str) -> None:
    for verdict in (
        accuracy.judge(gold, row(gold, verifier)),
        accuracy.reward(f"<think>?</think><answer>{gold}</answer>", row(gold, verifier), contract()),
        accuracy.check_gold(row(gold, verifier)),
    ):
        assert (verdict.value, verdict.reason) == (None, f"the gold `{gold}` only says that there is no answer")
    assert accuracy.judge(gold, row(gold, "exact", meta={"real_answer": True})).value == 1.0

"""Each filter by an example: what is left out for which first reason, and what a rewrite must keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stages.core.rows import Prompt, Sample
from stages.rewards import rejection
from stages.rewards.rejection import Candidate, Limits
from tests.rewards.contracts import PROGRAM, contract, row

LIMITS = Limits(
    max_paragraph=60,
    max_repetition=0.2,
    repetition_ngram=3,
    mixed_languages=False,
    other_language=False,
    code_blocks=False,
)
GOOD = "First 12+5=17. Now I know it."


def made(reasoning: str = GOOD, answer: str = "17", asked: Prompt | None = None, **sample: Any) -> Candidate:
    asked = asked or row()
    completion = sample.pop("completion", f"<think>{reasoning}</think><answer>{answer}</answer>")
    given = {"tokens": 9, "truncated": False, "sample": 0, **sample}
    return rejection.candidate(asked, Sample(id=asked.id, completion=completion, **given), contract())


def fault(one: Candidate, limits: Limits = LIMITS, judged: bool = False, contaminated: bool = False) -> str:
    return rejection.first_fault(one, contract(), limits, judged=judged, contaminated=contaminated)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (made(), ""),
        (made(truncated=True), "truncated"),
        (made(answer="18"), "wrong answer"),
        (made(completion=f"{GOOD} The answer is 17."), "no strict format"),
        (made("First 12+5=17. 再算17+0=17。"), "mixed languages"),
        (made("先算12+5=17。"), "other language than the prompt"),
        (made("a very long line " * 4 + "12+5=17"), "paragraph too long"),
        (made("I run it.\n```\n12+5\n```\n17"), "code block in the reasoning"),
        (made("one two three four. one two three four."), "repetition"),
    ],
)
def test_a_completion_is_left_out_for_its_first_fault(one: Candidate, reason: str) -> None:
    assert fault(one) == reason
    assert reason in ("", *rejection.REASONS)


def test_the_first_reason_in_order_counts_alone() -> None:
    assert fault(made("先算", "18", truncated=True)) == "truncated"
    assert fault(made("先算", "18"), contaminated=True) == "wrong answer"
    assert fault(made("先算"), contaminated=True) == "other language than the prompt"
    assert fault(made(), contaminated=True) == "contaminated"


@pytest.mark.parametrize(
    ("limits", "one"),
    [
        (replace(LIMITS, mixed_languages=True), made("First I do 12+5=17. 再算17+0=17。")),
        (replace(LIMITS, other_language=True), made("先算12+5=17。")),
        (LIMITS.translated(), made("先算12+5=17。")),
        (replace(LIMITS, max_paragraph=None), made("a long line of words to read " * 4, "17")),
        (replace(LIMITS, code_blocks=True), made("I run it.\n```\n12+5\n```\n17")),
        (replace(LIMITS, max_repetition=1.0), made("one two three four. one two three four.")),
    ],
)
def test_each_filter_can_be_opened_on_its_own(limits: Limits, one: Candidate) -> None:
    assert fault(replace(one, right=1.0), replace(limits, max_repetition=1.0)) == ""


def test_the_sampled_verdict_is_taken_where_it_is_there_and_given_where_it_is_not() -> None:
    assert made(answer="18", rewards={"accuracy": 1.0}).right == 1.0
    assert made(answer="18").right == 0.0
    assert made(asked=row(verifier="helpful", answer="")).right is None
    assert made(asked=row("maybe", "choice"), answer="B").right is None


def test_what_no_rule_can_tell_needs_a_judge_and_a_reference() -> None:
    general = row("Foxes are red.", "helpful")
    assert fault(made(asked=general)) == "no rule or judge can tell"
    assert fault(made(asked=general), judged=True) == ""
    assert fault(made(asked=replace(general, answer=" ")), judged=True) == "no rule or judge can tell"


def test_a_general_prompt_may_be_answered_without_reasoning() -> None:
    assert fault(made("", "They are red.", row("Foxes are red.", "helpful")), judged=True) == ""
    assert fault(made("")) == "no strict format"


def test_the_same_reasoning_to_the_same_prompt_is_kept_once() -> None:
    other = replace(row(), id="p2")
    given = [made(), made("first  12+5=17,  now I know it"), made(asked=other), made("Quick 12+5=17.")]
    assert [one.fault for one in rejection.without_duplicates(given)] == ["", "duplicate", "", ""]


def test_a_faulty_completion_makes_no_later_one_a_duplicate() -> None:
    given = [made().faulted("wrong answer"), made(), made()]
    assert [one.fault for one in rejection.without_duplicates(given)] == ["wrong answer", "", "duplicate"]


@pytest.mark.parametrize(
    ("asked", "answer", "summary"),
    [
        (row(), "17", "The answer is 17."),
        (row(language="zh"), " 17 ", "答案是 17。"),
        (row("B", "choice"), "(B)", "The answer is (B)."),
        (PROGRAM, "dbl", "The answer is dbl."),
        (replace(PROGRAM, language="zh"), "add 12", "答案是 add 12。"),
        (row("north east", "exact"), "north east", "The answer is north east."),
    ],
)
def test_rules_write_a_summary_that_the_rule_still_holds_right(asked: Prompt, answer: str, summary: str) -> None:
    one = rejection.checked(rejection.by_rules(made("12+5=17", answer, asked)), contract(), LIMITS)
    assert (one.fault, one.answer) == ("", summary)


def test_the_summary_of_a_general_response_stays_as_it_is() -> None:
    one = rejection.by_rules(made("I think,", "They are red, I hope.", row("Red.", "helpful")))
    assert one.answer == "They are red, I hope."


@pytest.mark.parametrize(
    ("reasoning", "answer", "reason"),
    [
        (GOOD, "It is \\boxed{17}.", ""),
        (GOOD, "It is \\boxed{18}.", "rewrite changed the answer"),
        (GOOD, "It is 17 or 18.", "rewrite changed the answer"),
        ("先算12+5=17。", "\\boxed{17}", "rewrite fails a filter"),
        ("First </think> 12+5=17.", "\\boxed{17}", "rewrite fails a filter"),
        ("one two three one two three one two three", "\\boxed{17}", "rewrite fails a filter"),
    ],
)
def test_a_rewrite_must_keep_the_answer_and_pass_the_filters(reasoning: str, answer: str, reason: str) -> None:
    one = made().with_part("reasoning", reasoning).with_part("answer", answer)
    assert rejection.checked(one, contract(), LIMITS).fault == reason


def test_where_no_rule_judges_the_bare_answer_must_stay_the_same() -> None:
    general = row("red", "helpful")
    one = made(answer="The answer is Red.", asked=general)
    assert rejection.checked(one.with_part("answer", "So it is \\boxed{red}."), contract(), LIMITS).fault == ""
    changed = rejection.checked(one.with_part("answer", "So it is \\boxed{blue}."), contract(), LIMITS)
    assert changed.fault == "rewrite changed the answer"


def test_a_rewriter_that_says_nothing_is_a_fault_and_the_first_fault_stays() -> None:
    assert made().with_part("answer", "  ").fault == "rewrite fails a filter"
    assert made().faulted("truncated").faulted("duplicate").fault == "truncated"

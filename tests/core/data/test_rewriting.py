"""Reasoning tidied by rules says the same; a summary says the answer; tasks for a model hold what they must."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.data import rewriting
from stages.world import documents, problems


@pytest.mark.parametrize(
    ("raw", "language", "tidy"),
    [
        ("7+15=22, 22-3=19,", "en", "7+15=22. 22-3=19."),
        ("7+15=22, 22-3=19", "zh", "7+15=22。22-3=19。"),
        ("F-G:F>G, F-A:G>G, ", "en", "F-G:F>G. F-A:G>G."),
        ("  First   7+15=22.\tThen 22-3=19  ", "en", "First 7+15=22. Then 22-3=19."),
        ("<b>First</b> 7+15=22.</think> <answer>", "en", "First 7+15=22."),
        ("先算7+15=22。 再算22-3=19。", "zh", "先算7+15=22。再算22-3=19。"),
        ("one\n\n\n two.\n", "en", "one.\ntwo."),
        ("I note:\nit is 3", "en", "I note:\nit is 3."),
        ("8-3=5, 从 5 到 9 是 add 4.", "zh", "8-3=5。从 5 到 9 是 add 4."),
        ("an apple, a pear, 3.5, 2", "en", "an apple, a pear, 3.5, 2."),
        ("", "en", ""),
        ("<think></think>", "en", ""),
    ],
)
def test_rules_tidy_a_chain_and_leave_its_words(raw: str, language: str, tidy: str) -> None:
    assert rewriting.tidy(raw, language) == tidy


@given(st.text(max_size=300), st.sampled_from(["en", "zh"]))
def test_a_tidy_chain_stays_as_it_is(raw: str, language: str) -> None:
    once = rewriting.tidy(raw, language)
    assert rewriting.tidy(once, language) == once


@given(st.integers(0, 10_000), st.sampled_from(documents.STYLES[1:]), st.sampled_from(["en", "zh"]))
def test_no_step_of_a_chain_of_this_world_is_lost(seed: int, style: str, language: str) -> None:
    rng = random.Random(seed)
    problem = problems.draw(rng.choice(problems.FAMILIES), rng)
    raw, _ = documents.reasoning(rng, problem, documents.WORLDS["base"], style, language)
    signs = [letter for letter in raw if letter.isalnum() or letter in "=+->:"]
    kept = [letter for letter in rewriting.tidy(raw, language) if letter.isalnum() or letter in "=+->:"]
    assert kept == signs


@pytest.mark.parametrize(
    ("said", "bare"),
    [
        ("18", "18"),
        ("18.", "18"),
        ("The answer is 18.", "18"),
        ("答案是 18。", "18"),
        ("We add.\nSo it is \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("The answer is add 4; dbl.", "add 4; dbl"),
        ("the answer is 3.5.", "3.5"),
        ("", ""),
    ],
)
def test_a_bare_answer_is_what_a_summary_says(said: str, bare: str) -> None:
    assert rewriting.bare_answer(said) == bare


def test_a_summary_is_a_sentence_in_the_prompts_language_whatever_the_answer_wears() -> None:
    assert rewriting.summary("18", "en") == "The answer is 18."
    assert rewriting.summary("\\boxed{18}", "zh") == "答案是 18。"
    assert rewriting.summary("答案是 B。", "en") == "The answer is B."
    assert rewriting.summary(rewriting.summary("add 4", "zh"), "zh") == "答案是 add 4。"


def test_a_task_holds_question_chain_and_language_and_braces_in_them_change_nothing() -> None:
    for task in (rewriting.translation_task, rewriting.summary_task):
        said = task("What is {x}?", "I set {reasoning} {0} {question}.", "zh-CN")
        assert "What is {x}?" in said and "I set {reasoning} {0} {question}." in said and "(Chinese)" in said
    assert "\\boxed{}" in rewriting.summary_task("q", "r", "en")
    assert "(fr)" in rewriting.summary_task("q", "r", "fr")


@pytest.mark.parametrize(
    "junk", ["<" * 300_000, "=1," * 100_000, "。 " * 150_000, "<a" * 150_000, "the answer is " * 20_000]
)
def test_hostile_text_costs_linear_time(junk: str) -> None:
    start = time.process_time()
    rewriting.tidy(junk, "en")
    rewriting.summary(junk, "zh")
    assert time.process_time() - start < 2

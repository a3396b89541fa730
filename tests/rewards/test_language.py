"""The language reward is the share of the thinking in the prompt's language, whatever else stands in the completion."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.language import scripts
from stages.rewards import language, length
from tests.bench import language as bench
from tests.rewards.contracts import PROGRAM, contract, row

ENGLISH, CHINESE = ("first", "then", "wait", "check"), ("先", "再", "对", "错")


def value(thought: str, spoken: str = "en", **fields: str) -> float | None:
    completion = f"<think>{thought}</think><answer>17</answer>"
    return language.reward(completion, row(language=spoken, **fields), contract()).value


@given(st.lists(st.sampled_from(ENGLISH), max_size=8), st.lists(st.sampled_from(CHINESE), max_size=8))
@settings(max_examples=60, deadline=None)
def test_english_and_chinese_are_told_apart_to_the_word(english: list[str], chinese: list[str]) -> None:
    thought = " ".join([*english, *chinese])
    total = len(english) + len(chinese)
    assert value(thought, "en") == (len(english) / total if total else 0.0)
    assert value(thought, "zh") == (len(chinese) / total if total else 0.0)


def test_a_word_said_over_and_over_does_not_drown_the_thought() -> None:
    thought = "wir zählen zuerst die roten Bälle und danach die blauen Bälle in der Kiste zusammen"
    assert value(thought) == 0.0
    assert value("first " * 300 + thought) == pytest.approx(8 / 22, abs=0.03)


@given(st.text())
@settings(max_examples=60, deadline=None)
def test_the_shares_of_two_languages_are_never_more_than_everything(noise: str) -> None:
    en, zh = scripts.language_share(noise, "en"), scripts.language_share(noise, "zh")
    assert (en is None) == (zh is None)
    assert en is None or zh is None or 0.0 <= en + zh <= 1.0


@pytest.mark.parametrize(
    ("thought", "spoken", "reason"),
    [
        ("First 12+5=17", "en", "1 of 1 words in en"),
        ("先 add them", "zh", "1 of 3 words in zh"),
        ("12+5=17", "zh", "no words in the thinking"),
        ("Let us add. Sumamos los números.", "es", "3 of 6 words in es"),
        ("bonjour", "xx", "`xx` is not told from other languages"),
    ],
)
def test_a_verdict_tells_why(thought: str, spoken: str, reason: str) -> None:
    verdict = language.reward(f"<think>{thought}</think>", row(language=spoken), contract())
    assert verdict.reason == reason


def test_no_thinking_is_not_the_same_as_thinking_without_words() -> None:
    assert language.reward("<answer>17</answer>", row(), contract()) == (0.0, "no <think>")
    assert value("12 + 5 = 17") == 1.0


@pytest.mark.parametrize("nothing", ["", " \n", "\u200b", "---", "<br>", "&nbsp;", "</think><think>"])
def test_an_empty_thought_earns_nothing_where_a_thought_is_asked_for(nothing: str) -> None:
    empty = f"<think>{nothing}</think>I add them.<answer>17</answer>"
    assert language.reward(empty, row(), contract()) == (0.0, "an empty thought")
    assert language.reward(empty, row(verifier="helpful"), contract()).value == 1.0
    silent = replace(contract(), template="{prompt}", prefill="<think>\n\n</think>\n")
    assert language.reward("I add them.", row(), silent).value == 1.0
    assert language.reward("I add them.", row(language="zh"), silent).value == 0.0


SITUATIONS = bench.situations()


@pytest.mark.parametrize("kind", SITUATIONS)
def test_what_people_report_of_language_detectors_is_judged_as_it_should_be(kind: str) -> None:
    rows = SITUATIONS[kind]
    outside = [one.id for one in rows if not one.fits()]
    assert len(outside) <= (0.06 if kind == "two_languages_in_a_clause" else 0.05) * len(rows), outside


def test_nine_of_ten_handed_situations_and_more_are_in_their_range() -> None:
    handed = [one for rows in SITUATIONS.values() for one in rows if one.id.startswith("lang")]
    assert len(handed) == 222
    assert sum(one.fits() for one in handed) >= 0.95 * len(handed)


@pytest.mark.parametrize(
    ("spoken", "thought", "reason"),
    [
        ("jp", "まず足します", "3 of 3 words in ja (`jp` is taken as `ja`)"),
        ("English", "First I add", "3 of 3 words in en (`English` is taken as `en`)"),
        ("zh-CN", "先算", "1 of 1 words in zh"),
    ],
)
def test_another_name_of_a_language_is_answered_with_its_code(spoken: str, thought: str, reason: str) -> None:
    assert language.reward(f"<think>{thought}</think>", row(language=spoken), contract()).reason == reason


def test_what_is_no_language_is_not_counted() -> None:
    assert value("先 `int x` 12 $a + bc$ \\frac A-C:A>C x y", "zh") == 1.0
    assert value("θ = 30, so x is right") == 1.0


TARGETS = [
    ("en", "What is 12 + 5?"),
    ("zh", "12 加 5 是多少？"),
    ("de", "Was ist die Summe?"),
    ("pt", "Qual é a soma?"),
]


@pytest.mark.parametrize(("spoken", "problem"), TARGETS)
@pytest.mark.parametrize("given", ["", "auto"])
def test_without_a_language_the_prompt_says_which(given: str, spoken: str, problem: str) -> None:
    found = language.reward("<think>I add them</think>", row(language=given, problem=problem), contract())
    assert found.reason == f"{3 if spoken == 'en' else 0} of 3 words in {spoken}"


def test_a_prompt_without_words_leaves_the_language_unknown() -> None:
    found = language.reward("<think>I add them</think>", row(language="", problem="12 + 5 = ?"), contract())
    assert found == (None, "the prompt tells no language")


def test_a_completion_without_any_tag_is_judged_whole_and_one_with_an_answer_only_is_not() -> None:
    assert language.reward("I add them.", row(), contract()).value == 1.0
    assert language.reward("I add them.", row(language="zh"), contract()).value == 0.0
    assert language.reward("I add them. <answer>17</answer>", row(), contract()) == (0.0, "no <think>")
    assert language.reward(" \n", row(), contract()) == (0.0, "no <think>")


def test_the_instructions_of_a_program_are_code_only_in_a_program_s_thinking() -> None:
    completion = "<think>从 48 到 51 是 add 3. rep 2 dbl</think>"
    zh = {"answer": PROGRAM.answer, "verifier": PROGRAM.verifier, "meta": PROGRAM.meta, "language": "zh"}
    assert language.reward(completion, row(**zh), contract()).value == 1.0
    assert language.reward(completion, row(language="zh"), contract()).value == pytest.approx(3 / 6)


def test_answers_in_another_language_cost_nothing() -> None:
    completion = "<think>I translate it</think><answer>红色的狐狸</answer>"
    assert language.reward(completion, row(verifier="helpful"), contract()).value == 1.0


def test_a_longer_completion_earns_more_length_until_the_limit() -> None:
    values = [length.reward("x" * count, row(), contract(), limit=10).value for count in (0, 5, 10, 20)]
    assert values == [0.0, 0.5, 1.0, 1.0]

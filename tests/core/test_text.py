"""Completions are read the same way everywhere, and in linear time on hostile text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core import text
from stages.core.language import scripts

THINK, ANSWER = ("<think>", "</think>"), ("<answer>", "</answer>")


def committed(completion: str) -> tuple[str, str]:
    return tuple(text.last_committed(completion, THINK, ANSWER))


@pytest.mark.parametrize(
    ("completion", "fault"),
    [
        ("<think>a</think><answer>b</answer>", ""),
        ("\n<think>\na\n</think>\n<answer>\nb\n</answer>\n", ""),
        ("", "no <think>"),
        ("a</think><answer>b</answer>", "no <think>"),
        ("<think>a</think>", "no <answer>"),
        ("<think>a", "<think> not closed: cut off"),
        ("<think>a<answer>b</answer>", "<think> not closed: cut off"),
        ("<think>a</think><answer>b", "<answer> not closed: cut off"),
        ("x<think>a</think><answer>b</answer>", "text before <think>"),
        ("<think>a</think>x<answer>b</answer>", "text before <answer>"),
        ("<think>a</think><answer>b</answer>x", "text after </answer>"),
        ("<think></think><answer>b</answer>", "empty <think>"),
        ("<think>a</think><answer>\n</answer>", "empty <answer>"),
        ("<think>a</think><think>a</think><answer>b</answer>", "two <think>"),
        ("<think>a</think></think><answer>b</answer>", "two </think>"),
        ("<think>a</think><answer>b</answer><answer>b</answer>", "two <answer>"),
        ("<think>a</think><answer>b</answer></answer>", "two </answer>"),
        ("</think><think>a<answer>b</answer>", "</think> before <think>"),
        ("<think>a<answer>b</answer></think>", "<answer> inside or before <think>"),
    ],
)
def test_the_strict_format_names_its_first_fault(completion: str, fault: str) -> None:
    assert text.format_fault(completion, THINK, ANSWER) == fault


def test_a_prefilled_think_counts_once_the_prefill_is_put_back() -> None:
    assert text.format_fault("<think>\n" + "a</think><answer>b</answer>", THINK, ANSWER) == ""


@pytest.mark.parametrize(
    ("completion", "found"),
    [
        ("<think>1</think><answer>2</answer>", ("2", "answer")),
        ("<answer>2", ("2", "answer")),
        ("<answer>1</answer><answer>2</answer> 3", ("2", "answer")),
        ("<think>1 <answer>2</answer>", ("2", "answer")),
        ("<think><answer>1</answer></think> so \\boxed{2}", ("2", "box")),
        ("\\boxed{1} \\boxed{\\frac{2}{3}} the answer is 4", ("1 , \\frac{2}{3}", "box")),
        ("\\boxed{1}\n\\boxed{1}", ("1", "box")),
        ("\\boxed{1}\n\\boxed{2}", ("2", "box")),
        ("<answer>1 <answer>2</answer> 3</answer>", ("2 3", "answer")),
        ("<answer>2</answer></answer>", ("2", "answer")),
        ("the answer isn't 1", ("the answer isn't 1", "open")),
        ("\\boxed{1}, $\\boxed{2}$ and x = \\boxed{3}", ("1 , 2 , 3", "box")),
        ("\\boxed{1} no no no \\boxed{2}", ("2", "box")),
        ("\\\\boxed{1}", ("1", "box")),
        ("The answer is: 3. I am sure", ("3", "phrase")),
        ("The answer is\n\\[\n3\n\\]\nSure", ("\\[ 3 \\]", "phrase")),
        ("Final Answer:\n\n3", ("3", "phrase")),
        ("the answer is 3.5 m", ("3.5 m", "phrase")),
        ("所以答案是 3。完", ("3", "phrase")),
        ("text\n#### 3", ("3", "phrase")),
        ("<think>a</think> 3 it is", ("3 it is", "open")),
        ("3 it is", ("3 it is", "open")),
        ("3</answer>", ("3", "open")),
        ("<think>\\boxed{1}</think>", ("no answer found", "none")),
        ("<think>the answer is 1", ("<think> not closed: cut off", "none")),
        ("<answer>1</answer><think>no</think>", ("no answer found", "none")),
        ("  ", ("no answer found", "none")),
    ],
)
def test_the_last_commitment_counts_and_the_thinking_does_not(completion: str, found: tuple[str, str]) -> None:
    assert committed(completion) == found


@pytest.mark.parametrize(
    ("source", "boxes"),
    [
        ("\\boxed{1}", ["1"]),
        ("\\boxed {a{b}c} \\fbox{d}", ["a{b}c", "d"]),
        ("\\boxed{\\boxed{1}}", ["\\boxed{1}"]),
        ("\\boxed{\\{1, 2\\}}", ["\\{1, 2\\}"]),
        ("} { \\boxed{1}", ["1"]),
        ("\\boxed{1", []),
        ("boxed{1}", []),
        ("\\boxed{}", [""]),
    ],
)
def test_braces_of_a_box_balance(source: str, boxes: list[str]) -> None:
    assert text.boxed(source) == boxes


def test_spans_tell_whether_they_were_closed() -> None:
    assert text.spans("<think>ab</think><think>c", THINK) == [(7, 9, True), (24, 25, False)]
    assert text.thinking("<think>ab</think><think>c", THINK) == "ab\nc"


@pytest.mark.parametrize(
    ("source", "zh", "en"),
    [
        ("one two three", 0.0, 1.0),
        ("一二三", 1.0, 0.0),
        ("one 二 three 四", 0.5, 0.5),
        ("<think>一</think> 12 + 5", 1.0, 0.0),
        ("一 `code here` $x + y$ \\frac and ```more code``` 二", 2 / 3, 1 / 3),
    ],
)
def test_language_share_counts_words_and_leaves_out_code_and_formulas(source: str, zh: float, en: float) -> None:
    assert scripts.language_share(source, "zh") == pytest.approx(zh)
    assert scripts.language_share(source, "en") == pytest.approx(en)


def test_a_text_without_words_has_no_language() -> None:
    assert scripts.language_share("12 + 5 = 17 <think>", "en") is None


def test_repetition_is_0_for_fresh_text_and_near_1_for_a_loop() -> None:
    assert text.repetition(" ".join(map(str, range(100)))) == 0.0
    assert text.repetition("again " * 100) > 0.98
    assert text.repetition("short") == 0.0


def test_words_and_ngrams_split_chinese_by_character() -> None:
    assert text.words("Two 苹果, 3ab!") == ["two", "苹", "果", "3ab"]
    assert text.ngrams(["a", "b", "c"], 2) == {("a", "b"), ("b", "c")}
    assert text.ngrams(["a"], 2) == {("a",)}
    assert text.ngrams([], 2) == set()


def test_problems_are_the_same_whatever_their_case_width_and_blanks() -> None:
    assert text.canonical("  What is\n１2 + X? ") == text.canonical("what IS 12 + x?")


TAGS = ["<think>", "</think>", "<answer>", "<answer></think>", "<a", "<", "{", "}", "\\boxed{", "\\", "\\(", "\\[ "]
MARKS = ["`", "```", "$", "#", "answer ", "answer is ", "answer:", "答案", "。", "中", "a ", "\0", "\ud800", "ﷺ", " "]


@pytest.mark.parametrize("piece", TAGS + MARKS)
def test_a_megabyte_of_noise_is_read_in_linear_time(piece: str) -> None:
    noise = piece * (10**6 // len(piece.encode("utf-8", "surrogatepass")))
    readers = [
        lambda: text.format_fault(noise, THINK, ANSWER),
        lambda: committed(noise),
        lambda: text.boxed(noise),
        lambda: text.spans(noise, THINK),
        lambda: scripts.language_share(noise, "zh"),
        lambda: text.repetition(noise),
        lambda: text.canonical(noise),
    ]
    for reader in readers:
        start = time.process_time()
        reader()
        assert time.process_time() - start < 10  # quadratic would take hours


@given(st.text())
def test_any_text_can_be_read(noise: str) -> None:
    text.format_fault(noise, THINK, ANSWER)
    assert committed(noise)[1] in ("answer", "box", "phrase", "open", "none")
    assert 0.0 <= text.repetition(noise) <= 1.0
    share = scripts.language_share(noise, "en")
    assert share is None or 0.0 <= share <= 1.0

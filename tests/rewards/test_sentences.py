"""Which candidate a sentence commits to, letter or number: stated, set aside, offered, or no candidate at all."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rewards import choice, sentence_words, sentences
from stages.rewards.sentence_words import Candidate, Word


def said(text: str) -> list[tuple[str, str]]:
    numbers = [
        Candidate(*match.span(), match.group()) for match in re.finditer(r"\d+|(?<![A-Za-z])[A-J](?![A-Za-z])", text)
    ]
    read = [one for sentence in sentence_words.tokens(text, numbers) for one in sentences.mentions(sentence)]
    return [(one.role.value, "".join(one.values)) for one in read]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C, not D", [("stated", "C"), ("rejected", "D")]),
        ("So it is 17 rather than 18.", [("stated", "17"), ("rejected", "18")]),
        ("C or D", [("offered", "CD")]),
        ("C and D are wrong", [("rejected", "CD")]),
        ("选C，D错误", [("stated", "C"), ("rejected", "D")]),
        ("C because D ignores drag", [("stated", "C"), ("rejected", "D")]),
        ("C because D ends it", [("stated", "C")]),
        ("vitamin C", []),
        ("Die Antwort ist C, weil D viel wiegt, und D ist zu klein", [("stated", "C"), ("aside", "D")]),
    ],
)
def test_each_candidate_has_the_part_that_its_sentence_gives_it(text: str, expected: list[tuple[str, str]]) -> None:
    assert said(text) == expected


def test_a_word_of_two_languages_is_read_in_that_of_the_text() -> None:
    assert choice.letters("La risposta corretta è C o D") == frozenset()
    assert choice.letters("A resposta é o C") == {"C"}
    assert choice.letters("Het antwoord is C of D") == frozenset()
    assert choice.letters("The answer is C of the four") == choice.letters("The answer is E coli") == frozenset()


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("B is the only incorrect option", ""),
        ("B is the only one that fails", ""),
        ("Least likely: B", ""),
        ("The worst is B", ""),
        ("B is the only option that is not wrong", "B"),
        ("A is the only incorrect option, so B", "B"),
        ("Most likely B, least likely C", "B"),
    ],
)
def test_the_only_wrong_option_and_the_least_likely_are_not_chosen(text: str, letters: str) -> None:
    assert choice.letters(text) == {*letters}


def test_options_go_beyond_j_only_where_the_gold_does() -> None:
    right, wrong = (
        [("K", "K"), ("(Z)", "Z"), ("The answer is M.", "(M)"), ("P, K", "K, P")],
        [("L", "K"), ("K or L", "K")],
    )
    assert [choice.judge(*pair).value for pair in right + wrong] == [1.0] * 4 + [0.0] * 2
    assert choice.named("So it must be M.", "M") == "M"
    assert choice.judge("Vitamin K", "K").value == choice.judge("B because V = IR", "V").value == 0.0
    assert choice.letters("The answer is K") == frozenset()
    assert choice.judge("K", "KING").value is None


def test_every_list_of_words_is_of_a_kind_and_names_no_word_twice() -> None:
    path = Path(sentence_words.__file__).with_suffix(".toml")
    for name, lines in tomllib.loads(path.read_text(encoding="utf-8")).items():
        assert Word(name)
        for language, words in lines.items():
            listed = words.split("|")
            assert len(listed) == len({*listed}), (name, language)
            assert all(word == word.strip().lower() and word for word in listed), (name, language)


@given(st.text(alphabet="ABC ,.;()notorisbecause或不选\n", max_size=300))
def test_any_text_is_read_and_only_letters_of_it_are_found(text: str) -> None:
    assert choice.letters(text) <= {*text.upper()}
    assert choice.letters(text, runs=True, free=True) <= {*text.upper()}


def test_a_long_text_is_read_in_time_that_grows_with_its_length() -> None:
    assert choice.letters("A or not B, " * 4000) == frozenset()
    assert choice.letters("C. " + "x " * 3000) == {"C"}

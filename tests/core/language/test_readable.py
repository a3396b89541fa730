"""What makes a chain of thought unfit to imitate: its language, its paragraphs, its code, saying nothing new."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.language import readable


@pytest.mark.parametrize(
    ("text", "language", "speaks"),
    [
        ("First 7+15=22. Then 22-3=19.", "en", True),
        ("First 7+15=22. Then 22-3=19.", "zh", False),
        ("先算7+15=22。再算22-3=19。", "zh", True),
        ("先算7+15=22。再算22-3=19。", "en", False),
        ("7+15=22, 22-3=19", "zh", True),
        ("F-G:F>G, F-A:G>G", "zh", True),
        ("从 31 到 35 是 add 4.", "zh", True),
        ("D'abord 7+15=22.", "fr", True),
        ("", "en", True),
    ],
)
def test_a_text_speaks_the_language_of_most_of_its_words(text: str, language: str, speaks: bool) -> None:
    assert readable.speaks(text, language) is speaks


def test_a_paragraph_ends_at_a_line_break_and_its_margins_do_not_count() -> None:
    assert readable.longest_paragraph("") == 0
    assert readable.longest_paragraph("abc") == 3
    assert readable.longest_paragraph("abc\n  abcde  \n\nab") == 5


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("I write code.\n```python\nx = 1\n```", True),
        ("~~~\nx = 1\n~~~", True),
        ("  ```", True),
        ("the `x` of ```` is quoted inline", False),
        ("set 5;add 3;", False),
        ("", False),
    ],
)
def test_a_code_block_is_a_fence_at_the_start_of_a_line(text: str, code: bool) -> None:
    assert readable.has_code_block(text) is code


def test_chains_that_differ_in_spacing_case_and_stops_alone_are_the_same() -> None:
    same = ["First 7+15=22. Then 22-3=19.", "first 7+15=22,  then 22-3=19", "First 7+15=22\nThen 22-3=19."]
    assert len({readable.fresh_key(one) for one in same}) == 1


def test_chains_that_differ_in_a_number_a_sign_or_a_word_are_not() -> None:
    apart = ["First 7+15=22", "First 7-15=22", "First 7+15=23", "Then 7+15=22", "First F-G:F>G", "First F-G:F>F"]
    assert len({readable.fresh_key(one) for one in apart}) == len(apart)


@given(st.text(max_size=200))
def test_a_key_is_its_own_key(text: str) -> None:
    key = readable.fresh_key(text)
    assert readable.fresh_key(key) == key


@pytest.mark.parametrize("junk", ["`" * 300_000, "字a" * 150_000, "\n" * 300_000, "=,. " * 80_000, "\0" * 300_000])
def test_hostile_text_costs_linear_time(junk: str) -> None:
    start = time.process_time()
    readable.speaks(junk, "en")
    readable.longest_paragraph(junk)
    readable.has_code_block(junk)
    readable.fresh_key(junk)
    assert time.process_time() - start < 2

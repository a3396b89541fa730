"""Every word is counted for the language of the phrase it stands in, and what is no word is not counted."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.language import codes, languages
from tests.bench import language as bench

LINES = {part: bench.sentences(part) for part in bench.PARTS}


@pytest.mark.parametrize("part", bench.PARTS)
def test_shares_are_within_5_points_of_their_labels(part: str) -> None:
    errors: dict[str, list[float]] = {"pure": [], "by sentence": [], "by phrase": []}
    for text in bench.texts(part):
        errors[text.kind].append(bench.error(text))
    assert sum(map(len, errors.values())) == 440
    assert max(errors["pure"]) <= 5 and max(errors["by sentence"]) <= 5
    phrases = errors["by phrase"]
    # Two or three words between phrases of a language that has them too stay with their neighbours: es/pt, en/fr.
    assert sum(error > 5 for error in phrases) <= 0.03 * len(phrases)
    assert sum(phrases) / len(phrases) < 1.0


def test_the_corpus_has_ten_languages_and_a_part_that_was_held_out() -> None:
    rows = [json.loads(line) for line in bench.CORPUS.read_text("utf-8").splitlines()]
    assert len(rows) == 360
    assert {row["language"] for row in rows} == set(bench.TEN)
    held = {row["text"] for row in rows if row["part"] == "held"}
    assert not held & {row["text"] for row in rows if row["part"] == "tune"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("also", {"en": 1}),
        ("Das ist also das Problem.", {"de": 5}),
        ("I want to die in the final", {"en": 7}),
        ("Die Summe ist gerade", {"de": 4}),
        ("no hay problema", {"es": 3}),
        ("não há problema", {"pt": 3}),
        ("il n'y a pas d'erreur", {"fr": 5}),
        ("Я и он в школе", {"ru": 5}),
        ("x는 3이다", {"ko": 2}),
        ("أولا أجمع العددين", {"ar": 3}),
        ("我们检查答案", {"zh": 3}),
        ("我們檢查答案", {"zh": 3}),
        ("答えを確認します", {"ja": 5}),
        ("we check 我们检查 y comprobamos la suma", {"en": 2, "zh": 2, "es": 4}),
        ("Prima sommo i due numeri", {"it": 5}),
        ("Najpierw dodaję obie liczby, a potem dzielę wynik przez trzy", {"?": 9}),
        ("Önce iki sayıyı toplarım, sonra üçe bölerim", {"?": 7}),
        ("asdf qwer zxcv uiop hjkl vbnm", {"?": 6}),
    ],
)
def test_words_are_counted_for_their_language(text: str, words: dict[str, int]) -> None:
    assert languages.tally(text) == words


NO_WORDS = """$x^2$|\\(a_n\\)|`print(total)`|x_1 + y_2|a^2 + b^2 = c^2|\\begin{align} x &= 1 \\end{align}|O(n log n)
3 cm|10 km/h|50 USD|5kg|f'(x)|sin(x)|n mod 7|H2O|gcd(12, 18) = 6|ABC|U.S.A.|A-C:A>C|math.sqrt|12pm|3rd|C++|isPrime
https://example.org/a-b|for (int i = 0; i < n; i++) {|if x > 3:|from math import sqrt|import math|max_value|a@b.org"""


@pytest.mark.parametrize("text", NO_WORDS.replace("\n", "|").split("|"))
def test_code_formulas_units_and_symbols_are_no_words(text: str) -> None:
    assert not languages.tally(text)
    assert languages.tally(f"我们检查\n{text}\n答案") == {"zh": 3}


@pytest.mark.parametrize(
    "text", ["Alice 有 3 个苹果", "有 3 个苹果 Alice", "有 3 个 Kowalczyk 苹果", "ABC 有 3 个苹果"]
)
def test_names_in_another_script_are_not_counted(text: str) -> None:
    assert languages.tally(text).keys() == {"zh"}


def test_dollars_around_a_formula_mask_it_and_dollars_before_an_amount_do_not() -> None:
    assert languages.tally("She pays $5 for apples and $6 for pears.") == {"en": 7}
    assert languages.tally("She pays $5x + y$ for $z$ pears.") == {"en": 4}


THEIRS = "erst zähle ich die roten Kugeln und dann noch die blauen"


@pytest.mark.parametrize(
    "hidden",
    [
        "先算WE DO SO IF IT IS ONE",
        "先算wE tAkE tHe aReA",
        "先算we.take.the.area然后",
        "先算WeTakeTheArea然后",
        "先算take-both-of-the-sides-and-divide-by-two然后",
    ],
)
def test_english_in_capitals_or_glued_together_is_counted_also_where_it_touches_chinese(hidden: str) -> None:
    assert languages.tally(hidden)["en"] >= 4


TAKE = "we take the area of the triangle"


@pytest.mark.parametrize(
    "hidden",
    [
        " ".join(f"`{word}`" for word in TAKE.split()),
        " ".join(f"${word}$" for word in TAKE.split()),
        " ".join(f"{word}({at})" for at, word in enumerate(TAKE.split())),
        "$" + " \\cdot ".join(TAKE.split()) + "$",
        f"$\\text{{{TAKE}}} = 3 + 4 = 7$",
        f"\\[ x = 3 + 4 + 5 \\quad \\text{{{TAKE}}} \\]",
        "".join(f"&#{ord(letter)};" if letter != " " else letter for letter in TAKE),
        TAKE.translate(str.maketrans("aeo", "аео")),
    ],
)
def test_marks_of_code_around_each_word_and_letters_in_disguise_hide_no_sentence(hidden: str) -> None:
    for frame, others in (("先算 {} 然后", 2), ("Сначала {} потом", 2)):
        counts = languages.tally(frame.format(hidden))
        assert (counts["en"], counts.total() - counts["en"]) == (7, others)


@pytest.mark.parametrize(
    "marks",
    [
        "`print` `len` `sorted` `map` `zip` `range`",
        "$a$ $b$ $area$ $sum$ $max$ $total$",
        "f(x) g(x) sum(x) max(x) len(x) print(x)",
        "$x = 3 \\text{ for all } n$",
        "a &lt; b &amp; c",
    ],
)
def test_names_in_marks_of_code_are_no_words(marks: str) -> None:
    assert languages.tally(f"先算 {marks} 然后") == {"zh": 2}


def test_a_program_s_names_and_labels_beside_chinese_are_no_english() -> None:
    assert set(languages.tally("调用getElementById和isPrime函数，设ABC、BCD、CDE、DEF为三角形")) == {"zh"}


def test_a_word_that_only_another_language_has_is_of_that_one_within_a_phrase_too() -> None:
    assert languages.tally("Die Funktion ist increasing auf dem ganzen Intervall.") == {"de": 7, "en": 1}
    assert languages.tally("Najpierw dodaję obie liczby do sumy, a potem dzielę to wszystko")["en"] == 0


def test_comments_of_a_program_in_a_fence_are_no_words_beside_its_statements() -> None:
    source = "```python\ndef add(first, second):\n    # return the sum of both numbers\n    return first + second\n```"
    assert languages.tally(f"Das Programm:\n{source}\nDie Funktion addiert.") == {"de": 5}


@pytest.mark.parametrize(
    "hidden",
    [
        f"```\n{THEIRS}\n```",
        f"`{THEIRS}`",
        f"${THEIRS}$",
        f"$$\\text{{{THEIRS}}}$$",
        " ".join(f"\\{word}" for word in THEIRS.split()),
        " ".join(f"<{word}>" for word in THEIRS.split()),
        THEIRS.replace(" ", "_"),
        "https://example.org/" + "-".join(2 * THEIRS.split()),
        "\u200b".join(THEIRS),
        " ".join(THEIRS.replace(" ", "")),
        THEIRS + " }",
    ],
)
def test_sentences_marked_as_code_are_counted_all_the_same(hidden: str) -> None:
    counts = languages.tally(f"First I add. {hidden}")
    assert counts["en"] / counts.total() < 0.5


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"),
        ("zh-CN", "zh"),
        ("PT_br", "pt"),
        (" de ", "de"),
        ("el", "el"),
        ("pl", None),
        ("", None),
        ("jp", "ja"),
        ("cn", "zh"),
        ("English", "en"),
        ("中文", "zh"),
        ("हिन्दी", "hi"),
    ],
)
def test_a_tag_is_known_by_its_language(tag: str, code: str | None) -> None:
    assert codes.base(tag) == code


@pytest.mark.parametrize(
    ("called", "tag"),
    [
        ("Chinese", "zh"),
        ("cn", "zh"),
        ("zho", "zh"),
        ("Simplified Chinese", "zh"),
        ("zh-CN", "zh-CN"),
        ("pt_BR", "pt_BR"),
        ("Turkish", "tr"),
        ("pl", "pl"),
        ("eu", "eu"),
        ("Basque", None),
        ("python", None),
        ("cpp", None),
        ("", None),
    ],
)
def test_what_a_data_set_calls_a_language_becomes_a_tag_and_a_tag_stays(called: str, tag: str | None) -> None:
    assert codes.tag(called) == tag


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_has_a_count(noise: str) -> None:
    counts = languages.tally(noise)
    assert all(count > 0 for count in counts.values())
    assert counts == languages.tally(noise)
    assert languages.target_of(noise) in {*codes.KNOWN, None}


TWO = st.lists(st.sampled_from(bench.TEN), min_size=2, max_size=2, unique=True)


@settings(max_examples=100, deadline=None)
@given(TWO, st.integers(0, 35), st.integers(0, 35))
def test_the_share_of_two_texts_together_lies_between_their_own(two: list[str], first: int, second: int) -> None:
    mine, theirs = (
        bench.piece(language, (LINES["tune"][language] + LINES["held"][language])[at])
        for language, at in zip(two, (first, second), strict=True)
    )
    counts = languages.tally(f"{mine.written}\n{theirs.written}")
    assert 0 < counts[mine.language] / counts.total() < 1
    assert counts[mine.language] / counts.total() == pytest.approx(mine.words / (mine.words + theirs.words), abs=0.08)


PIECES = [
    "word ",
    "a ",
    "A b ",
    "先",
    "あ",
    "ア",
    "漢字かな ",
    "слово ",
    "가",
    "$",
    "$5 for ",
    "\\a ",
    "<a> ",
    "_",
    "a_",
    "-",
    "'",
]


@pytest.mark.parametrize(
    "piece", [*PIECES, "a-", "é", "\u0301", ".", "(", "http://", "x1", "\u200b", "ﷺ", "Aa", "A ", "a\n"]
)
def test_a_megabyte_is_read_in_linear_time(piece: str) -> None:
    noise = piece * (200_000 // len(piece.encode()))
    start = time.process_time()
    languages.tally(noise)
    assert time.process_time() - start < 5  # quadratic would take hours

"""Answers in words: names, months, "no solution", yes and no. Two normalised texts enter, equal or not leaves."""

from __future__ import annotations

import re

from stages.rewards.mathematics.expression_tokens import FUNCTIONS, GREEK
from stages.rewards.mathematics.numbers import NUMBER_WORDS

_WORDS = re.compile(r"(?:[^\W\d_]|[\s.,'’()]|(?<=[^\W\d_])-(?=[^\W\d_]))+")
_WORD = re.compile(r"[^\W\d_]{3}|[^\x00-\x7f]|^[^\W\d_]{2}$")
_NAMING = re.compile(r"=|\b(?:is|are|was|were|be|has|have)\b|[是为為:：]")
_NO_WORDS = re.compile(r"[\d+*/^<>]|^-")
_DENIED = re.compile(r"\b(?:not|cannot|never|neither|nor|or|except)\b|n['’]t\b|[不非]", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:the|a|an) ")
_PHRASE = re.compile(r"\\?[^\W\d_](?:[^\W\d_]|[\s'’-])*")
_YES, _NO = (
    frozenset(("yes", "true", "correct", "是", "对", "正确")),
    frozenset(("no", "false", "incorrect", "否", "错误")),
)
_KNOWN = FUNCTIONS | {"sqrt", "infinity", "infty", "inf", "mod", *GREEK}
_TENS = {
    word: str(10 * value)
    for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_WORDS_OF_NUMBERS = {**NUMBER_WORDS, **_TENS, "fifteen": "15"}
_NUMBER_WORD = re.compile(rf"(?:\b(minus|negative) )?\b({'|'.join(_WORDS_OF_NUMBERS)})\b", re.IGNORECASE)
_COUNTS = {"a": "1", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
_PARTS = {"half": "2", "third": "3", "quarter": "4", "fourth": "4", "fifth": "5", "sixth": "6", "eighth": "8"}
_PART_WORD = re.compile(rf"\b({'|'.join(_COUNTS)})[ -]({'|'.join(_PARTS)})s?\b", re.IGNORECASE)
_CALENDAR = re.compile(
    r"\b(january|february|march|april|may|june|july|august|september|october|november|december"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_MEANINGS = {
    phrase: meaning
    for meaning, phrases in {
        "∅": "no solution;no solutions;no real solution;no real solutions;there is no solution;there are no solutions"
        ";there are no real solutions;empty set;the empty set;emptyset;varnothing;无解;空集;no such number exists",
        "ℝ": "all real numbers;all reals;the real numbers;real numbers;the set of all real numbers;mathbb r;reals"
        ";全体实数;实数集",
        "dne": "does not exist;dne;doesnt exist;不存在",
        "∞": "infinity;infty;positive infinity;无穷;无穷大",
    }.items()
    for phrase in phrases.split(";")
}


def is_words(text: str) -> bool:
    """Say whether a gold answer is a word or phrase, to be compared letter by letter: no digits, operators or LaTeX."""
    return _WORDS.fullmatch(text) is not None and _WORD.search(text) is not None


def meaning(text: str) -> str:
    """Return the symbol that a phrase such as "no solution" stands for (∅, ℝ, ∞, dne), "" for any other text."""
    return _MEANINGS.get(_letters(text), "") if _PHRASE.fullmatch(text) else ""


def may_be_formula(given: str, wanted: str) -> bool:
    """Say whether a gold in letters may be a product or a function instead of words: abc, sin x, and not "tea", of
    which "eat" is another word."""
    names = re.findall(r"[^\W\d_]+", wanted)
    if not all(len(name) <= 2 or name.lower() in _KNOWN for name in names) and (len(names) > 1 or len(names[0]) > 3):
        return False
    ordered = wanted in "abcdefghijklmnopqrstuvwxyz"
    return ordered or sorted(given) != sorted(wanted) or not set(wanted) & set("aeiou")


def as_digits(text: str) -> str:
    """Return a text whose only number is in words with digits in their place: "two cows" as "2 cows", "a quarter of a
    cup" as "1/4 of a cup", "minus six"; any other text as it is."""
    if any(letter.isdigit() for letter in text):
        return text
    parts = _PART_WORD.findall(text)
    if len(parts) == 1:
        return _PART_WORD.sub(lambda part: f"{_COUNTS[part[1].lower()]}/{_PARTS[part[2].lower().rstrip('s')]}", text)
    found = [] if parts else _NUMBER_WORD.findall(text)
    return _NUMBER_WORD.sub(_digits, text) if len(found) == 1 else text


def _digits(match: re.Match[str]) -> str:
    return f"{'-' if match[1] else ''}{_WORDS_OF_NUMBERS[match[2].lower()]}"


def same_day(given: str, wanted: str) -> bool:
    """Say whether no month and no weekday differs where both texts name one."""
    theirs, gold = ([name.lower() for name in _CALENDAR.findall(text)] for text in (given, wanted))
    return not theirs or not gold or theirs == gold


def same_date(given: str, wanted: str) -> bool:
    """Say whether both texts are a day of the same month with the same numbers: March 14, 2025 and 14 March 2025."""
    theirs, gold = (
        [*sorted(_CALENDAR.findall(text.lower())), *sorted(re.findall(r"\d+", text))] for text in (given, wanted)
    )
    return len(gold) > 1 and not gold[0].isdigit() and theirs == gold


def same(given: str, wanted: str) -> bool:
    """Compare texts by their letters; a list of names in any order; "no solution" and the like by what they mean."""
    given, first = given.replace("*", ""), _letters(wanted)
    spoken = (_YES | _NO).intersection(_letters(given).split())
    if first in _YES | _NO and len(spoken) == 1 and _letters(given).split()[0] in spoken:
        return spoken <= (_YES if first in _YES else _NO)
    if _NO_WORDS.search(given):
        return False
    *head, said = _NAMING.split(given)
    if head and _DENIED.search("".join(head)):
        return False
    second = _ARTICLE.sub("", _letters(said))
    if first in (second, _letters(said)) or (first in _MEANINGS and _MEANINGS[first] == _MEANINGS.get(second)):
        return True
    names = [
        sorted(_letters(part) for part in re.split(r",|\band\b|和", text) if part.strip()) for text in (wanted, said)
    ]
    return "," in wanted and names[0] == names[1]


def _letters(text: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+", text.casefold()))

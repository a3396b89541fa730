"""Answers in words: names, months, "no solution", yes and no. Two normalised texts enter, equal or not leaves."""

from __future__ import annotations

import re

from stages.rewards.mathematics import signs
from stages.rewards.mathematics.expression_tokens import FUNCTIONS, GREEK

_WORDS = re.compile(r"(?:[^\W\d_]|[\s.,'’()]|(?<=[^\W\d_])-(?=[^\W\d_]))+")
_WORD = re.compile(r"[^\W\d_]{3}|[^\x00-\x7f]|^[^\W\d_]{2}$")
_NAMING = re.compile(r"=|\b(?:is|are|was|were|be|has|have)\b|[是为為:：]")
_NO_WORDS = re.compile(r"[\d+*/^<>]|^-")
LONG = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_DENIED = re.compile(r"\b(?:not|cannot|never|neither|nor|or|except)\b|n['’]t\b|[不非]", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:the|a|an) ")
_PHRASE = re.compile(r"\\?[^\W\d_](?:[^\W\d_]|[\s'’-])*")
_YES, _NO = (
    frozenset(("yes", "true", "correct", "是", "对", "正确")),
    frozenset(("no", "false", "incorrect", "否", "错误")),
)
_KNOWN = FUNCTIONS | {"sqrt", "infinity", "infty", "inf", "mod", *GREEK}
_GENOTYPE = re.compile(r"(?:([A-Za-z])(?i:\1))+")
_MEANINGS = {
    phrase: meaning
    for meaning, phrases in {
        "∅": "no solution;no solutions;no real solution;no real solutions;there is no solution;there are no solutions"
        ";there are no real solutions;empty set;the empty set;emptyset;varnothing;无解;空集;no such number exists",
        "ℝ": "all real numbers;all reals;the real numbers;real numbers;the set of all real numbers;mathbb r;reals"
        ";全体实数;实数集",
        "dne": "does not exist;dne;doesnt exist;不存在",
        "∞": "infinity;infty;positive infinity;plus infinity;无穷;无穷大",
        "-∞": "negative infinity;minus infinity;负无穷;负无穷大",
        "ℚ": "rational numbers;all rational numbers;the rational numbers;the rationals;mathbb q;有理数集",
        "ℤ": "integers;all integers;the integers;mathbb z;整数集",
        "ℕ": "natural numbers;all natural numbers;the natural numbers;mathbb n;自然数集",
        "ℂ": "complex numbers;all complex numbers;the complex numbers;mathbb c;复数集",
    }.items()
    for phrase in phrases.split(";")
}


_LABEL = re.compile(r"(?:^|[\s,;.])(?:and\s)?\(?([a-h]|[ivx]{1,4})\)\s")
_OF_ALL = re.compile(r"^the set of (?:all )?(?:the )?", re.IGNORECASE)
_SUBJECT = re.compile(
    r"^(?:(?:the|this|that|given|infinite|improper)\s)*(?:it|limit|series|sequence|integral|sum|derivative)\s"
    r"(?=(?:does|do|diverges?|converges?|exists?)\b)",
    re.IGNORECASE,
)


def is_words(text: str) -> bool:
    """Say whether a gold answer is a word or phrase, to be compared letter by letter: no digits, operators or LaTeX."""
    return _WORDS.fullmatch(text) is not None and _WORD.search(text) is not None


def meaning(text: str) -> str:
    """Return the symbol that a phrase such as "no solution" stands for (∅, ℝ, ∞, dne), "" for any other text."""
    bare = _SUBJECT.sub("", _OF_ALL.sub("", text))
    return _MEANINGS.get(_letters(bare), "") or _MEANINGS.get(_letters(text), "") if _PHRASE.fullmatch(text) else ""


def may_be_formula(given: str, wanted: str) -> bool:
    """Say whether a gold in letters may be a product or a function instead of words: abc, sin x, and not "tea", of
    which "eat" is another word."""
    names = re.findall(r"[^\W\d_]+", wanted)
    if not all(len(name) <= 2 or name.lower() in _KNOWN for name in names) and (len(names) > 1 or len(names[0]) > 3):
        return False
    ordered = wanted in "abcdefghijklmnopqrstuvwxyz"
    return ordered or sorted(given) != sorted(wanted) or not set(wanted) & set("aeiou")


def same_case(given: str, wanted: str) -> bool:
    """Say whether two texts differ at most in capitals that mean nothing: Even and even, not PB and Pb."""
    for one, other in zip(*(re.findall(r"[^\W\d_]+", text) for text in (given, wanted)), strict=False):
        styles = [(word.islower(), word.istitle(), word.isupper()) for word in (one, other)]
        if one == other or one.casefold() != other.casefold() or one.casefold() in _YES | _NO:
            continue
        plain = all(map(any, styles)) and (len(one) > 2 or (len(one) == 2 and not styles[0][2] and not styles[1][2]))
        if not plain or _GENOTYPE.fullmatch(one):
            return False
    return True


def same(given: str, wanted: str) -> bool:
    """Compare texts by their letters; a list of names in any order; "no solution" and the like by what they mean."""
    given, first = given.replace("*", ""), _letters(wanted)
    given = given if _SUBJECT.match(wanted) else _SUBJECT.sub("", given)
    spoken = (_YES | _NO).intersection(_letters(given).split())
    if first in _YES | _NO and len(spoken) == 1 and _letters(given).split()[0] in spoken:
        return spoken <= (_YES if first in _YES else _NO)
    if _NO_WORDS.search(given):
        return False
    *head, said = _NAMING.split(given)
    if head and _DENIED.search("".join(head)):
        return False
    second = _ARTICLE.sub("", _letters(said))
    if not same_case(said, wanted):
        return False
    if first in (second, _letters(said)) or (first in _MEANINGS and _MEANINGS[first] == _MEANINGS.get(second)):
        return True
    names = [
        sorted(_letters(part) for part in re.split(r",|\band\b|和", text) if part.strip()) for text in (wanted, said)
    ]
    return "," in wanted and names[0] == names[1]


def _letters(text: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+", text.casefold()))


def lists(text: str) -> bool:
    """Say whether a text offers more than one answer: "or", or a comma outside brackets that is no thousands
    separator."""
    if re.search(r"\bor\b|或|\band\b|和", text):
        return True
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and (letter == ";" or (letter == "," and not re.match(r",\d{3}(?!\d)", text[at : at + 5]))):
            return True
    return False


def labelled(text: str) -> dict[str, str]:
    """Part "(a) 12; (b) 5" into its labels and what stands behind each; {} where labels are absent or recur."""
    pieces = _LABEL.split(text)
    found = dict(zip(pieces[1::2], (piece.strip(" \t\n,;.") for piece in pieces[2::2]), strict=True))
    whole = not pieces[0].strip() and len(found) == len(pieces) // 2 > 1 and all(found.values())
    return found if whole else {}


def squeezed(text: str) -> str:
    """Write signs as LaTeX does and drop the whitespace that separates nothing: all but that between two letters or
    digits."""
    return re.sub(r"(?<![^\W_])\s|\s(?![^\W_])", "", " ".join(signs.latex(text).split()))


def lowered(text: str) -> str:
    """Drop such whitespace, and the capitals of words; those of single letters are names."""
    return squeezed(LONG.sub(lambda word: word.group().lower(), text))

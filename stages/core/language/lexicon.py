"""How likely a word is in each language of one script: tables that `stages.core.language.languages` decides with.

Words enter; natural logarithms of their probabilities leave. The tables are wordfreq's small lists (every word above
one in a million), read on first use: half a second and 80 MB for the seven languages in Latin letters, a third of that
for those in Cyrillic or Arabic letters. The lists come from the web and hold each other's words: the web says `the` in
every language. So what a list has of a word is taken for a quotation where another language says it far oftener. Here
nothing looks at a word's neighbours.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.language.swahili import WORDS as SWAHILI

FAMILIES = {
    "latin": ("en", "de", "fr", "es", "pt", "it", "nl"),
    "cyrillic": ("ru", "uk", "bg", "mk"),
    "arabic": ("ar", "fa", "ur"),
}
"""The languages of one script that are told apart; the order of every tuple of likelihoods."""
GUESTS = frozenset({"sw", "vi"})
"""Languages in Latin letters that are only looked for where they are asked for: a last likelihood, then."""

ANY = {"latin": -12.0, "cyrillic": -13.5, "arabic": -13.5}
"""What every word costs in no language that is known here."""
ABSENT = -17.0
"""What a word costs in a language whose list lacks it; the rarest listed ones cost about 13.8."""
_WORTH = -14.0  # in character models: what the likeliest language is given for a word that no list knows
_FAINT, _UNLIKELY = 0.5, 3.0  # … what a nat of difference to another one is worth, and the most that it may lie below
_ORDINARY = -8.5  # a trigram's mean log-probability in a word of the language; below it a word is of none
_STRANGE = 2.0  # … and what each nat below costs
_TYPES = 6000  # words a language's character model learns from: its most frequent ones
_QUOTED, _QUOTED_LEADING = math.exp(-6.0), math.exp(-4.2)  # share of one language's words in another one's list
_LEADING = frozenset({"en", "ru", "ar"})  # what the others of the script quote most
_SPOKEN_LEAST = math.exp(-15.0)

Likelihoods = tuple[float, ...]


class Known(NamedTuple):
    """What is known of a lower-case word: log P(word) in each language of a family, a guest and none of them, and how
    it is listed."""

    scores: Likelihoods
    listed: bool
    """Whether a list has it; else its characters are judged."""
    top: float
    """Its greatest log-probability in the lists."""
    lead: float
    """How far that lies above the mean of the others; small for names, which are known everywhere."""


@lru_cache(maxsize=1 << 16)
def known(word: str, family: str = "latin", guest: str = "") -> Known:
    """Return what is known of a word; one that no list has is judged by its longest parts that one has, where a hyphen
    joins several, and else by its character trigrams."""
    table = _table(family)
    found = table.get(word)
    visiting = _guest(guest).get(word) if guest else None
    if found is None and visiting is None and ("-" in word or "'" in word):
        parts = [part for part in word.replace("'", "-").split("-") if len(part) > 1]
        several = [scores for part in parts if (scores := table.get(part)) is not None]
        if several:
            found = tuple(max(ABSENT, sum(column) / len(several)) for column in zip(*several, strict=True))
    if found is None and visiting is None:
        scores = _by_characters(word, family, guest)
        return Known((*scores, ANY[family]), False, max(scores), 0.0)
    raw = found or (ABSENT,) * len(FAMILIES[family])
    top = max(raw)
    lead = top - (sum(raw) - top) / (len(raw) - 1)
    scores = _unquoted(raw, FAMILIES[family])
    if guest:
        scores = (*scores, ABSENT if visiting is None else visiting)
    return Known((*scores, ANY[family]), True, top, lead)


def _unquoted(raw: Likelihoods, languages: tuple[str, ...]) -> Likelihoods:
    """Take from each likelihood what the list's quotations of the other languages explain."""
    chances = [math.exp(score) if score > ABSENT else 0.0 for score in raw]
    quoted = [
        chance * (_QUOTED_LEADING if language in _LEADING else _QUOTED)
        for chance, language in zip(chances, languages, strict=True)
    ]
    most = max(quoted)
    left = [chance - (most if most != mine else 0.0) for chance, mine in zip(chances, quoted, strict=True)]
    return tuple(math.log(chance) if chance > _SPOKEN_LEAST else ABSENT for chance in left)


def _by_characters(word: str, family: str, guest: str) -> Likelihoods:
    """Judge an unknown word by its trigrams: the likeliest language gets _WORTH, the others up to _UNLIKELY less, and
    all of them less where the word is unlike the words of any."""
    names = FAMILIES[family]
    grams = _grams(word[:24])
    table, missing = _trigrams(family)
    sums = [0.0] * len(names)
    for gram in grams:
        sums = [total + score for total, score in zip(sums, table.get(gram, missing), strict=True)]
    if guest:
        theirs, lacking = _guest_trigrams(guest)
        sums.append(sum(theirs.get(gram, lacking) for gram in grams))
    top = max(sums)
    strange = _STRANGE * max(0.0, _ORDINARY - top / len(grams))
    return tuple(_WORTH - strange - min(_UNLIKELY, _FAINT * (top - total)) for total in sums)


def _grams(word: str) -> list[str]:
    padded = f"^{word}$"
    return [padded[at : at + 3] for at in range(len(padded) - 2)]


@cache
def _trigrams(family: str) -> tuple[dict[str, Likelihoods], Likelihoods]:
    """Trigram -> its log-probability in each language (add one half), and those of a trigram never seen."""
    table = _table(family)
    counts: list[Counter[str]] = []
    for column in range(len(FAMILIES[family])):
        ranked = sorted(((scores[column], word) for word, scores in table.items() if scores[column] > ABSENT))
        counts.append(Counter(gram for _, word in ranked[-_TYPES:] for gram in _grams(word)))
    totals = [count.total() + 0.5 * 8000 for count in counts]
    found = {
        gram: tuple(math.log((count[gram] + 0.5) / total) for count, total in zip(counts, totals, strict=True))
        for gram in set().union(*counts)
    }
    return found, tuple(math.log(0.5 / total) for total in totals)


@cache
def _guest_trigrams(language: str) -> tuple[dict[str, float], float]:
    ranked = sorted(((score, word) for word, score in _guest(language).items()), reverse=True)[:_TYPES]
    count = Counter(gram for _, word in ranked for gram in _grams(word))
    total = count.total() + 0.5 * min(8000, 2 * len(count))
    return {gram: math.log((seen + 0.5) / total) for gram, seen in count.items()}, math.log(0.5 / total)


@cache
def _table(family: str) -> dict[str, Likelihoods]:
    merged: dict[str, list[float]] = {}
    names = FAMILIES[family]
    for column, language in enumerate(names):
        for word, score in words(language).items():
            merged.setdefault(word, [ABSENT] * len(names))[column] = score
    return {word: tuple(scores) for word, scores in merged.items()}


@cache
def _guest(language: str) -> dict[str, float]:
    if language == "sw":  # Zipf's law: the n-th word is said about a tenth of 1/n of the time
        return {word: math.log(0.1 / (rank + 2)) for rank, word in reversed([*enumerate(SWAHILI)])}
    return words(language)


def words(language: str) -> dict[str, float]:
    """Return word -> log-probability from wordfreq's small list, where the n-th bucket holds words of 10**(-n/100)."""
    return {
        word: -bucket * math.log(10) / 100
        for bucket, listed in enumerate(packed(f"small_{language}")[1:])
        for word in listed
    }


def packed(name: str) -> Any:
    """Return one of wordfreq's data files; read without `import wordfreq`, whose own imports cost half a second."""
    import msgpack

    spec = find_spec("wordfreq")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'wordfreq'", name="wordfreq")
    with gzip.open(Path(spec.origin).parent / "data" / f"{name}.msgpack.gz") as file:
        return msgpack.load(file, raw=False, strict_map_key=False)

"""How likely a word, a character or a cut is in a language: tables that `stages.core.language.languages` decides with.

Words enter; natural logarithms of their probabilities leave. The tables are wordfreq's small lists (every word above
one in a million), read on first use: half a second and 80 MB for the seven languages in Latin letters, 0.2 seconds and
15 MB for Chinese and Japanese. Here nothing looks at a word's neighbours.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter, defaultdict
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LATIN = ("en", "de", "fr", "es", "pt", "it", "nl")
"""The languages in Latin letters that are told apart; the order of every tuple of likelihoods."""

ABSENT = -17.0
"""What a word costs in a language whose list lacks it; the rarest listed ones cost about 13.8."""
_WORTH = -14.0  # in character models: what the likeliest language is given for a word that no list knows
_UNLIKELY = 6.0  # … and the most that another one may lie below it
_TYPES = 6000  # words a language's character model learns from: its most frequent ones
_LONGEST = 8  # Japanese words that are looked up, in characters

Likelihoods = tuple[float, ...]


@lru_cache(maxsize=1 << 16)
def likelihoods(word: str) -> tuple[Likelihoods, bool]:
    """Return log P(word) in each of LATIN for a lower-case word, and whether any list knows it.

    A word that no list knows is judged by its character trigrams, and by its longest part where a hyphen joins several.
    """
    found = _latin().get(word)
    if found is not None:
        return found, True
    if "-" in word or "'" in word:
        parts = [part for part in word.replace("'", "-").split("-") if len(part) > 1]
        known = [scores for part in parts if (scores := _latin().get(part)) is not None]
        if known:
            return tuple(max(ABSENT, sum(column) / len(known)) for column in zip(*known, strict=True)), True
    return _by_characters(word), False


def simplified(text: str) -> str:
    """Return a Chinese text with each traditional character replaced by its simplified one."""
    return text.translate(_simple_forms())


@cache
def han() -> dict[str, float]:
    """Character or word of two -> log P(it | Chinese) - log P(it | Japanese); above 0: rather Chinese.

    Over the Chinese characters of either's words, a character's share taken of the running text with its kana, a word
    that one list lacks at ABSENT. A traditional character has its simplified form's Chinese probability.
    """
    chinese, japanese, simple = _words("zh"), _words("ja"), _simple_forms()
    chinese_share, japanese_share = _characters(chinese), _characters(japanese)
    least = 1e-6
    weights = {
        char: math.log(
            max(least, chinese_share.get(char, 0.0), chinese_share.get(simple.get(ord(char), char), 0.0))
            / max(least, japanese_share.get(char, 0.0))
        )
        for char in {*chinese_share, *japanese_share, *map(chr, simple)}
        if char > "\u31ff"
    }
    for pair in {*chinese, *japanese}:
        if len(pair) == 2 and min(pair) > "\u31ff":
            weights[pair] = chinese.get(pair, ABSENT) - japanese.get(pair, ABSENT)
    return weights


def chinese_words(run: str) -> int:
    """Return how many words a run of Chinese characters holds, as jieba cuts it."""
    import rjieba

    return len(rjieba.cut(simplified(run)))


def japanese_words(run: str) -> int:
    """Return how many words a run of kana and Chinese characters holds in its likeliest cut (short units, as MeCab's).

    One pass from the end; no word is longer than 8 characters, save a run in katakana, which callers count as one.
    """
    table, length = _japanese(), len(run)
    best = [0.0] * (length + 1)
    count = [0] * (length + 1)
    for start in range(length - 1, -1, -1):
        top, words = best[start + 1] + table.get(run[start], ABSENT - 3.0), count[start + 1]
        for end in range(start + 2, min(length, start + _LONGEST) + 1):
            score = table.get(run[start:end])
            if score is not None and score + best[end] > top:
                top, words = score + best[end], count[end]
        best[start], count[start] = top, words + 1
    return count[0]


def _by_characters(word: str) -> Likelihoods:
    """Judge an unknown word by its trigrams: the likeliest language gets _WORTH, the others up to _UNLIKELY less."""
    table, missing = _trigrams()
    sums = [0.0] * len(LATIN)
    for gram in _grams(word[:24]):
        sums = [total + score for total, score in zip(sums, table.get(gram, missing), strict=True)]
    top = max(sums)
    return tuple(_WORTH - min(_UNLIKELY, top - total) for total in sums)


def _grams(word: str) -> list[str]:
    padded = f"^{word}$"
    return [padded[at : at + 3] for at in range(len(padded) - 2)]


@cache
def _trigrams() -> tuple[dict[str, Likelihoods], Likelihoods]:
    """Trigram -> its log-probability in each language (add one half), and those of a trigram never seen."""
    counts: list[Counter[str]] = []
    for column in range(len(LATIN)):
        ranked = sorted(((scores[column], word) for word, scores in _latin().items() if scores[column] > ABSENT))
        counts.append(Counter(gram for _, word in ranked[-_TYPES:] for gram in _grams(word)))
    totals = [count.total() + 0.5 * 8000 for count in counts]
    table = {
        gram: tuple(math.log((count[gram] + 0.5) / total) for count, total in zip(counts, totals, strict=True))
        for gram in set().union(*counts)
    }
    return table, tuple(math.log(0.5 / total) for total in totals)


@cache
def _latin() -> dict[str, Likelihoods]:
    merged: dict[str, list[float]] = {}
    for column, language in enumerate(LATIN):
        for word, score in _words(language).items():
            merged.setdefault(word, [ABSENT] * len(LATIN))[column] = score
    return {word: tuple(scores) for word, scores in merged.items()}


@cache
def _japanese() -> dict[str, float]:
    return _words("ja")


def _characters(words: dict[str, float]) -> dict[str, float]:
    """Character -> its share of a language's running text, by its word list."""
    weights: dict[str, float] = defaultdict(float)
    for word, score in words.items():
        for char in word:
            weights[char] += math.exp(score)
    total = sum(weights.values())
    return {char: weight / total for char, weight in weights.items()}


def _words(language: str) -> dict[str, float]:
    """Word -> log-probability from wordfreq's small list, where the n-th bucket holds words of 10**(-n/100)."""
    return {
        word: -bucket * math.log(10) / 100
        for bucket, words in enumerate(_packed(f"small_{language}")[1:])
        for word in words
    }


@cache
def _simple_forms() -> dict[int, str]:
    """Traditional character's code point -> simplified character."""
    return dict(_packed("_chinese_mapping"))


def _packed(name: str) -> Any:
    """One of wordfreq's data files; read without `import wordfreq`, whose own imports cost half a second."""
    import msgpack

    spec = find_spec("wordfreq")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'wordfreq'", name="wordfreq")
    with gzip.open(Path(spec.origin).parent / "data" / f"{name}.msgpack.gz") as file:
        return msgpack.load(file, raw=False, strict_map_key=False)

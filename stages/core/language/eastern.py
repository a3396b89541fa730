"""Chinese or Japanese: runs of Chinese characters and kana enter, their words counted by language leave.

Each character says something, the one before it with it, and a change of language costs: the likeliest sequence
decides. Kana are Japanese, but a name in katakana stands in Chinese sentences too; both write numerals and dates alike.
Tables are wordfreq's lists, read on first use: 0.2 seconds and 15 MB.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise

from stages.core.language.lexicon import ABSENT, packed, words
from stages.core.language.viterbi import blocks, likeliest

_WITHIN, _BETWEEN_RUNS = 12.0, 4.0  # nats: the price of a change inside a run; at a space
_ENTRIES = (0.0, 1.0)  # Chinese, Japanese
_KANA, _KATAKANA, _MOST = -12.0, -4.0, 5.0  # weight against Chinese of a kana, of a name in katakana; the most that one
# Chinese character can say
# Where Japanese is asked, a character that it writes too says less for Chinese: these nats less (Japanese has its kana
# beside), and this share; one that it hardly writes says all (们, 这, 對).
_SHARED, _WRITTEN_TOO, _HARDLY = 0.7, 0.3, 4.0
_ASKED = 2.0  # nats that the asked language is ahead with
_LONGEST = 8  # Japanese words that are looked up, in characters
_DATES = frozenset("〇零一二三四五六七八九十百千万億年月日第")
_KATAKANA_RUN = re.compile("[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff]+")


def count(runs: list[tuple[str, float]], counts: Counter[str], asked: str) -> None:
    """Add the words of runs of Chinese characters and kana, each with the price of a change before it, to `counts`."""
    weights = _weights() if runs else {}
    pairs = [
        (char, min(price, _BETWEEN_RUNS) if at == 0 else _WITHIN) for run, price in runs for at, char in enumerate(run)
    ]
    starts = {0}
    place = 0
    for run, _ in runs:
        place += len(run)
        starts.add(place)
    entries = (_ENTRIES[0], 0.0) if asked == "ja" else _ENTRIES
    opening = (_ASKED, 0.0) if asked == "ja" else _ENTRIES
    states: list[int] = []
    for block in blocks(pairs):
        says = [_chinese(weights, before, char) for (before, _), (char, _) in pairwise([("", 0.0), *block])]
        if asked == "ja":
            says = [_where_asked(say, weights.get(char, 0.0)) for say, (char, _) in zip(says, block, strict=True)]
        states += likeliest([price for _, price in block], [(say, 0.0) for say in says], entries, opening)
    first = 0
    for at in range(1, len(pairs) + 1):
        if at == len(pairs) or at in starts or states[at] != states[first]:
            part = "".join(char for char, _ in pairs[first:at])
            if states[first] == 0:  # a name in katakana is of no language here
                counts["zh"] += sum(_chinese_words(one) for one in _KATAKANA_RUN.split(part) if one)
            else:
                counts["ja"] += _japanese(part)
            first = at


def _chinese(weights: dict[str, float], before: str, char: str) -> float:
    """Return how much a character, with the one before it, speaks for Chinese (and below 0 for Japanese)."""
    if "\u3041" <= char <= "\u309f":
        return _KANA
    if "\u30a0" <= char <= "\u31ff":
        return 0.0 if "\u30a0" <= before[-1:] <= "\u31ff" else _KATAKANA
    if char in _DATES and (not before or before in _DATES):
        return 0.0
    alone, pair = weights.get(char, 0.0), weights.get(before + char, 0.0)
    return max(-_MOST, min(_MOST, alone)) + 0.5 * max(-_MOST, min(_MOST, pair))


def _where_asked(says: float, alone: float) -> float:
    """Return what a character says for Chinese where Japanese is asked for."""
    if abs(says) >= _MOST or alone >= _HARDLY:
        return says
    return min(says, _WRITTEN_TOO * says) - _SHARED


def _japanese(run: str) -> int:
    """A run in katakana is one word; what stands between is cut."""
    return len(_KATAKANA_RUN.findall(run)) + sum(_japanese_words(part) for part in _KATAKANA_RUN.split(run) if part)


def _simplified(text: str) -> str:
    """Return a Chinese text with each traditional character replaced by its simplified one."""
    return text.translate(_simple_forms())


@cache
def _weights() -> dict[str, float]:
    """Character or word of two -> log P(it | Chinese) - log P(it | Japanese); above 0: rather Chinese.

    Over the Chinese characters of either's words, a character's share taken of the running text with its kana, a word
    that one list lacks at ABSENT. A traditional character has its simplified form's Chinese probability.
    """
    chinese, japanese, simple = words("zh"), words("ja"), _simple_forms()
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


def _chinese_words(run: str) -> int:
    """Return how many words a run of Chinese characters holds, as jieba cuts it."""
    import rjieba

    return len(rjieba.cut(_simplified(run)))


def _japanese_words(run: str) -> int:
    """Return how many words a run of kana and Chinese characters holds in its likeliest cut (short units, as MeCab's).

    One pass from the end; no word is longer than 8 characters, save a run in katakana, which callers count as one.
    """
    table, length = _japanese_table(), len(run)
    best = [0.0] * (length + 1)
    cuts = [0] * (length + 1)
    for start in range(length - 1, -1, -1):
        top, found = best[start + 1] + table.get(run[start], ABSENT - 3.0), cuts[start + 1]
        for end in range(start + 2, min(length, start + _LONGEST) + 1):
            score = table.get(run[start:end])
            if score is not None and score + best[end] > top:
                top, found = score + best[end], cuts[end]
        best[start], cuts[start] = top, found + 1
    return cuts[0]


@cache
def _japanese_table() -> dict[str, float]:
    return words("ja")


def _characters(listed: dict[str, float]) -> dict[str, float]:
    """Character -> its share of a language's running text, by its word list."""
    weights: dict[str, float] = defaultdict(float)
    for word, score in listed.items():
        for char in word:
            weights[char] += math.exp(score)
    total = sum(weights.values())
    return {char: weight / total for char, weight in weights.items()}


@cache
def _simple_forms() -> dict[int, str]:
    """Traditional character's code point -> simplified character."""
    return dict(packed("_chinese_mapping"))

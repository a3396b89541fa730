"""Which language each word of a text is in: a text enters, words counted by language leave.

The language reward reads chains of thought through this file. What belongs to no language is masked first: code,
formulas, numbers, units, single letters that are no words, names. Scripts tell most languages apart. The languages that
share the Latin letters, and Chinese from Japanese, are told apart by the likeliest sequence (Viterbi 1967) under word
(for Chinese characters: character) frequencies and a price for each change of language, lower at a comma and lowest
between sentences: a word that two languages share belongs to the phrase it stands in. Linear in the text.

`scripts.script_of` and `scripts.language_words` stay the quick check for English and Chinese alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, TypeVar

from stages.core.language import lexicon, scripts
from stages.core.text import CJK

SCRIPTS = {
    "ARABIC": "ar",
    "ARMENIAN": "hy",
    "CYRILLIC": "ru",
    "GEORGIAN": "ka",
    "GREEK": "el",
    "HANGUL": "ko",
    "HEBREW": "he",
    "THAI": "th",
}
"""Scripts that stand for one language here, its most written one: first word of the letters' Unicode names -> code."""
KNOWN = frozenset({*SCRIPTS.values(), *lexicon.LATIN, "zh", "ja"})

_EAST = f"{CJK}\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3005-\u3007"
_HANGUL = "\uac00-\ud7a3\u1100-\u11ff\u3131-\u318e"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
_LETTER = rf"[^\W\d_{_EAST}{_HANGUL}]"
_TOKEN = re.compile(
    rf"(?P<word>{_LETTER}+(?:[{_MARKS}]+{_LETTER}*|['’ʼ‐‑-]{_LETTER}+)*)|(?P<east>[{_EAST}]+)|(?P<hangul>[{_HANGUL}]+)"
    r"|(?P<number>\d+)|(?P<end>[.!?。…؟۔;\n]+)|(?P<pause>[,،、:()\"«»„“”「」『』—–|¿¡]+)"
)
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff]+")
_LINK = re.compile(r"(?:https?://|www\.)\S+")
_SNAKE = re.compile(r"(?<![^\W_])(?:[^\W_]+_){5,}")
_SPELLED = re.compile(r"(?<!\S)(?:[A-Za-zÀ-ɏ] ){12,}")
_INVISIBLE = dict.fromkeys([0xAD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)])


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_BLOCKS = _set("def class for while if elif with")
_USED_AS_FUNCTION = re.compile(r"\s?(?:[(\d\\]|[a-zA-Zα-ω]\b)")
_OPENING = frozenset(':"«„“「『¿¡')
_JOINED = frozenset("_\\@#^=")  # beside a word: it is a part of code, a formula or a quantity
_SIGNS = frozenset("=+*/^<>(|-")  # before a single letter: it is an unknown
_UNITS = _set(
    "mm cm dm km kg mg lb lbs oz ft mi mph kmh min sec hr hrs ms ml cl dl mol rad deg pm usd eur gbp км см мм кг"
)
_DIFFERENTIALS = _set("dx dy dz dt")
_FUNCTIONS = _set("sin cos tan cot sec csc log ln exp lim mod gcd lcm max min arcsin arccos arctan")
_BEFORE_LONE = frozenset("aeoàéy")  # `e a`, `y o`: two such words in a row
_LONE = {"en": "aAI", "fr": "aàyôAÀ", "es": "aeoyuAEOY", "pt": "aeoàéAEOÀÉ", "it": "aeoièAEOIÈ", "ru": "аявиксоу"}
_LONE_ANYWHERE = frozenset().union(*_LONE.values())

_STATES = (*lexicon.LATIN, "?")  # the last: another language in Latin letters, or none

# Nats, chosen on the tuning part of tests/rewards/corpus_language.jsonl. The price of another language than before:
_CHANGE, _AT_PAUSE, _BESIDE_OTHERS, _AT_END = 7.5, 4.0, 3.5, 2.0
_WITHIN, _BETWEEN_RUNS = 12.0, 4.0  # inside a run of Chinese characters and kana; at a space
_ENTRIES = tuple({"it": 2.0, "nl": 2.0, "?": 5.0}.get(language, 0.0) for language in _STATES)  # on top of it
_EAST_ENTRIES = (0.0, 1.0)  # Chinese, Japanese
_ANY = -11.5  # what every word costs in no language that is known here
_KANA, _MOST = -12.0, 5.0  # weight of a kana against Chinese; the most that one Chinese character can say
# A name is known everywhere: a word this much likelier in one language than on average is no name, but a word of it.
_FLAT, _FLAT_FIRST = 3.0, 1.45  # inside a sentence; where every word has its capital
_FAMOUS = -7.5  # and no name is above 550 in a million (`In`, `No` are known everywhere too)
_COMMON = -10.8  # a word above 20 in a million is no name even with a capital
_LONE_ALIEN = -5.0  # a single letter in a language where it is no word
_BLOCK = 4000  # words (or characters) decided at a time, so that memory stays flat


Item = TypeVar("Item")


class _Word(NamedTuple):
    """A word in Latin letters: its lower-case form ("" for a single letter), the price of a change before it, and how
    it stands."""

    form: str
    price: float
    written: str
    opens: bool  # first in its sentence, or after another script
    alone: bool = False  # nothing but capitals stands between words of other scripts


def base(language: str) -> str | None:
    """Return the code of a language tag (`zh`, `zh-CN`, `PT_br`) whose words are told from all others', else None."""
    code = re.split("[-_]", language.strip().lower(), maxsplit=1)[0]
    return code if code in KNOWN else None


def target_of(problem: str) -> str | None:
    """Return the language (ISO 639-1) of most words of a prompt; None where it has none of a known one."""
    known = [(count, language) for language, count in tally(problem).items() if language in KNOWN]
    return max(known)[1] if known else None


def tally(source: str) -> Counter[str]:
    """Return the number of words in each language (ISO 639-1; `?` for scripts that stand for none).

    Words are what stands between spaces, in Korean too; in Chinese and Japanese what a dictionary cuts.
    """
    plain = "\n".join(line for line in source.translate(_INVISIBLE).split("\n") if not _is_code(line))
    plain = unicodedata.normalize("NFKC", _LINK.sub(_slug, scripts.prose(plain)))
    plain = _SNAKE.sub(lambda chain: chain.group().replace("_", " "), plain)  # no identifier has so many parts
    reader = _Reader(_SPELLED.sub("\n", plain))
    reader.read()
    counts = reader.counts
    if spelled := sum(len(letters) // 10 for letters in _SPELLED.findall(plain)):
        counts["?"] += spelled  # words of five letters, with blanks between them
    _count_latin(reader.latin, counts)
    _count_east(reader.east, counts)
    return +counts


def _slug(link: re.Match[str]) -> str:
    """An address is no words, unless it holds more of them than addresses do."""
    found = re.findall(r"[^\W_]+", link.group())
    return " ".join(found) if len(found) > 15 else " "


def _is_code(line: str) -> bool:
    """Say whether a line outside any fence is a statement of a program."""
    line = line.strip()
    first, _, rest = line.partition(" ")
    if first in _BLOCKS and line[-1] == ":":
        found = not _SIGNS.isdisjoint(rest) or "[" in rest or rest == "True:"
    elif first == "return":
        found = not _SIGNS.isdisjoint(rest)
    elif first == "import":
        found = rest.isidentifier()
    elif first == "from":
        found = " import " in rest
    else:
        found = line.endswith(("{", "}", ");", ">();")) or line in ("else:", "try:") or first == "#include"
    return found and "\\" not in line and not scripts.is_prose(line)


class _Reader:
    """One pass over a text: counts the words whose script says all, keeps the others with the prices between them."""

    def __init__(self, plain: str) -> None:
        self.plain = plain
        self.counts: Counter[str] = Counter()
        self.latin: list[_Word] = []
        self.east: list[tuple[str, float]] = []
        self._prices = {"latin": 0.0, "east": 0.0}
        self._opens = True
        self._last = ""  # what wrote the word before
        self._paused = False
        self._others = False  # a script other than Latin wrote in this sentence
        self._phrase = 0  # first word in `latin` of those that no other script interrupts
        self._after_number = -1

    def read(self) -> None:
        for match in _TOKEN.finditer(self.plain):
            kind = match.lastgroup
            if kind == "word":
                self._word(match.group(), match.start(), match.end())
            elif kind == "east":
                self.east.append((match.group(), self._prices["east"]))
                self._wrote("east")
            elif kind == "hangul":
                self.counts["ko"] += 1
                self._wrote("hangul")
            elif kind == "number":
                self._after_number = match.end()
            elif kind == "pause":
                self._cheaper(_AT_PAUSE)
                self._close_phrase(self._others)
                self._paused = True
                self._opens = self._opens or not _OPENING.isdisjoint(match.group())
            elif not (match.group() == "." and self.plain[match.end() : match.end() + 1].isalnum()):
                self._end()
        self._end()

    def _word(self, word: str, start: int, end: int) -> None:
        before, after = self.plain[start - 1 : start], self.plain[end : end + 1]
        if before in _JOINED or after in _JOINED or self._is_called(word, end) or self._is_unit(word, start):
            return
        if len(word) <= 3 and (before.isdigit() or after.isdigit()):
            return
        script = _script(word[0])
        if script != _script(word[-1]) and word[-1].isalpha():
            return
        if script == "LATIN":
            self._latin_word(word, start, end)
            return
        language = SCRIPTS.get(script, "?")
        if len(word) == 1:
            counted = language != "el" and word.lower() in _LONE.get(language, word) and word != "س"
        else:
            counted = self._opens or self._last != script or word.islower() or not word[0].isupper()
        self.counts[language] += counted
        self._wrote(script)

    def _latin_word(self, word: str, start: int, end: int) -> None:
        opens = self._opens or self._last != "latin"
        if len(word) == 1:
            if not self._is_lone_word(word, start, end, opens):
                return
        elif not word[1:].islower() and _is_symbol(word):
            return
        form = word.lower().replace("’", "'").replace("‐", "-").replace("‑", "-") if len(word) > 1 else ""
        self.latin.append(_Word(form, self._prices["latin"], word, opens))
        self._wrote("latin")

    def _is_lone_word(self, letter: str, start: int, end: int, opens: bool) -> bool:
        """Say whether a single letter may be a word: `a`, `I`, `y`, `à` before another word, not the unknown `a`."""
        if letter not in _LONE_ANYWHERE:
            return False
        if letter > "\x7f":
            return True
        after = self.plain[end : end + 3]
        if not (len(after) == 3 and after[0].isspace() and after[1].isalpha() and _script(after[1]) == "LATIN"):
            return False
        if not after[2].isalpha() and after[1] not in _BEFORE_LONE:
            return False
        if self.plain[max(0, start - 2) : start].strip()[-1:] in _SIGNS:
            return False
        return letter.islower() or letter == "I" or opens or self._paused

    def _is_called(self, word: str, end: int) -> bool:
        """Say whether a word names a function or a part of a dotted name: `len(x)`, `sin x`, `math.sqrt`."""
        after = self.plain[end : end + 2]
        if after[:1] == "(":
            return self.plain[end : end + 4] not in ("(s) ", "(s).", "(s),", "(s)", "(es)", "(en)")
        if after[:1] == "." and after[1:].islower():
            return True
        start = end - len(word)
        if self.plain[start - 1 : start] == "." and word[0].islower() and self.plain[start - 2 : start - 1].isalnum():
            return True
        return word in _FUNCTIONS and bool(_USED_AS_FUNCTION.match(self.plain, end))

    def _is_unit(self, word: str, start: int) -> bool:
        between = start - self._after_number
        return (0 <= between <= 1 and word.lower() in _UNITS) or word in _DIFFERENTIALS

    def _wrote(self, stream: str) -> None:
        for other in self._prices:
            self._prices[other] = _CHANGE if other == stream else min(self._prices[other], _BESIDE_OTHERS)
        if stream != "latin":
            self._close_phrase(not self._paused)
            self._others = True
        self._opens = self._paused = False
        self._last = stream

    def _close_phrase(self, beside_others: bool) -> None:
        """Mark a phrase in Latin letters as names if it has capitals only and other scripts around it."""
        words = self.latin[self._phrase :]
        if beside_others and words and not any(word.written.islower() for word in words):
            self.latin[self._phrase :] = [word._replace(alone=True) for word in words]
        self._phrase = len(self.latin)

    def _cheaper(self, price: float) -> None:
        for stream, now in self._prices.items():
            self._prices[stream] = min(now, price)

    def _end(self) -> None:
        self._cheaper(_AT_END)
        self._close_phrase(self._others)
        self._opens, self._others = True, False


def _is_symbol(word: str) -> bool:
    """Say whether a word with a capital inside is no word: ABC, A-C, isPrime, iPhone; not WAIT, not X-Achse."""
    if word.isupper():
        return len(word) <= 3 or "-" in word or not lexicon.likelihoods(word.lower())[1]
    parts = re.split("['’ʼ‐‑-]", word)
    return any(not part[1:].islower() for part in parts if len(part) > 1)


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    return "LATIN" if letter < "\u0250" else unicodedata.name(letter, "?").split(" ", 1)[0]


def _count_latin(words: list[_Word], counts: Counter[str]) -> None:
    """Decide the words in Latin letters and add those that are no names."""
    for block in _blocks(words):
        known = [lexicon.likelihoods(word.form) if word.form else (_lone(word.written), True) for word in block]
        states = _likeliest([word.price for word in block], [(*scores, _ANY) for scores, _ in known], _ENTRIES)
        for word, (scores, listed), state in zip(block, known, states, strict=True):
            language = _STATES[state]
            if not word.form:
                counts[language] += word.written in _LONE.get(language, "")
            elif word.written.islower() or not _is_name(word, scores, listed, state):
                counts[language] += 1


@lru_cache(maxsize=256)
def _lone(letter: str) -> tuple[float, ...]:
    return tuple(_ANY if letter in _LONE.get(language, "") else _ANY + _LONE_ALIEN for language in lexicon.LATIN)


def _is_name(word: _Word, scores: Sequence[float], listed: bool, state: int) -> bool:
    """Say whether a word with a capital is a name: known alike in all languages, or rare inside a sentence."""
    top = max(scores)
    flat = _FLAT_FIRST if word.opens else _FLAT
    if listed and top < _FAMOUS and top - (sum(scores) - top) / (len(scores) - 1) < flat:
        return True
    if word.alone or word.opens or _STATES[state] == "de" or word.written.isupper():
        return word.alone
    return not listed or top < _COMMON


def _count_east(runs: list[tuple[str, float]], counts: Counter[str]) -> None:
    """Decide runs of Chinese characters and kana character by character, then count their words."""
    weights = lexicon.han() if runs else {}
    pairs = [
        (char, min(price, _BETWEEN_RUNS) if at == 0 else _WITHIN) for run, price in runs for at, char in enumerate(run)
    ]
    starts = {0}
    place = 0
    for run, _ in runs:
        place += len(run)
        starts.add(place)
    states: list[int] = []
    for block in _blocks(pairs):
        says = [_chinese(weights, before, char) for (before, _), (char, _) in pairwise([("", 0.0), *block])]
        states += _likeliest([price for _, price in block], [(say, 0.0) for say in says], _EAST_ENTRIES)
    first = 0
    for at in range(1, len(pairs) + 1):
        if at == len(pairs) or at in starts or states[at] != states[first]:
            part = "".join(char for char, _ in pairs[first:at])
            if states[first] == 0:
                counts["zh"] += lexicon.chinese_words(part)
            else:
                counts["ja"] += _japanese(part)
            first = at


def _chinese(weights: dict[str, float], before: str, char: str) -> float:
    """Return how much a character, with the one before it, speaks for Chinese (and below 0 for Japanese)."""
    if "\u3041" <= char <= "\u31ff":
        return _KANA
    alone, pair = weights.get(char, 0.0), weights.get(before + char, 0.0)
    return max(-_MOST, min(_MOST, alone)) + 0.5 * max(-_MOST, min(_MOST, pair))


def _japanese(run: str) -> int:
    """A run in katakana is one word; what stands between is cut."""
    return len(_KATAKANA.findall(run)) + sum(lexicon.japanese_words(part) for part in _KATAKANA.split(run) if part)


def _blocks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cut a long sequence, so that the tables of `_likeliest` stay small."""
    for start in range(0, len(items), _BLOCK):
        yield items[start : start + _BLOCK]


def _likeliest(prices: Sequence[float], scores: Sequence[Sequence[float]], entries: Sequence[float]) -> list[int]:
    """Return the likeliest state of each item: the best sum of scores less the price of each change (Viterbi)."""
    width = range(len(entries))
    totals = [score - entry for score, entry in zip(scores[0], entries, strict=True)]
    back: list[list[int]] = []
    for price, row in zip(prices[1:], scores[1:], strict=True):
        top = max(totals)
        best = totals.index(top)
        came = list(width)
        for state in width:
            changed = top - price - entries[state]
            if changed > totals[state]:
                totals[state] = changed
                came[state] = best
            totals[state] += row[state]
        back.append(came)
    state = totals.index(max(totals))
    states = [state]
    for came in reversed(back):
        state = came[state]
        states.append(state)
    return states[::-1]

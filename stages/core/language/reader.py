"""One pass over prose: a text enters; words counted by script, and words whose script many languages share, leave.

What belongs to no language is left out: numbers, units, single letters that are no words, code between words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from stages.core.language import lexicon
from stages.core.text import CJK

SCRIPTS = {
    "ARMENIAN": "hy",
    "BENGALI": "bn",
    "DEVANAGARI": "hi",
    "ETHIOPIC": "am",
    "GEORGIAN": "ka",
    "GREEK": "el",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "HEBREW": "he",
    "KANNADA": "kn",
    "KHMER": "km",
    "LAO": "lo",
    "MALAYALAM": "ml",
    "MYANMAR": "my",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
}
"""Scripts that stand for one language here, its most written one: first word of the letters' Unicode names -> code."""
_UNSPACED = {"KHMER": 6, "LAO": 4, "MYANMAR": 6, "THAI": 4}  # scripts without blanks -> letters and marks of a word
_FAMILIES = {family.upper(): family for family in lexicon.FAMILIES}

_EAST = f"{CJK}\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3005-\u3007"
_HANGUL = "\uac00-\ud7a3\u1100-\u11ff\u3131-\u318e"
_MARKS = (
    "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963\u0981-\u0983\u09bc-\u09cd"
    "\u09d7\u0a01-\u0a03\u0a3c-\u0a51\u0a70\u0a71\u0a81-\u0a83\u0abc-\u0acd\u0b82\u0bbe-\u0bcd\u0c00-\u0c04\u0c3c-\u0c56"
    "\u0c81-\u0c83\u0cbc-\u0ccd\u0d00-\u0d03\u0d3b-\u0d4d\u0d81-\u0d83\u0dca-\u0ddf\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    "\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b4-\u17d3"
)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_LETTER = rf"[^\W\d_{_EAST}{_HANGUL}]"
_TOKEN = re.compile(
    rf"(?P<word>{_LETTER}+(?:[{_MARKS}]+{_LETTER}*|['’ʼ‐‑-]{_LETTER}+)*)|(?P<east>[{_EAST}]+)|(?P<hangul>[{_HANGUL}]+)"
    r"|(?P<number>\d+)|(?P<end>[.!?。…؟۔।;\n]+)|(?P<pause>[,،、:()\"«»„“”「」『』—–|¿¡]+)"
)
_VOWELS = re.compile("[\u064b-\u065f\u0670\u0640]+")  # marks and strokes that lists of Arabic words lack
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
LONE = {
    "en": "aAI",
    "fr": "aàyôAÀ",
    "es": "aeoyuAEOY",
    "pt": "aeoàéAEOÀÉ",
    "it": "aeoièAEOIÈ",
    "ru": "аявиксоуАЯВИКСОУ",
    "uk": "аявиіїйзоуєАЯВІЇЗОУЄ",
    "bg": "аявисоАЯВИСО",
    "mk": "аивоАИВО",
    "ar": "و",
    "fa": "و",
}
"""The single letters that are words, by language; in Latin and Cyrillic letters all others are unknowns or labels."""
_LONE_LATIN = frozenset().union(*(LONE[language] for language in lexicon.FAMILIES["latin"] if language in LONE))

# Nats, chosen on the tuning part of tests/rewards/corpus_language.jsonl. The price of another language than before:
_CHANGE, _AT_PAUSE, _BESIDE_OTHERS, _AT_END = 5.0, 4.0, 3.5, 2.0

_LEAD_OF_WORDS = 1.8  # a name is known alike in all languages
_FUNCTION_WORD = -6.5  # above 1.5 in a thousand


class Word(NamedTuple):
    """A word of a script that many languages share: its lower-case form ("" for a single letter), the price of a change
    before it, and how it stands."""

    form: str
    price: float
    written: str
    opens: bool
    """First in its sentence, or after another script."""
    alone: bool = False
    """Nothing but capitals stands between words of other scripts."""


class Reader:
    """Counts the words whose script says all, keeps the others with the prices between them."""

    def __init__(self, plain: str) -> None:
        self.plain = plain
        self.counts: Counter[str] = Counter()
        self.words: dict[str, list[Word]] = {family: [] for family in lexicon.FAMILIES}
        """Family of languages -> its words."""
        self.east: list[tuple[str, float]] = []
        """Runs of Chinese characters and kana, each with the price of a change before it."""
        self._prices: dict[str, float] = {}  # of a change before the next word of each script that has written
        self._opens = True
        self._last = ""  # what wrote the word before
        self._paused = False
        self._others = False  # a script other than Latin wrote in this sentence
        self._phrase = 0  # first word in Latin letters of those that no other script interrupts
        self._after_number = -1
        self._read()

    def _read(self) -> None:
        for match in _TOKEN.finditer(self.plain):
            kind = match.lastgroup
            if kind == "word":
                self._word(match.group(), match.start(), match.end())
            elif kind == "east":
                self.east.append((match.group(), self._prices.get("east", 0.0)))
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
        if before in _JOINED or after in _JOINED:
            return
        if (after in "(." or before == "." or word in _FUNCTIONS) and self._is_called(word, end):
            return
        if (start - self._after_number <= 4 or word in _DIFFERENTIALS) and self._is_unit(word, start):
            return
        if len(word) <= 3 and (before.isdigit() or after.isdigit()):
            return
        script = _script(word[0])
        if script != _script(word[-1]) and word[-1].isalpha():
            return
        family = _FAMILIES.get(script)
        if family == "latin":
            self._latin_word(word, start, end)
        elif family:
            self._shared_word(family, word)
        else:
            language = SCRIPTS.get(script, "?")
            if len(word) == 1:
                counted = language != "el"
            else:
                counted = self._opens or self._last != script or word.islower() or not word[0].isupper()
            self.counts[language] += counted and max(1, round(len(word) / _UNSPACED.get(script, len(word))))
            self._wrote(script)

    def _latin_word(self, word: str, start: int, end: int) -> None:
        opens = self._opens or self._last != "latin"
        if len(word) == 1:
            if not self._is_lone_word(word, start, end, opens):
                return
        elif not word[1:].islower() and _is_symbol(word):
            return
        form = word.lower().replace("’", "'").replace("‐", "-").replace("‑", "-") if len(word) > 1 else ""
        self.words["latin"].append(Word(form, self._prices.get("latin", 0.0), word, opens))
        self._wrote("latin")

    def _shared_word(self, family: str, word: str) -> None:
        if len(word) > 1:
            form = word.lower().replace("’", "'").replace("ʼ", "'") if family == "cyrillic" else _VOWELS.sub("", word)
        elif any(word in LONE.get(language, "") for language in lexicon.FAMILIES[family]):
            form = ""
        else:
            self._wrote(family)
            return
        opens = self._opens or self._last != family
        self.words[family].append(Word(form, self._prices.get(family, 0.0), word, opens))
        self._wrote(family)

    def _is_lone_word(self, letter: str, start: int, end: int, opens: bool) -> bool:
        """Say whether a single letter may be a word: `a`, `I`, `y`, `à` before another word, not the unknown `a`."""
        if letter not in _LONE_LATIN:
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
        if word in _DIFFERENTIALS:
            return True
        between = start - self._after_number
        return 0 <= between <= 4 and word.lower() in _UNITS and not self.plain[start - between + 1 : start].strip(" {")

    def _wrote(self, stream: str) -> None:
        if stream != self._last:
            self._cheaper(_BESIDE_OTHERS)
        self._prices[stream] = _CHANGE
        if stream != "latin":
            self._close_phrase(not self._paused)
            self._others = True
        self._opens = self._paused = False
        self._last = stream

    def _close_phrase(self, beside_others: bool) -> None:
        """Mark a phrase in Latin letters as names if it has capitals only and other scripts around it, unless it says
        something."""
        written = self.words["latin"]
        phrase = written[self._phrase :]
        if beside_others and phrase and not any(word.written.islower() for word in phrase) and not _is_said(phrase):
            written[self._phrase :] = [word._replace(alone=True) for word in phrase]
        self._phrase = len(written)

    def _cheaper(self, price: float) -> None:
        for stream, now in self._prices.items():
            self._prices[stream] = min(now, price)

    def _end(self) -> None:
        self._cheaper(_AT_END)
        self._close_phrase(self._others)
        self._opens, self._others = True, False


def _is_said(phrase: list[Word]) -> bool:
    """Say whether capitals dress a sentence and no name: `We Take The Area`, not `New York` or `Alice Smith`."""
    found = [lexicon.known(word.form) for word in phrase if word.form]
    plain = [one for one in found if one.listed and one.lead >= _LEAD_OF_WORDS]
    function_words = sum(one.top > _FUNCTION_WORD for one in plain)
    return len(plain) + function_words >= 3 and 2 * len(plain) >= len(phrase)


def _is_symbol(word: str) -> bool:
    """Say whether a word with a capital inside is no word: ABC, A-C, isPrime, iPhone; not WAIT, not X-Achse."""
    if word.isupper():
        return len(word) <= 3 or "-" in word or not lexicon.known(word.lower()).listed
    parts = re.split("['’ʼ‐‑-]", word)
    return any(not part[1:].islower() for part in parts if len(part) > 1)


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    return (
        "LATIN"
        if letter < "\u0250" or "\u1e00" <= letter <= "\u1eff"
        else unicodedata.name(letter, "?").split(" ", 1)[0]
    )

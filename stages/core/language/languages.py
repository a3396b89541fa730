"""Which language each word of a text is in: a text enters, words counted by language leave.

The language reward reads chains of thought through this file. What belongs to no language is masked first: code,
formulas, numbers, units, single letters that are no words, names. Scripts tell most languages apart. The languages that
share the Latin, Cyrillic or Arabic letters, and Chinese from Japanese, are told apart by the likeliest sequence
(Viterbi 1967) under word (for Chinese characters: character) frequencies and a price for each change of language, lower
at a comma and lowest between sentences: a word that two languages share belongs to the phrase it stands in. Where a
language is asked for, what may be any language's is that one's. Linear in the text.

`scripts.script_of` and `scripts.language_words` stay the quick check for English and Chinese alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from stages.core.language import codes, disguise, eastern, lexicon, scripts
from stages.core.language.reader import LONE, Reader, Word
from stages.core.language.viterbi import blocks, likeliest

_LINK = re.compile(r"(?:https?://|www\.)\S+")
_SPELLED = re.compile(r"(?<!\S)(?:[A-Za-zÀ-ɏ] ){12,}")
_INVISIBLE = re.compile("[\u00ad\ufeff\u200b-\u200f\u202a-\u202e\u2060-\u206f]+")
_BLOCKS = frozenset(("def", "class", "for", "while", "if", "elif", "with"))
_SIGNS = frozenset("=+*/^<>(|-")

# Nats, chosen on the tuning part of tests/rewards/corpus_language.jsonl; the prices of a change are in reader.py.
_ENTRIES = {"it": 2.0, "nl": 2.0, "mk": 2.0, "uk": 0.5, "bg": 0.5, "fa": 0.5, "ur": 0.5, "?": 5.0}  # on top of them
_ASKED = 4.0  # what the language that is asked for is ahead with
_UNASKED = 0.6  # … and what the others cost more in its text
_SCALE = {"latin": 1.0, "cyrillic": 1.5, "arabic": 1.5}  # of the prices: in Latin letters people mix within a clause
# A name is known everywhere: a word this much likelier in one language than on average is no name, but a word of it.
_FLAT, _FLAT_FIRST = 3.0, 1.45  # inside a sentence; where every word has its capital
_FAMOUS = -7.5  # and no name is above 550 in a million (`In`, `No` are known everywhere too)
_COMMON = -10.8  # a word above 20 in a million is no name even with a capital
_LONE_ALIEN = -5.0  # a single letter in a language where it is no word
_STRAY, _STRAY_LEAST = 7.0, -10.0  # a word this much likelier in another language, and said there this often, is of it
_OF_A_NAME = 0.3  # what an unlisted word with a capital says, as a share


def target_of(problem: str) -> str | None:
    """Return the language (ISO 639-1) of most words of a prompt; None where it has none of a known one."""
    known = [(count, language) for language, count in tally(problem).items() if language in codes.KNOWN]
    return max(known)[1] if known else None


def tally(source: str, asked: str = "") -> Counter[str]:
    """Return the number of words in each language (ISO 639-1; `?` for scripts that stand for none).

    Words are what stands between spaces, in Korean too; in Chinese and Japanese what a dictionary cuts; in scripts
    without blanks (Thai) so many letters. `asked` is a language that is looked for: a word that it shares is its own
    where no neighbour claims it.
    """
    plain = plain_of(source)
    reader = Reader(_SPELLED.sub("\n", plain))
    counts = reader.counts
    if spelled := sum(len(letters) // 10 for letters in _SPELLED.findall(plain)):
        counts["?"] += spelled  # words of five letters, with blanks between them
    for family, words in reader.words.items():
        if words:
            _count(family, words, counts, asked)
    eastern.count(reader.east, counts, asked)
    return +counts


def plain_of(source: str) -> str:
    """Return what a text says: without code, formulas, tags and addresses, and with glued sentences as plain words."""
    plain = scripts.unfenced(_INVISIBLE.sub("", source))
    plain = "\n".join(line for line in plain.split("\n") if not _is_code(line))
    plain = unicodedata.normalize("NFKC", _LINK.sub(_slug, scripts.prose(disguise.unescaped(plain))))
    return disguise.unjoined(plain)


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


def _count(family: str, words: list[Word], counts: Counter[str], asked: str) -> None:
    """Decide the words of one script and add those that are no names."""
    guest = asked if family == "latin" and asked in lexicon.GUESTS else ""
    states = (*lexicon.FAMILIES[family], *([guest] if guest else ()), "?")
    entries = [_ENTRIES.get(state, 0.0) for state in states]
    starts = [entry - _ASKED if state == asked else entry for state, entry in zip(states, entries, strict=True)]
    if asked in states:
        entries = [0.0 if state == asked else entry + _UNASKED for state, entry in zip(states, entries, strict=True)]
    unknown, scale = lexicon.ANY[family], _SCALE[family]
    for block in blocks(words):
        found = [
            lexicon.known(word.form, family, guest) if word.form else _lone(word.written, family, guest)
            for word in block
        ]
        scores = [_weighed(word, one, unknown) for word, one in zip(block, found, strict=True)]
        chosen = likeliest([scale * word.price for word in block], scores, entries, starts)
        for word, one, state in zip(block, found, chosen, strict=True):
            language = states[state]
            if not word.form:
                counts[language] += word.written in LONE.get(language, "")
            elif family == "arabic" or word.written.islower() or not _is_name(word, one, language):
                astray = one.top - one.scores[state] >= _STRAY
                counts[states[_own(word, one, state)] if astray else language] += 1


def _own(word: Word, one: lexicon.Known, state: int) -> int:
    """A word's own state, where its phrase has one in which it is hardly ever said and another language says it often:
    `die Funktion ist increasing` has an English word."""
    nowhere = len(one.scores) - 1  # the languages that are not known here share words with all
    if state == nowhere or not one.listed or not word.written.islower():
        return state
    best = max(one.scores)
    return one.scores.index(best) if best > _STRAY_LEAST and best - one.scores[state] >= _STRAY else state


def _weighed(word: Word, one: lexicon.Known, unknown: float) -> lexicon.Likelihoods:
    """What a word says for each language; little where it is rather a name."""
    if one.listed or word.written.islower() or not word.written[0].isupper():
        return one.scores
    return (*(unknown + _OF_A_NAME * (score - one.top) for score in one.scores[:-1]), unknown)


@lru_cache(maxsize=256)
def _lone(letter: str, family: str, guest: str) -> lexicon.Known:
    states = (*lexicon.FAMILIES[family], *([guest] if guest else ()))
    plain = lexicon.ANY[family]
    scores = (plain if letter in LONE.get(language, "") else plain + _LONE_ALIEN for language in states)
    return lexicon.Known((*scores, plain), True, plain, 0.0)


def _is_name(word: Word, one: lexicon.Known, language: str) -> bool:
    """Say whether a word with a capital is a name: known alike in all languages, or rare inside a sentence."""
    flat = _FLAT_FIRST if word.opens else _FLAT
    if one.listed and one.top < _FAMOUS and one.lead < flat:
        return True
    if word.alone or word.opens or language == "de" or word.written.isupper():
        return word.alone
    return not one.listed or one.top < _COMMON

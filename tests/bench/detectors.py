"""The language reward beside py3langid and lingua, by kind of text: texts enter, how many each reads rightly leaves.

`python -m tests.bench.language --beside` prints it. Neither library is among our dependencies (INSTALL). Both judge a
piece of text as a whole, so they are given sentences or clauses (lingua the spans that it finds itself, too), already
without code and formulas, and each of our words in a piece counts for its language: only the decision differs.
They choose among the ten languages of the corpus, those with a script of their own, the neighbours of Russian and
Arabic, and the one that the row asks for.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from stages.core.language import languages, lexicon
from stages.core.language.reader import SCRIPTS

TEN = ("en", "zh", "ja", "ko", "de", "fr", "es", "ru", "pt", "ar")
INSTALL = (
    "to install both: pip install --no-deps --target detectors py3langid lingua-language-detector; "
    "then: PYTHONPATH=.:detectors python -m tests.bench.language --beside"
)
Tally = Callable[[str, str], Counter[str]]

_SENTENCE = re.compile(r"[^.!?。！？…؟۔।;\n]+(?:\.(?=\w)[^.!?。！？…؟۔।;\n]*)*")
_CLAUSE = re.compile(r"[^.!?。！？…؟۔।;\n,，、،:：()\"«»„“”「」『』—–]+")


@cache
def choice(asked: str) -> tuple[str, ...]:
    """Return the languages that a detector is told to choose from."""
    shared = (*lexicon.FAMILIES["cyrillic"], *lexicon.FAMILIES["arabic"])
    return tuple(sorted({*TEN, *SCRIPTS.values(), *shared, *([asked] if asked else ())}))


def detectors() -> dict[str, Tally]:
    """Return name -> word counts as that detector decides them; ModuleNotFoundError where a library is not there."""
    py3langid, lingua = _langid(importlib.import_module("py3langid")), _lingua(importlib.import_module("lingua"))
    whole = {"py3langid": py3langid, "lingua": lambda text, asked: _code(lingua(asked).detect_language_of(text))}
    found: dict[str, Tally] = {"ours": languages.tally}
    for name, decide in whole.items():
        for unit, pieces in (("sentence", _SENTENCE.findall), ("clause", _CLAUSE.findall)):
            found[f"{name} by {unit}"] = _by_piece(_each(decide, pieces))
    found["lingua by span"] = _by_piece(lambda text, asked: _spans(lingua(asked), text))
    return found


@contextmanager
def decided_by(tally: Tally) -> Iterator[None]:
    """Let another detector decide for the language reward for a while."""
    ours = languages.tally
    languages.tally = tally
    try:
        yield
    finally:
        languages.tally = ours


Pieces = Callable[[str, str], Iterator[tuple[str, str]]]


def _by_piece(decided: Pieces) -> Tally:
    """Count our words of each piece for the piece's language."""
    count = languages.tally

    def tally(source: str, asked: str = "") -> Counter[str]:
        counts: Counter[str] = Counter()
        for piece, language in decided(languages.plain_of(source), asked):
            counts[language] += count(piece, asked).total()
        return +counts

    return tally


def _each(decide: Callable[[str, str], str], pieces: Callable[[str], list[str]]) -> Pieces:
    return lambda text, asked: ((piece, decide(piece, asked)) for piece in pieces(text) if piece.strip())


def _spans(detector: Any, text: str) -> Iterator[tuple[str, str]]:
    for span in detector.detect_multiple_languages_of(text):
        yield text[span.start_index : span.end_index], _code(span.language)


def _langid(module: Any) -> Callable[[str, str], str]:
    told = [()]

    def decide(text: str, asked: str) -> str:
        if told[0] != choice(asked):
            told[0] = choice(asked)
            module.set_languages([code for code in told[0] if code in _labels(module)])
        return str(module.classify(text)[0])

    return decide


@cache
def _labels(module: Any) -> frozenset[str]:
    return frozenset(code for code, _ in module.rank(""))


def _lingua(module: Any) -> Callable[[str], Any]:
    @cache
    def detector(asked: str) -> Any:
        codes = (getattr(module.IsoCode639_1, code.upper(), None) for code in choice(asked))
        known = [code for code in codes if code is not None]
        return module.LanguageDetectorBuilder.from_iso_codes_639_1(*known).build()

    return detector


def _code(language: Any) -> str:
    return "?" if language is None else str(language.iso_code_639_1.name.lower())

"""The words and signs of a text, and what they say of the candidates beside them: a text enters, its tokens leave.

`sentence_words.toml` holds the words, by what they do and by language. Where a word does one thing in one language and
another in another ("no", "si", "of"), the language counts of which the text has most words.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from functools import cache
from pathlib import Path
from typing import NamedTuple

_ALONE = "\u0900-\u0dff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
"""Scripts without blanks between words, or with particles at their words: each character is a token."""
_TOKEN = re.compile(
    rf"(?P<word>(?:[cdjlmnst]|qu)['’](?=[^\W\d_])|[^\W\d_{_ALONE}]+(?:['’][^\W\d_{_ALONE}]+)*|[{_ALONE}])"
    r"|(?P<number>\d+(?:[.,/]\d+)*)|(?P<command>\\[A-Za-z]+)|(?P<line>\s*\n\s*)|(?P<blank>\s+)|(?P<sign>.)",
    re.IGNORECASE | re.DOTALL,
)
_SPACING = frozenset(("\\quad", "\\qquad", "\\text", "\\mathrm", "\\boxed", "\\left", "\\right", "\\displaystyle"))
_MARKS = frozenset("*_`\"'’‘“”«»„{}$~[]【】「」『』#✓✔✅\\")
_OPERATORS = frozenset("=+^<>°%≈→≠×÷|←\u200b\u2060\u202c\u202e")


class Word(Enum):
    """What a token is."""

    CANDIDATE = "candidate"
    ANNOUNCE = "announce"
    LABEL = "label"
    VERB = "verb"
    WOULD = "would"
    FILLER = "filler"
    RIGHT = "right"
    WRONG = "wrong"
    LESSER = "lesser"
    DENIAL = "denial"
    DENIED = "denied"
    CONTRAST = "contrast"
    COMPARE = "compare"
    ELIMINATE = "eliminate"
    REASON = "reason"
    BESIDES = "besides"
    BUT = "but"
    SO = "so"
    CONDITION = "condition"
    EITHER = "either"
    BOTH = "both"
    ALSO = "also"
    CROWD = "crowd"
    UNKNOWN = "unknown"
    NUMBER = "number"
    OPERATOR = "operator"
    COMMA = "comma"
    LIST = "list"
    SLASH = "slash"
    HYPHEN = "hyphen"
    PAUSE = "pause"
    COLON = "colon"
    OPEN = "open"
    CLOSE = "close"
    END = "end"
    QUESTION = "question"


class Candidate(NamedTuple):
    """An option letter or a number: `text[start:end]`, brackets around it included, and what it is as a value."""

    start: int
    end: int
    value: str


class Token(NamedTuple):
    """A word or sign of a text: `text[start:end]`; `apart` where a blank stands before it."""

    word: Word
    text: str
    start: int
    end: int
    apart: bool


_SIGNS = (
    dict.fromkeys(",，،", Word.COMMA)
    | dict.fromkeys("、", Word.LIST)
    | dict.fromkeys("∴⟹⇒", Word.SO)
    | dict.fromkeys(";；—–؛", Word.PAUSE)
    | dict.fromkeys(":：", Word.COLON)
    | dict.fromkeys("(（", Word.OPEN)
    | dict.fromkeys(")）", Word.CLOSE)
    | dict.fromkeys("。！!.…।۔", Word.END)
    | dict.fromkeys("?？؟", Word.QUESTION)
    | {"/": Word.SLASH, "&": Word.BOTH, "-": Word.HYPHEN}
    | dict.fromkeys(_OPERATORS, Word.OPERATOR)
)


@cache
def _phrases() -> dict[str, list[tuple[tuple[str, ...], dict[str, Word]]]]:
    """Phrases by their first token, the longest first: their tokens, and what they are in each language."""
    found: dict[tuple[str, ...], dict[str, Word]] = {}
    for name, lines in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")).items():
        for language, phrases in lines.items():
            for phrase in phrases.split("|"):
                tokens = tuple(match.group() for match in _TOKEN.finditer(phrase) if match.lastgroup != "blank")
                found.setdefault(tokens, {}).setdefault(language, Word(name))
    first: dict[str, list[tuple[tuple[str, ...], dict[str, Word]]]] = {}
    for tokens in sorted(found, key=len, reverse=True):
        first.setdefault(tokens[0], []).append((tokens, found[tokens]))
    return first


def tokens(text: str, candidates: Iterable[Candidate]) -> list[list[Token]]:
    """Return the tokens of each sentence of a text, its candidates among them; marks of emphasis are left out."""
    pieces = _pieces(text, candidates)
    spoken: Counter[str] = Counter()
    found: list[tuple[Token, dict[str, Word]]] = []
    at = 0
    while at < len(pieces):
        token = pieces[at]
        meanings: dict[str, Word] = {}
        for phrase, languages in _phrases().get(token.text, ()) if token.word == Word.UNKNOWN else ():
            if tuple(piece.text for piece in pieces[at : at + len(phrase)]) == phrase:
                meanings = languages
                token = token._replace(end=pieces[at + len(phrase) - 1].end, text=" ".join(phrase))
                at += len(phrase) - 1
                break
        spoken.update(meanings.keys())
        found.append((token, meanings))
        at += 1
    read: list[list[Token]] = [[]]
    for token, meanings in found:
        language = max(meanings, key=lambda name: spoken[name], default="")
        if meanings and (is_character(token) or 3 * spoken[language] >= max(spoken.values())):
            token = token._replace(word=meanings[language])  # "car" is no French in an English text
        read[-1].append(token)
        if token.word in (Word.END, Word.QUESTION):
            read.append([])
    return [sentence for sentence in read if sentence]


def _pieces(text: str, candidates: Iterable[Candidate]) -> list[Token]:
    """Return a text's tokens before any phrase is looked up: candidates, words (all unknown), signs."""
    pieces: list[Token] = []
    at, apart = 0, True
    for candidate in (*candidates, Candidate(len(text), len(text), "")):
        for match in _TOKEN.finditer(text, at, candidate.start):
            kind, said = str(match.lastgroup), match.group()
            times = said == "*" and text[match.end() : match.end() + 1].isdigit()
            if kind == "blank" or said in _SPACING or (said in _MARKS and not times and (said != "#" or apart)):
                apart = apart or kind == "blank"
                continue
            word = {"word": Word.UNKNOWN, "number": Word.NUMBER, "command": Word.OPERATOR, "line": Word.END}.get(kind)
            word = word or _SIGNS.get(said, Word.OPERATOR)
            if word == Word.END and said == "." and not _ends(text, match.end()):
                word = Word.PAUSE if text[match.end() : match.end() + 1].isspace() else Word.OPERATOR
            pieces.append(Token(word, said.lower().replace("’", "'"), match.start(), match.end(), apart))
            apart = kind == "line"
        if candidate.value:
            pieces.append(Token(Word.CANDIDATE, candidate.value, candidate.start, candidate.end, apart))
            apart = False
        at = candidate.end
    return pieces


def _ends(text: str, at: int) -> bool:
    """Say whether a full stop before `text[at]` ends a sentence: a small letter behind it goes on, as in E. coli."""
    rest = text[at : at + 8].lstrip("*_\"'’”`)$} ")
    glued = text[at : at + 1].isalnum()
    return not glued and not rest[:1].islower()


def is_character(token: Token) -> bool:
    """Say whether a token is of a script without blanks between words."""
    return re.match(rf"[{_ALONE}]", token.text) is not None

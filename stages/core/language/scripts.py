"""Which words of a text are said, and in which script: a text enters, its prose, shares and counts leave.

Code, formulas and tags belong to no language. A script is a quick answer where the question is English or Chinese;
`languages.py` tells languages apart that share one. Linear on hostile text, as `core/text.py` is.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from stages.core.text import CJK, SENTENCE_END, WORD, spans

SCRIPTS = {
    "en": "LATIN",
    "zh": "CJK",
    "el": "GREEK",
    "he": "HEBREW",
    "hy": "ARMENIAN",
    "ka": "GEORGIAN",
    "ko": "HANGUL",
    "th": "THAI",
}
"""Languages that a script tells from the others: ISO 639-1 code -> the first word of its letters' Unicode names.

Latin stands for English and CJK for Chinese, the two languages of R1's prompts (v2, table 4); languages that share
these scripts, or another one, are not here: French, Japanese, Russian.
"""

_HAN = re.compile(rf"[{CJK}]")
_TWO_LETTERS = re.compile(r"[A-Za-z][0-9]*[A-Za-z][A-Za-z0-9]*")  # from its first letter on, a word that is no sign
_SPOKEN = re.compile(rf"[{CJK}]|[A-Za-z]{{2,}}")  # a Chinese character is a word, a single letter is none
_LATEX_COMMAND = re.compile(r"\\(?:begin|end)\{[A-Za-z*]{1,20}\}|\\[A-Za-z]+")
_ANY_TAG = re.compile(r"</?[A-Za-z][A-Za-z_]{0,30}>")
_MASKED = (("`", "`"), ("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]"))
# Between dollar signs that are no formula's: two words in a row, an amount's word, a letter that formulas do not use.
_NO_FORMULA = re.compile(
    r"(?<![\\A-Za-zÀ-ɏ])[A-Za-zÀ-ɏ]{2,}[ \t]+[A-Za-zÀ-ɏ]{2,}|^\s?\d[\d.,]*[ \t]+[A-Za-zÀ-ɏ]{2,}"
    r"|[\u0400-\u1cff\u3041-\uffff]"
)
_TEXT_IN_FORMULA = re.compile(r"\\(?:text|mbox|mathrm|operatorname)[a-z]{0,4}\{([^{}]*)\}")
_PROSE_WORD = re.compile(rf"[{CJK}]|[^\W\d_]{{2,}}")
_CODE_SIGN = re.compile(r"[=(){}\[\];_<>+*/\\|&#@^~%\d]")
_CHAIN = re.compile(r"(?:(?:\\[^\W\d_]+|<[^\W\d_]+>)[ \t]+){5,}")


def unfenced(text: str) -> str:
    """Blank out what stands in fences, save sentences."""
    return _blank(text, "```", "```")


@lru_cache(maxsize=2)  # two questions about one text follow each other
def prose(text: str) -> str:
    """Blank out what belongs to no language: code, formulas, LaTeX commands and tags.

    Sentences stay, whatever marks them as something else: with five words or more and hardly a sign of code.
    """
    text = unfenced(text)
    for opening, closing in _MASKED:
        text = _blank(text, opening, closing)
    text = _CHAIN.sub(lambda chain: re.sub(r"[\\<>]", " ", chain.group()), _blank_dollars(text))
    return _ANY_TAG.sub(" ", _LATEX_COMMAND.sub(" ", text))


def is_prose(content: str) -> bool:
    """Say whether what is marked as code or a formula is rather said in words: five or more, hardly a sign of code."""
    content = _TEXT_IN_FORMULA.sub(r"\1", content)
    said = len(_PROSE_WORD.findall(content))
    return said >= 5 and 6 * len(_CODE_SIGN.findall(content)) < said


def script_of(language: str) -> str | None:
    """Return the script that tells a language (`en`, `zh`, `zh-CN`) from the others, or None where none does."""
    return SCRIPTS.get(re.split("[-_]", language.strip().lower(), maxsplit=1)[0])


def language_words(text: str, language: str) -> tuple[int, int] | None:
    """Return (words in the target language, all words), or None for a language that no script decides.

    A CJK character counts as one word. Code, formulas, tags and digits are left out, and so is a letter that stands
    alone (a cup, an option, an unknown): it belongs to no language.
    """
    target = script_of(language)
    if target is None:
        return None
    said = prose(text)
    if said.isascii():
        total = len(_TWO_LETTERS.findall(said))
        return (total if target == "LATIN" else 0), total
    counts = Counter(_word_script(word) for word in WORD.findall(said))
    del counts[""]
    return counts[target], counts.total()


def language_share(text: str, language: str) -> float | None:
    """Return the share (0 to 1) of words in the target language, or None where the text has no words (R1 v2, eq. 7).

    Words are those of `language_words`; None too for a language that no script decides.
    """
    mine, total = language_words(text, language) or (0, 0)
    return mine / total if total else None


def mixes_languages(completion: str, answer_tags: tuple[str, str]) -> bool:
    """Say whether the prose is partly English, partly Chinese: sentences in each, or one where neither prevails.

    A sentence belongs to the language of most of its words; where the other one has more than a third, it mixes by
    itself. Code, formulas, tags, answers and single letters (cups, options, unknowns) belong to no language.
    """
    kept, cursor = [], 0
    for span in spans(completion, answer_tags):
        kept.append(completion[cursor : span.start])
        cursor = span.end
    said = prose("".join((*kept, completion[cursor:])))
    if not _HAN.search(said):
        return False
    heard: set[bool] = set()
    for sentence in SENTENCE_END.split(said):
        chinese = [not word.isascii() for word in _SPOKEN.findall(sentence)]
        if 3 * min(sum(chinese), len(chinese) - sum(chinese)) > len(chinese):
            return True
        if chinese:
            heard.add(2 * sum(chinese) > len(chinese))
    return len(heard) == 2


def _word_script(word: str) -> str:
    """Return a word's script; "" for what is no word: digits, and a single letter that has case (x, A, θ)."""
    letters = [letter for letter in word if letter.isalpha()]
    if not letters or (len(letters) == 1 and letters[0].lower() != letters[0].upper()):
        return ""
    return _letter_script(letters[0])


@lru_cache(maxsize=4096)
def _letter_script(letter: str) -> str:
    if letter < "\u0250":
        return "LATIN"
    if _HAN.match(letter):
        return "CJK"
    return unicodedata.name(letter, "?").removeprefix("FULLWIDTH ").split(" ", 1)[0]


def _blank(text: str, opening: str, closing: str) -> str:
    """Replace each `opening … closing` by a space, save sentences; stops, to stay linear, at one that never closes."""
    kept: list[str] = []
    cursor = 0
    while (start := text.find(opening, cursor)) >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        content = text[start + len(opening) : end]
        kept += (text[cursor:start], f" {content} " if is_prose(content) else _said_in(content))
        cursor = end + len(closing)
    return "".join((*kept, text[cursor:])) if kept else text


def _said_in(formula: str) -> str:
    """Return the words of a formula's texts, where they are several: `x \\text{ is what we look for}`."""
    texts = [said for said in _TEXT_IN_FORMULA.findall(formula) if len(_PROSE_WORD.findall(said)) > 3]
    return f" {' '.join(texts)} " if texts else " "


def _blank_dollars(text: str) -> str:
    """Replace each formula between single dollar signs by a space; a sign before or after an amount of money stays."""
    pieces = text.split("$")
    if len(pieces) < 3:
        return text
    kept, at = [pieces[0]], 1
    while at < len(pieces) - 1:
        if _NO_FORMULA.search(_TEXT_IN_FORMULA.sub("", pieces[at])) or is_prose(pieces[at]):
            kept.append(" " + pieces[at])
            at += 1
        else:
            kept.append(_said_in(pieces[at]) + pieces[at + 1])
            at += 2
    return "".join((*kept, *pieces[at:]))

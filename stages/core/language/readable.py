"""Is a chain of thought fit to be read, and to be imitated? Texts enter; lengths and yes or no leave.

DeepSeek-R1 left out of its supervised data what is hard to read: mixed languages, long paragraphs, code blocks,
repetition (arXiv 2501.12948v1 section 2.3.3; v2 B.3.2, B.3.3). The thresholds were not published and come from a
recipe. `scripts.mixes_languages` and `text.repetition` are filters too.
"""

from __future__ import annotations

import re

from stages.core.language.scripts import language_words
from stages.core.text import canonical

_FENCE = re.compile(r"^[ \t]{0,3}(?:```|~~~)", re.MULTILINE)
_STAMP = re.compile(r"[\s.,;:!?。，；：！？、*_#`\"'()\[\]]+")


def speaks(text: str, language: str) -> bool:
    """Say whether at least half of a text's words are in a language (ISO 639-1), told by their script.

    True for a text without words and for a language that no script tells from others.
    """
    mine, total = language_words(text, language) or (0, 0)
    return 2 * mine >= total


def longest_paragraph(text: str) -> int:
    """Return the characters of the longest paragraph; a line break ends one."""
    return max((len(line.strip()) for line in text.splitlines()), default=0)


def has_code_block(text: str) -> bool:
    """Say whether a line opens a fenced code block (``` or ~~~)."""
    return _FENCE.search(text) is not None


def fresh_key(reasoning: str) -> str:
    """Return the form under which two chains count as the same: case, white space and punctuation do not matter, signs
    of arithmetic do."""
    return _STAMP.sub(" ", canonical(reasoning)).strip()

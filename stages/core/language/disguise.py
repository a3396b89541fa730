"""Words that signs or capitals glue together: a text enters, the same with such sentences as plain words leaves.

`we.take.the.area`, `WeTakeTheArea`, `@we @take @the`, `we(), take()`, `SO IT IS ONE` and `wE tAkE tHe aReA` say what
they say. Names of programs do not: `math.sqrt`, `max_value`, `getElementById`, `ABC`. Dictionary words tell, and the
small words that only a sentence has.
"""

from __future__ import annotations

import html
import re
from itertools import pairwise

from stages.core.language import lexicon

_ESCAPED_BLANK = re.compile(r"(?<!\\)\\[ ,;:!~](?=[^\W\d_]{2})")
_COMMANDED = re.compile(r"(?<![\w\\])[^\W\d_]{1,30}(?:\s{0,2}\\[A-Za-z]{2,8}\s{1,2}[^\W\d_]{1,30}){3,}(?!\w)")
_TWO = r"[^\W\d_]{1,30}(?: [^\W\d_]{1,30})?"
_WRAPPED = re.compile(
    rf"`\s?({_TWO})\s?`|\$\s?({_TWO})\s?\$|\\\(\s?({_TWO})\s?\\\)|(?<!\w)([^\W\d_]{{1,30}})\([\w ,]{{0,12}}\)(?!\w)"
)
"""A word or two alone in marks of code or of a formula, or called as a function."""
_LEAST_WRAPPED = 6  # words that may be a sentence
_ENTITY = re.compile(r"&(?:#\w{1,7}|[A-Za-z]{2,8});")
_CYRILLIC = "\u0400-\u04ff"
_TWO_SCRIPTS = re.compile(
    f"(?<![A-Za-z{_CYRILLIC}])(?:[A-Za-z]++[{_CYRILLIC}]|[{_CYRILLIC}]++[A-Za-z])[A-Za-z{_CYRILLIC}]*+"
)
_TWINS = dict(zip("аеорсухіјѕАВЕКМНОРСТУХІЈЅ", "aeopcyxijsABEKMHOPCTYXIJS", strict=True))
_LATIN_TWINS = str.maketrans(_TWINS)
"""Cyrillic letters that look like Latin ones."""
_GLUE = r"[.\-_/@#|~+*&=:,^\\]{1,3}"
_SPACED_LETTERS = re.compile(r"(?<![^\W_])[^\W\d_](?:[.\-_·*/][^\W\d_]){2,}(?![^\W_])")
_CHAIN = re.compile(rf"(?<![^\W_])[^\W\d_]+(?:{_GLUE}[^\W\d_]+){{3,}}(?![^\W_])")
_MIXED = re.compile(r"(?<![^\W_])[^\W\d_]{8,}(?![^\W_])")
_UPPER, _LOWER = "A-ZÀ-ÖØ-Þ", "a-zß-öø-ÿ"
_ODD = f"(?:[{_LOWER}]++[{_UPPER}][{_UPPER}{_LOWER}]*+|[{_UPPER}](?:[{_LOWER}]*+[{_UPPER}][{_UPPER}{_LOWER}]*+)?+)"
_LOUD = re.compile(rf"(?<![A-Za-zÀ-ɏ]){_ODD}(?:[ ,;]{{1,2}}{_ODD}){{3,}}(?![A-Za-zÀ-ɏ])")
_OTHERS = "\u0530-\u1cff\u3041-\ud7ff"
_OTHER = re.compile(f"[{_OTHERS}]")
_BORDER = re.compile(f"([{_OTHERS}])(?=[A-Za-zÀ-ɏ])|([A-Za-zÀ-ɏ])(?=[{_OTHERS}])")
"""Where Latin letters touch those of a script that is written without blanks, or with marks of its own."""
_MARKED = re.compile(r"[@#\\^=_~+*&]|\(\)|\w[./|]\w")
_WORD = re.compile(r"[^\W\d_]+")
_KEYWORDS = frozenset(("and", "as", "by", "def", "for", "from", "if", "import", "in", "is", "not", "of", "or", "to"))
_LONG = 8  # words: more than a name has
_FUNCTION_WORD = -6.3  # above 2 in a thousand


def unescaped(text: str) -> str:
    """Return a text with words as they are read: without LaTeX's blanks (`we\\ take`), entities of HTML, Cyrillic
    letters in Latin words, and marks of code around each word of a sentence."""
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)
    if not text.isascii():
        text = _TWO_SCRIPTS.sub(_one_script, text)
    if "\\" in text:
        text = _COMMANDED.sub(_parted, _ESCAPED_BLANK.sub(" ", text))
    if text.count("`") < 6 and text.count("$") < 6 and text.count("(") < 3:
        return text
    return "\n".join(map(_unwrapped, text.split("\n")))


def _one_script(match: re.Match[str]) -> str:
    """A word in two scripts in Latin letters, if all its Cyrillic ones look like these."""
    word = match.group()
    return word.translate(_LATIN_TWINS) if all(letter < "\u0400" or letter in _TWINS for letter in word) else word


def _parted(match: re.Match[str]) -> str:
    """`we \\cdot take \\cdot the` as three words."""
    words = re.sub(r"\\[A-Za-z]+", " ", match.group()).split()
    return " ".join(words) if _say(words, len(words) > 5) else match.group()


def _unwrapped(line: str) -> str:
    """A line in which the words that stand alone in marks make a sentence, without these marks."""
    words = [word for found in _WRAPPED.findall(line) for word in "".join(found).split()]
    if len(words) < _LEAST_WRAPPED or not _say(words, many=True):
        return line
    return _WRAPPED.sub(lambda match: f" {''.join(filter(None, match.groups()))} ", line)


def unjoined(text: str) -> str:
    """Return a text in which glued words that make a sentence stand apart."""
    if _OTHER.search(text):
        text = _BORDER.sub(lambda match: f"{match[0]} ", text)
    if _SPACED_LETTERS.search(text):
        text = _SPACED_LETTERS.sub(_one_word, text)
    text = _CHAIN.sub(_parts, text)
    text = _MIXED.sub(_humps, text)
    text = _LOUD.sub(_lowered, text)
    if not _MARKED.search(text):
        return text
    return "\n".join(_unmarked(line) if _MARKED.search(line) else line for line in text.split("\n"))


def _one_word(match: re.Match[str]) -> str:
    """Letters with a sign between each two are a word, unless they are labels: `T.h.i.s`, not `U.S.A.`, `A-B-C`."""
    letters = _WORD.findall(match.group())
    return "".join(letters) if len(letters) > 3 and all(letter.islower() for letter in letters[1:]) else match.group()


def _parts(match: re.Match[str]) -> str:
    words = _WORD.findall(match.group())
    return " ".join(words) if _say(words, len(words) > 4) else match.group()


def _humps(match: re.Match[str]) -> str:
    """`WeTakeTheArea` as four words."""
    word = match.group()
    cuts = [at for at, letter in enumerate(word) if letter.isupper()]
    if len(cuts) < 3 or word.isupper():
        return word
    cuts = [0, *(cut for cut in cuts if cut), len(word)]
    words = [word[start:end] for start, end in pairwise(cuts)]
    said = words[words[0].islower() :]  # a program's names begin with `get`, `is`, `to`
    return f" {' '.join(words)} " if len(words) > 3 and _say(said, len(words) > 5) else word


def _lowered(match: re.Match[str]) -> str:
    """A sentence in capitals, or in capitals by chance, as its words."""
    words = _WORD.findall(match.group())
    return match.group().lower() if _say(words, len(words) > 5) else match.group()


def _unmarked(line: str) -> str:
    """A line whose marked words make a sentence, without the marks."""
    pieces = re.split(r"(\s+)", line)
    marked = [at for at, piece in enumerate(pieces) if _MARKED.search(piece)]
    words = [word for at in marked for word in _WORD.findall(pieces[at])]
    if len(words) < 4 or not _say(words, len(words) > 5):
        return line
    for at in marked:
        pieces[at] = " ".join(_WORD.findall(pieces[at]))
    return "".join(pieces)


def _say(words: list[str], many: bool) -> bool:
    """Say whether words are a sentence: in the lists nearly all, and small words among them; `many` need fewer. In a
    long one the small words that programs use too (`of`, `and`) are small words."""
    listed = small = 0
    keywords = _KEYWORDS if len(words) < _LONG else frozenset[str]()
    for word in words:
        form = word.lower()
        if _OTHER.match(form) and _family(form) == "latin":  # a script in which programs name nothing
            listed, small = listed + 1, small + 1
            continue
        found = lexicon.known(form, _family(form))
        listed += (found.listed and len(word) > 1) or form in ("a", "i")
        small += found.listed and len(word) > 1 and found.top > _FUNCTION_WORD and form not in keywords
    return 4 * listed >= 3 * len(words) and (8 if many else 5) * small >= len(words)


def _family(word: str) -> str:
    return "cyrillic" if "\u0400" <= word[0] <= "\u052f" else "arabic" if "\u0600" <= word[0] <= "\u06ff" else "latin"

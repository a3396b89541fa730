r"""Where a text that marks no answer says it: a text enters, the piece of it that is the answer leaves, or None.

Models often answer in plain words: "225*sqrt(11)", "The distance is 5√2.", "所以解集为 [-2, 1]。" The answer is the
whole closing sentence where that reads as one answer, else what its last "is" or "=" announces, else the last formula
or number with the words after it, which may be its unit. What a sentence denies or doubts is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stages.core.text import SENTENCE_END, doubted
from stages.rewards.mathematics import beside, chemistry, identifiers, kept, moments, prose, wording
from stages.rewards.mathematics.expression_node import has_words
from stages.rewards.mathematics.expression_tokens import FUNCTIONS, OPERATORS
from stages.rewards.mathematics.numbers import MAX_CHARACTERS, Number, normal, plain, read_number
from stages.rewards.mathematics.numerals import as_digits
from stages.rewards.mathematics.reading import EXCEPT, SEGMENT, VERB, joint, qualified, read

_MATH = frozenset("0123456789\\∞√π²³⁴")
_SENTENCE = 300  # characters of a sentence that is read whole
_LABEL = re.compile(
    r"^\W*(?:step|case|part|problem|question|example|equation|figure|table|section)\s*\d+\W*", re.IGNORECASE
)
_SIGN = re.compile(r"(?<![<>!=:])=(?!=)|[:：](?!\d)")
_PROSE = re.compile(
    rf"(?<![\\A-Za-z{{_])(?!(?:{'|'.join(sorted(FUNCTIONS | OPERATORS))}|sqrt|mod|and|base)(?![A-Za-z]))"
    r"[A-Za-z]{3,}(?![A-Za-z{])|[äöüéèàç]|[\u3041-\u30ff]"
)
_JOINING = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|now|finally|also|it follows that|that is|this means(?: that)?"
    r"|without (?:a |any )?(?:doubt|question)|undoubtedly|所以|因此|故)"
    r"[\s,:，]+)+",
    re.IGNORECASE,
)
_LEADING = re.compile(r"(?:[^\W\d_]{2,}[\s,:]+|[^\W\d_]['’][^\W\d_]{2,}\s|[Aa] ){1,8}")
_TRAILING = re.compile(r"(?:[\s,]+[^\W\d_]{2,}){1,4}[\s.]*$|\s*(?:です|である|でした|となる|だ)$")
_BOUNDING = re.compile(
    r"\b(?:not|never|no|about|approximately|roughly|around|nearly|almost|over|under|less|more|greater|fewer|least|most"
    r"|between|from|step|base|but|except|besides|unless|other|neither|nor|either|without)\b|n['’]t\b",
    re.IGNORECASE,
)


def last_answer(text: str, gold: str = "0") -> str | None:
    r"""Return the answer that a text without marks commits to, None where there is none, and where the closing sentence
    denies or doubts it. Of the gold answer only its kind counts: words, letters, or what holds digits; and a closing
    sentence that is the gold itself is found as it stands."""
    whole = prose.settled(text.strip().strip("*").strip())
    line = whole.rsplit("\n", 1)[-1].strip().strip("*").strip()
    sentences = [part.strip() for part in SENTENCE_END.split(line) if part.strip()]
    while len(sentences) > 1 and (prose.is_check(sentences[-1]) or not any(map(str.isalnum, sentences[-1]))):
        sentences.pop()
        text = whole = ". ".join(sentences)
    closing = sentences[-1] if sentences else ""
    labelled = _LABEL.match(closing) is not None
    sentence = _JOINING.sub("", _LABEL.sub("", closing))
    if doubted(sentence):
        return None
    if wording.is_words(gold) or identifiers.dotted(gold) or _is_gold(sentence, gold):
        return sentence[-_SENTENCE:]
    numeric = isinstance(read_number(gold), Number)
    lettered = not any(letter.isdigit() for letter in gold)
    for piece in _candidates(sentence, sentence if labelled else whole):
        if len(piece) <= _SENTENCE and _is_answer(piece, lettered):
            at = sentence.rfind(piece)
            return None if at > 0 and numeric and prose.denies(sentence[:at], piece) else piece
    spoken = as_digits(sentence)
    if spoken != sentence:
        return spoken
    return _last_piece(sentence if labelled else text)


def _is_gold(sentence: str, gold: str) -> bool:
    """Say whether a closing sentence is the gold answer itself in other signs, or lists the things that it counts."""
    plain_text, wanted = normal(sentence), normal(gold)
    if wording.squeezed(plain_text) == wording.squeezed(wanted) or chemistry.same(plain(sentence), plain(gold)):
        return True
    return plain_text[:1].isdigit() and not prose.hedges(sentence) and beside.compare(sentence, gold) is True


def _candidates(sentence: str, whole: str) -> Iterator[str]:
    """The pieces of a closing sentence that may be its answer, the likeliest first: what its last verb announces, all
    of it, without the words it opens with, the text as a whole (a display), what its last sign announces."""
    for announced in _announced(sentence, VERB):
        yield announced
        yield from _opened(announced)
    yield sentence
    yield from _opened(sentence)
    yield whole
    yield from _announced(sentence, _SIGN)


def _opened(piece: str) -> Iterator[str]:
    """A piece without the words that it opens with, unless they bound or deny what follows."""
    opening = _LEADING.match(piece)
    if opening is None or _BOUNDING.search(opening.group()) or prose.twists(opening.group()):
        return
    rest = piece[opening.end() :]
    if not (rest[:1].isdigit() and kept.changes(opening.group(), rest.lstrip("0123456789.,"))):
        yield rest


def _announced(sentence: str, announcing: re.Pattern[str]) -> Iterator[str]:
    """What the last verb of a sentence announces, or its last sign (`=`, `:`)."""
    ends = [match.end() for match in announcing.finditer(sentence)]
    if ends:
        yield sentence[ends[-1] :].strip()


def _is_answer(piece: str, lettered: bool) -> bool:
    """Say whether a piece of text reads as one answer from end to end; one of letters alone only if `lettered`."""
    bare = normal(piece)
    if not bare:
        return False
    if isinstance(read_number(bare), Number) and not prose.hedges(piece):
        return True
    if wording.meaning(bare) or moments.is_time(bare):
        return True
    wordy = _PROSE.search(_TRAILING.sub("", qualified(piece)[0])) and not EXCEPT.search(piece)
    if wordy or not (lettered or any(letter in _MATH for letter in piece)):
        return False
    node = read(piece)
    return node is not None and not has_words(node)


def _with_unit(text: str, number: str | None) -> str | None:
    """The last number of a text with the rest of its sentence, where that reads as one number too: its unit."""
    at = text.rfind(number) if number else -1
    rest = SENTENCE_END.split(text[at:], maxsplit=1)[0].strip() if at >= 0 else ""
    return rest if len(rest) <= _SENTENCE and isinstance(read_number(normal(rest)), Number) else number


def _last_piece(text: str) -> str | None:
    """Return the last formula between dollars, with what "or" or "and" joins to it, or the last number where that comes
    later."""
    tail = text[-4 * MAX_CHARACTERS :]
    if tail.count("$") % 2:
        tail = tail.replace("$", " ", 1)  # the partner of the first stands before the tail
    found = list(SEGMENT.finditer(tail))
    if not found or any(letter.isdigit() for letter in tail[found[-1].end() :]):
        return _with_unit(text, prose.last_number(text))
    first = len(found) - 1
    while first and joint(tail[found[first - 1].end() : found[first].start()]):
        first -= 1
    return tail[found[first].start() : found[-1].end()]

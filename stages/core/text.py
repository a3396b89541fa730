"""Pure functions on completions: what was thought, what was committed to, and in which language.

A text and the contract's tags enter; spans, answers, reasons and shares leave. Rewards, evaluation, curation and the
report all read completions through this file, so they can never disagree on where the answer is. Everything runs in
linear time on hostile input (a megabyte of braces, nested tags): there is no regex here whose parts can match the
same characters in two ways.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Tags = Sequence[str]  # (opening, closing), as the contract stores them

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"

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

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_PHRASE = re.compile(r"answer\s+is|answer\s*[:：]|答案\s*[是为為:：]|####", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？\n]")
_SPOKEN = re.compile(rf"[{CJK}]|[A-Za-z]{{2,}}")  # a Chinese character is a word, a single letter is none
_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+", re.UNICODE)
_LATEX_COMMAND = re.compile(r"\\[A-Za-z]+")
_ANY_TAG = re.compile(r"</?[A-Za-z][A-Za-z_]{0,30}>")
_MASKED = (("```", "```"), ("`", "`"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))


class Span(NamedTuple):
    """The content between two tags: `text[start:end]`; `closed` is False where the closing tag never came."""

    start: int
    end: int
    closed: bool


class Commitment(NamedTuple):
    """What a completion finally commits to.

    `how` says where it stood: `answer` (an answer span), `box`, `phrase` (after "the answer is"), `open` (nothing
    marks an answer: `text` is then everything after the thinking, and the verifier looks for its last number or
    letter) or `none` (`text` is the reason).
    """

    text: str
    how: Literal["answer", "box", "phrase", "open", "none"]


def spans(text: str, tags: Tags) -> list[Span]:
    """Return the content spans of one pair of tags, in order; an opening tag inside an open span belongs to its
    content."""
    opening, closing = tags
    found: list[Span] = []
    at = text.find(opening)
    while at >= 0:
        start = at + len(opening)
        end = text.find(closing, start)
        if end < 0:
            found.append(Span(start, len(text), False))
            break
        found.append(Span(start, end, True))
        at = text.find(opening, end + len(closing))
    return found


def thinking(text: str, think_tags: Tags) -> str:
    """Return the text of the thinking spans joined by newlines; "" where there are none. `text` is prefill +
    completion."""
    return "\n".join(text[span.start : span.end] for span in spans(text, think_tags))


def format_fault(text: str, think_tags: Tags, answer_tags: Tags, *, silent: bool = False) -> str:
    """Say in words why a text misses R1-Zero's strict format; "" when it keeps it.

    Strict: exactly one think span, then exactly one answer span, neither of them empty, and only whitespace around
    them; with `silent` the think span may be empty. `text` is the contract's prefill + the completion. The first fault
    in reading order is the one named.
    """
    places: list[tuple[int, int]] = []
    cursor = 0
    for opening, closing in (think_tags, answer_tags):
        start = text.find(opening)
        if start < 0:
            return f"no {opening}"
        if text.find(opening, start + len(opening)) >= 0:
            return f"two {opening}"
        if start < cursor:
            return f"{opening} inside or before {think_tags[0]}"
        end = text.find(closing)
        if end < 0:
            return f"{opening} not closed: cut off"
        if end < start:
            return f"{closing} before {opening}"
        if text.find(closing, end + len(closing)) >= 0:
            return f"two {closing}"
        if text[cursor:start].strip():
            return f"text before {opening}"
        may_be_empty = silent and opening == think_tags[0]
        if not may_be_empty and not text[start + len(opening) : end].strip():
            return f"empty {opening}"
        places.append((start, end))
        cursor = end + len(closing)
    if text[cursor:].strip():
        return f"text after {answer_tags[1]}"
    return ""


def boxed(text: str) -> list[str]:
    r"""Return the contents of the outermost closed \boxed{...} and \fbox{...}, in order; braces balance, \{ and \}
    are plain text."""
    found: list[str] = []
    stack: list[int] = []  # content start of a box, or -1 for a plain brace
    boxes_open = 0
    for match in _BOX_TOKEN.finditer(text):
        token = match.group()
        if token.endswith("{") and token != "\\{":
            is_box = len(token) > 1
            stack.append(match.end() if is_box else -1)
            boxes_open += is_box
        elif token == "}" and stack:
            start = stack.pop()
            boxes_open -= start >= 0
            if start >= 0 and boxes_open == 0:
                found.append(text[start : match.start()])
        # a box that never closes keeps `boxes_open` above zero: what follows it lies inside it
    return found


def final_part(text: str, think_tags: Tags, answer_tags: Tags) -> str | None:
    """Return what stands after the thinking, or None when the thinking never ends.

    The final part begins after the last think tag. Without think tags the whole text is final. After an opening tag
    that never closes only an answer span counts: a model that forgot `</think>` but wrote `<answer>` has committed
    itself.
    """
    opened, closed = text.rfind(think_tags[0]), text.rfind(think_tags[1])
    if opened < 0 and closed < 0:
        return text
    if closed > opened:
        return text[closed + len(think_tags[1]) :]
    answer = text.find(answer_tags[0], opened)
    return text[answer:] if answer >= 0 else None


def summary(text: str, think_tags: Tags, answer_tags: Tags) -> str | None:
    """Return what the user reads, stripped: the last answer span after the thinking, if it is closed; else None."""
    final = final_part(text, think_tags, answer_tags) or ""
    found = spans(final, answer_tags)
    return final[found[-1].start : found[-1].end].strip() if found and found[-1].closed else None


def whole(completion: str, think_tags: Tags) -> str:
    """Return a response with the opening think tag that the prompt ended with, where the completion lacks it."""
    opened, closed = completion.find(think_tags[0]), completion.find(think_tags[1])
    return completion if closed < 0 or 0 <= opened < closed else think_tags[0] + completion


def last_committed(text: str, think_tags: Tags, answer_tags: Tags) -> Commitment:
    r"""Return what a completion finally commits to; an answer that stands only inside the thinking is none.

    In this order: the last answer span (closed or cut off), the last \boxed{}, the sentence after the last "answer
    is" / "答案是" / "####", else the whole final part. `text` is the contract's prefill + the completion.
    """
    final = final_part(text, think_tags, answer_tags)
    if final is None:
        return Commitment(f"{think_tags[0]} not closed: cut off", "none")
    opened = final.rfind(answer_tags[0])
    if opened >= 0:
        content = final[opened + len(answer_tags[0]) :]
        return Commitment(content.split(answer_tags[1], 1)[0].strip(), "answer")
    final = final.replace(answer_tags[1], " ")
    boxes = boxed(final)
    if boxes:
        return Commitment(boxes[-1].strip(), "box")
    said = after_phrase(final)
    if said is not None:
        return Commitment(said, "phrase")
    if not final.strip():
        return Commitment("no answer found", "none")
    return Commitment(final.strip(), "open")


def after_phrase(text: str) -> str | None:
    """Return the rest of the sentence after the last "answer is", "Answer:", "答案是" or "####"; None where nobody says
    so."""
    last = max((match.end() for match in _PHRASE.finditer(text)), default=None)
    if last is None:
        return None
    rest = text[last : last + 4000].lstrip(" \t\r\n:：")
    return _SENTENCE_END.split(rest, maxsplit=1)[0].strip()


def canonical(text: str) -> str:
    """Return the form under which two problems count as the same: NFKC, case folded, whitespace runs as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """Split into case-folded words: letters and digits in a row are one word, each CJK character is one, punctuation
    none."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def ngrams(items: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """Return the distinct runs of `size` words; a shorter text is one run of its own length, an empty one gives
    none."""
    if not items:
        return set()
    if len(items) < size:
        return {tuple(items)}
    return {tuple(items[i : i + size]) for i in range(len(items) - size + 1)}


def repetition(text: str, size: int = 6) -> float:
    """Return the share of word n-grams (n = `size`) that occurred before: 0 for fresh text, near 1 for a loop; 0
    below n words."""
    items = words(text)
    total = len(items) - size + 1
    return 0.0 if total <= 1 else 1.0 - len(ngrams(items, size)) / total


def prose(text: str) -> str:
    """Blank out what belongs to no language: code, formulas, LaTeX commands and tags."""
    for opening, closing in _MASKED:
        text = _blank(text, opening, closing)
    return _ANY_TAG.sub(" ", _LATEX_COMMAND.sub(" ", text))


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
    counts = Counter(_word_script(word) for word in _WORD.findall(prose(text)))
    del counts[""]
    return counts[target], counts.total()


def language_share(text: str, language: str) -> float | None:
    """Return the share (0 to 1) of words in the target language, or None where the text has no words (R1 v2, eq. 7).

    Words are those of `language_words`; None too for a language that no script decides.
    """
    mine, total = language_words(text, language) or (0, 0)
    return mine / total if total else None


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
    if re.match(rf"[{CJK}]", letter):
        return "CJK"
    return unicodedata.name(letter, "?").removeprefix("FULLWIDTH ").split(" ", 1)[0]


def _blank(text: str, opening: str, closing: str) -> str:
    """Replace each `opening … closing` by a space; stops at the first that never closes, which keeps it linear."""
    kept: list[str] = []
    cursor = 0
    while (start := text.find(opening, cursor)) >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        kept += (text[cursor:start], " ")
        cursor = end + len(closing)
    return "".join((*kept, text[cursor:])) if kept else text


def mixes_languages(completion: str, answer_tags: tuple[str, str]) -> bool:
    """Say whether the prose is partly English, partly Chinese: sentences in each, or one where neither prevails.

    A sentence belongs to the language of most of its words; where the other one has more than a third, it mixes by
    itself. Code, formulas, tags, answers and single letters (cups, options, unknowns) belong to no language.
    """
    kept, cursor = [], 0
    for span in spans(completion, answer_tags):
        kept.append(completion[cursor : span.start])
        cursor = span.end
    heard: set[bool] = set()
    for sentence in _SENTENCE_END.split(prose("".join((*kept, completion[cursor:])))):
        chinese = [not word.isascii() for word in _SPOKEN.findall(sentence)]
        if 3 * min(sum(chinese), len(chinese) - sum(chinese)) > len(chinese):
            return True
        if chinese:
            heard.add(2 * sum(chinese) > len(chinese))
    return len(heard) == 2

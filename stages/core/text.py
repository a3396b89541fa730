"""Pure functions on completions: what was thought, and what was committed to.

A text and the contract's tags enter; spans, answers, reasons and shares leave. Rewards, evaluation, curation and the
report all read completions through this file, so they can never disagree on where the answer is. Everything runs in
linear time on hostile input (a megabyte of braces, nested tags): there is no regex here whose parts can match the
same characters in two ways.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Tags = Sequence[str]  # (opening, closing), as the contract stores them

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"

_BOX_TOKEN = re.compile(r"\\{1,2}(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_PHRASE = re.compile(r"answer\s+is(?!n['’]t)|answer\s*[:：]|答案\s*[是为為:：]|####", re.IGNORECASE)
SENTENCE_END = re.compile(r"[.!?](?=\s|$)(?!(?<=\b[A-Z]\.)\s[a-z])|[。！？\n]")  # not within E. coli
_DOUBT = re.compile(
    r"\b(?:(?:do|does|did|could|would|is|are|was|ca|wo)n['’]t"
    r"|(?:do|does|did|can|could|would|will|is|are|was|am) not|cannot)"
    r"\s(?:[a-z]+\s){0,2}?(?:think|say|tell|determine|know|believe|decide|sure|certain|the|be|correct|right)\b"
    r"|\b(?:unable|unsure|whether|doubt)\b|\bnot (?:the|my|our|an?) (?:[a-z]+ ){0,2}?(?:answer|result|solution)"
    r"|无法|不能确定|是否|不是(?:答案|结果)",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(r"(?:\bnot|n['’]t|\bnever|不是|不等于)[\s$(]*$", re.IGNORECASE)
_DENIED_AFTER = re.compile(r"[\s$)]{0,4}(?:is|was)\s(?:not (?:right|correct|the)|incorrect|wrong)\b", re.IGNORECASE)
_DISPLAYS = (("\\[", "\\]"), ("$$", "$$"))
_DRESS = re.compile(r"\\(?:q?quad|text|mathrm|[()\[\],;: ])|[\s$~{}*]")
_JOINT = re.compile(r" *(?:[,;，；、或和与]|(?:[^\d.!?=，。]*[ )])?(?:and|or)) *(?:[A-Za-z](?:_\d)? *= *)?")
WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+", re.UNICODE)
_FILLERS = frozenset("\u2800\u3164\u115f\u1160\uffa0")  # letters by name that show nothing


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


_CUT_OFF = Commitment("a box that never closes", "none")


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
        if not may_be_empty and not visible(text[start + len(opening) : end]):
            return f"empty {opening}"
        places.append((start, end))
        cursor = end + len(closing)
    if text[cursor:].strip():
        return f"text after {answer_tags[1]}"
    return ""


def boxed(text: str) -> list[str]:
    r"""Return the contents of the outermost closed \boxed{...} and \fbox{...}, in order; braces balance, \{ and \}
    are plain text."""
    return [text[start:end] for _, start, end in _boxes(text)[0]]


def _boxes(text: str) -> tuple[list[tuple[int, int, int]], bool]:
    r"""Return (where \boxed begins, where its content begins, where that ends) for each outermost closed box, and
    whether one never closes."""
    found: list[tuple[int, int, int]] = []
    stack: list[tuple[int, int]] = []  # begin of a box and of its content, or (-1, -1) for a plain brace
    boxes_open = 0
    for match in _BOX_TOKEN.finditer(text):
        token = match.group()
        if token.endswith("{") and token != "\\{":
            is_box = len(token) > 1
            stack.append(match.span() if is_box else (-1, -1))
            boxes_open += is_box
        elif token == "}" and stack:
            begin, start = stack.pop()
            boxes_open -= start >= 0
            if start >= 0 and boxes_open == 0:
                found.append((begin, start, match.start()))
        # a box that never closes keeps `boxes_open` above zero: what follows it lies inside it
    return found, boxes_open > 0


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
    is" / "答案是" / "####", else the whole final part. Where a box never closes, the text was cut off while it
    committed itself, and that is none. `text` is the contract's prefill + the completion.
    """
    final = final_part(text, think_tags, answer_tags)
    if final is None:
        return Commitment(f"{think_tags[0]} not closed: cut off", "none")
    opened = final.rfind(answer_tags[0])
    if opened >= 0:
        content, _, rest = final[opened + len(answer_tags[0]) :].partition(answer_tags[1])
        beside = rest.rpartition(answer_tags[1])[0]  # an answer inside an answer: what stands beside it counts too
        said = f"{content.strip()} {beside.strip()}".strip()
        return _CUT_OFF if _open_box(said) else Commitment(said, "answer")
    final = final.replace(answer_tags[1], " ")
    if _open_box(final):
        return _CUT_OFF
    found = marked(final)
    if found is not None:
        return found
    if not final.strip():
        return Commitment("no answer found", "none")
    return Commitment(final.strip(), "open")


def marked(text: str) -> Commitment | None:
    r"""Return what a text marks as its answer, None where nothing is marked: the last \boxed{} that is not denied ("not
    \boxed{4}", "\boxed{4} is wrong"), with those that "and", "or" or a comma join to it, else the sentence after the
    last "answer is" / "答案是" / "####"."""
    boxes = [
        (begin, start, end)
        for begin, start, end in _boxes(text)[0]
        if not (_DENIED_BEFORE.search(text[max(0, begin - 20) : begin]) or _DENIED_AFTER.match(text, end + 1))
    ]
    if boxes:
        first = len(boxes) - 1
        while first and _is_joint(text[boxes[first - 1][2] + 1 : boxes[first][0]]):
            first -= 1
        return Commitment(" , ".join(dict.fromkeys(text[start:end].strip() for _, start, end in boxes[first:])), "box")
    said = after_phrase(text)
    return None if said is None else Commitment(said, "phrase")


def after_phrase(text: str) -> str | None:
    """Return the rest of the sentence after the last "answer is", "Answer:", "答案是" or "####"; None where nobody says
    so, or only doubts it ("I cannot tell whether the answer is 5")."""
    last = max((match.end() for match in _PHRASE.finditer(text) if not _is_doubted(text, match)), default=None)
    if last is None:
        return None
    rest = text[last : last + 4000].lstrip(" \t\r\n:：*")
    for opening, closing in _DISPLAYS:
        end = rest.find(closing, len(opening)) if rest.startswith(opening) else -1
        if end > 0:
            return " ".join(rest[: end + len(closing)].split())
    return SENTENCE_END.split(rest, maxsplit=1)[0].strip()


def _open_box(text: str) -> bool:
    return "box" in text and _boxes(text)[1]


def doubted(sentence: str) -> bool:
    """Say whether a sentence denies or doubts the answer that it names: "I don't think it can be 5"."""
    return _DOUBT.search(sentence) is not None


def _is_doubted(text: str, match: re.Match[str]) -> bool:
    before = SENTENCE_END.split(text[max(0, match.start() - 200) : match.end()])
    return doubted(before[-1])


def _is_joint(between: str) -> bool:
    """Say whether the text between two boxes joins them: nothing, a comma, or up to a few words that end in "and" or
    "or"."""
    if not between.strip(" $"):
        return True
    return len(between) < 80 and _JOINT.fullmatch(_DRESS.sub(" ", between)) is not None


def canonical(text: str) -> str:
    """Return the form under which two problems count as the same: NFKC, case folded, whitespace runs as one space."""
    return " ".join(_folded(text).split())


def words(text: str) -> list[str]:
    """Split into case-folded words: letters and digits in a row are one word, each CJK character is one, punctuation
    none."""
    return WORD.findall(_folded(text))


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


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
    if total <= 1:
        return 0.0
    return 1.0 - len(set(zip(*(items[at:] for at in range(size)), strict=False))) / total


def visible(text: str) -> int:
    """Return how many characters of a text can be seen: no blanks, control or format characters, fillers, nor marks
    that stand on other letters."""
    return sum(map(_seen, text))


@lru_cache(maxsize=4096)
def _seen(letter: str) -> bool:
    plain = letter.isprintable() and not letter.isspace() and letter not in _FILLERS
    return plain and not unicodedata.category(letter).startswith("M")

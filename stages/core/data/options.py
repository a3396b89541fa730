"""The options of a multiple-choice row: its columns enter, lettered lines and the letter of the right one leave.

Public sets keep options beside the question (`choices`, `options`, a column an option, a right answer and distractors)
and the answer as a letter, a label, a number or the option's text. A model that is not shown the options cannot answer,
and "2" is no letter: so the problem gets them as lines `A. …`, unless it holds them already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from stages.core import text
from stages.core.data.values import Unusable, as_text, parsed

LETTERS = "ABCDEFGHIJ"
"""What options are called: as many as the choice verifier knows."""
LISTS = ("options", "choices", "endings")
KEYS = ("answerKey", "answer_key", "answer_index", "answer_idx", "correct_option", "cop", "label")
"""Columns that name the right option, where `answer` does not."""
LOOSE = "label"
"""A column that may say something else of a row, such as how good it is."""
FIRM = tuple(name for name in KEYS if name != LOOSE)
"""Those that say nothing else."""
_ANSWERS = "answers"
"""A list of options where no `answer` stands beside it and one of KEYS does (ReClor): else all of them are right."""
_EACH = tuple(
    tuple(form.format(name) for name in names)
    for form, names in (
        *((form, "ABCDEFGHIJ") for form in ("{}", "option_{}", "Option {}", "choice_{}")),
        *((form, "ABCDEFGHIJ") for form in ("answer{}",)),
        *((form, "abcdefghij") for form in ("op{}", "option_{}", "choice_{}")),
        *((form, "1234567890"[:9]) for form in ("option{}", "option_{}", "choice{}", "choice_{}", "ending{}", "sol{}")),
        ("ending{}", "0123"),
    )
)
"""Columns of one option each."""
_APART = (
    ("correct_answer", ("distractor1", "distractor2", "distractor3")),
    ("Correct Answer", ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")),
    ("best_answer", ("incorrect_answers",)),
    ("correct_answer", ("incorrect_answers",)),
)
"""A column with the right option, and those with wrong ones."""
COLUMNS = frozenset((*LISTS, *KEYS, *(n for names in _EACH for n in names))) | {
    name for right, wrong in _APART for name in (right, *wrong)
}
"""All columns that may be read here."""
_MARK = re.compile(r"\s*[(（\[]?([A-Ja-j])\s?[)\].:：、]\s*(?=\S)")
_COUNT = re.compile(r"\s*(?:[(（\[]([1-9])[)\]）]\s*|([1-9])(?:[)）]\s*|[.:：、]\s+))(?=\S)")
_MARKS = re.compile(r"(?:^|(?<=[\s,;]))[(（\[]?([A-Ja-j])\s?[)\].:：](?=\s|[^\s\w]|\w)")
"""Each mark of options that are one text: MathQA's `a ) 38 , b ) 27`."""
_NAMED = re.compile(
    r"\s*(?:(?:the )?(?:(?:correct|right|final) )?(?:answer|option|choice)(?: is)?\s?[:：]?\s?"
    r"|答案(?:是|为|為)?[:：]?\s?)?"
    r"[*\s]{0,4}[(（\[]?([A-Ja-j])[)）\].:：。*]*\s*",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s?\{([^{}]*)\}")
_NAME = re.compile(r"(?:op(?:t(?:ion)?)?|choice|ans(?:wer)?)?[ _]?[A-Ja-j0-9]", re.IGNORECASE)
"""A key of a map of options, not one of other settings."""
_FIGURE = re.compile(r"[+-]?\d{1,40}(?:\.\d{1,40})?")
_WORDS = {True: ("true", "yes"), False: ("false", "no")}

_SEVERAL = re.compile(r"[A-J](?:\s?[,;、，/&]?\s?[A-J])+")
"""Several letters in one text: AC, "A, C"."""
NONE_SUCH = "no such option"
"""Why a row goes whose answer names none of its options, or two."""
UNCLEAR = "unclear options"
"""Why a row goes whose options cannot be shown, or not so that one letter is right."""


class Options(NamedTuple):
    """The options of a row, in their order, and which is right."""

    texts: Sequence[str]
    labels: Sequence[str]
    right: int | None = None
    """Known where the right one has a column of its own."""
    counted: bool = True
    """Whether a number beside the labels is one of them: no number (PIQA's 1 is `sol2`) where columns gave them."""
    placed: bool = True
    """Whether a number may be a place: not where the options were put in the order of their own letters."""
    first: int | None = None
    """What the first option is called by numbers that are no labels, where that is known: 0 or 1."""
    worded: bool = False
    """Whether a number that is an option's text means that option."""

    def lines(self) -> str:
        """As a problem shows them."""
        return "\n".join(f"{letter}. {said}" for letter, said in zip(LETTERS, self.texts, strict=False))

    def letter(self, answer: Any, *, numbers: bool = True) -> str:
        """Return the letter of the one option that an answer names by letter, label, number or text, else "".

        Without `numbers`, digits are a label or a text and no place: those of a solution's box.
        """
        at = self.right if self.right is not None else self._place(answer, numbers)
        if at is None or not 0 <= at < len(self.texts) or self.texts.count(self.texts[at]) > 1:
            return ""
        return LETTERS[at]

    def _place(self, answer: Any, numbers: bool) -> int | None:
        if isinstance(answer, bool):
            same = [at for word in _WORDS[answer] for at in self._same(word)]
            return same[0] if len(same) == 1 else None
        if self.worded and (same := self.valued(answer)):
            return same[0] if len(same) == 1 else None
        if isinstance(answer, float | Decimal) and answer == answer and answer % 1 == 0:
            answer = int(answer)
        if not isinstance(answer, int | str):
            return None
        said, number = str(answer).strip(), isinstance(answer, int)
        if numbers and self.first is not None and (counted := self.number(answer)) is not None:
            return counted - self.first
        if said in self.labels and (self.counted or not number):
            return self.labels.index(said) if self.labels.count(said) == 1 else None
        same, named = [] if number else self._same(said), _NAMED.fullmatch(_WRAPPED.sub(r"\1", said))
        if named:
            at = self._lettered(named[1].upper())
            return at if same in ([], [at]) else None
        if same:
            return same[0] if len(same) == 1 else None
        if mark := _MARK.match(said):
            at = self._lettered(mark[1].upper())
            return at if at in self._same(said[mark.end() :]) else None
        return self._numbered(said, number) if numbers else None

    def number(self, answer: Any) -> int | None:
        """Return the number by which an answer counts the options, None where it names one in another way."""
        said = str(answer).strip()
        if isinstance(answer, bool) or not re.fullmatch(r"\d(?:\.0)?", said) or not self.placed:
            return None
        if (isinstance(answer, str) and self._same(said)) or (self.counted and self._labelled_by_number()):
            return None
        return int(said[0])

    def valued(self, answer: Any) -> list[int]:
        """Return the places of the options whose text is the number that an answer is, [] for another answer."""
        if isinstance(answer, bool) or not isinstance(answer, int | float | Decimal):
            return []
        return [at for at, each in enumerate(self.texts) if (said := _figure(each)) and said == as_text(answer)]

    def reads_as_text(self, answer: Any) -> bool:
        """Whether an answer, a number too, is what one of the options says."""
        return bool(self._same(answer.strip()) if isinstance(answer, str) else self.valued(answer))

    def doubtful(self, answer: Any) -> bool:
        """Whether a number is the text of one option and may be the number of another."""
        if not (same := self.valued(answer)):
            return False
        at = self._replace(worded=False)._place(answer, True)
        last = self.first is None and self.number(answer) == len(self.texts)
        return last or (at is not None and 0 <= at < len(self.texts) and at not in same)

    def by_label(self, answer: Any) -> bool:
        """Whether an answer that is a number is taken for a label, unless it is known how its column counts."""
        return isinstance(answer, str) and self._labelled_by_number()

    def _labelled_by_number(self) -> bool:
        return any(each.isdecimal() for each in self.labels)

    def _same(self, said: str) -> list[int]:
        """The places of the options that read as a text does."""
        return [at for at, each in enumerate(self.texts) if text.canonical(each) == text.canonical(said)]

    def _lettered(self, letter: str) -> int | None:
        """The place that a letter names: by the labels where they are letters, else by what the options begin with."""
        labels = [each.upper() for each in self.labels]
        if labels and all(re.fullmatch("[A-Z]", each) for each in labels):
            return labels.index(letter) if labels.count(letter) == 1 else None
        at, marks = ord(letter) - ord("A"), [_MARK.match(each) for each in self.texts]
        other = at < len(marks) and all(marks) and (mark := marks[at]) is not None and mark[1].upper() != letter
        return None if other else at

    def _numbered(self, said: str, number: bool) -> int | None:
        """The place that a number names: none beside labels that are numbers, where they are counted."""
        if not self.placed or not re.fullmatch(r"\d(?:\.0)?", said):
            return None
        beside = self._labelled_by_number() and (self.counted or not number)
        return None if beside else int(said[0])

    def gold(self, answer: Any, *, numbers: bool = True) -> str:
        """Return the letters of all options that an answer names, `A, C`; "" where it names another thing too."""
        if isinstance(answer, str) and (several := _SEVERAL.fullmatch(answer.strip())):
            answer = re.findall("[A-J]", several.group())
        letters = [self.letter(each, numbers=numbers) for each in (answer if isinstance(answer, list) else [answer])]
        return ", ".join(dict.fromkeys(letters)) if all(letters) else ""

    def shown_in(self, problem: str) -> bool:
        """Whether a problem holds all options already, each behind its letter."""
        form, at = text.canonical(problem), 0
        for letter, each in zip(LETTERS, self.texts, strict=False):
            option = re.escape(text.canonical(each))
            found = re.compile(rf"(?<!\w){letter}[*\s]{{0,3}}[)\].:：、）]?[*\s]{{0,3}}{option}(?!\w)", re.I).search(
                form, at
            )
            if found is None:
                return False
            at = found.end()
        return True


def of_row(row: Mapping[str, Any], mapped: Any, order: Callable[[str], bytes]) -> Options | None:
    """Return the options of a row, None where it has none: those of the column the user named, else of the usual ones.

    `order` gives the place of an option where its row has the right one apart. Raises Unusable for options that cannot
    be shown as lines behind the letters A to J: fewer than two, more than ten, an empty one, one that is no text.
    """
    listed = mapped if mapped is not None else next((row[name] for name in LISTS if row.get(name)), None)
    if listed is None and "answer" not in row and any(row.get(name) not in (None, "") for name in KEYS):
        listed = row[_ANSWERS] if isinstance(row.get(_ANSWERS), list) else None
    try:
        found = _listed(parsed(listed) if isinstance(listed, str) else listed) or _by_column(row) or _apart(row, order)
    except Unusable as fault:
        raise Unusable(UNCLEAR, fault.detail or fault.reason) from fault
    if found is None or not found.texts:
        return None
    if not all(found.texts):
        raise Unusable(UNCLEAR, "one of them is empty")
    if not 2 <= len(found.texts) <= len(LETTERS):
        raise Unusable(UNCLEAR, f"{len(found.texts)} of them, and 2 to {len(LETTERS)} can be judged")
    return found


def _listed(value: Any) -> Options | None:
    if isinstance(value, str):
        return _in_text(value)
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        labels = value.get("label") or value.get("labels") or []
        return Options(_texts(value["text"]), [str(each) for each in labels])
    if isinstance(value, dict):
        named = bool(value) and all(_NAME.fullmatch(name) for name in value)
        return Options(_texts(list(value.values())), [name[-1] for name in value]) if named else None
    if not isinstance(value, list):
        return None
    if value and all(isinstance(each, dict) for each in value):
        if any("message" in each or "delta" in each for each in value):  # what a server answered
            return None
        texts = [next((each[name] for name in ("text", "content", "value") if name in each), each) for each in value]
        return Options(_texts(texts), [str(each.get("label", each.get("key", each.get("id", "")))) for each in value])
    return _marked(_texts(value))


def _figure(said: str) -> str | None:
    """An option that is a number, dressed as `$1,000$` or not, as `as_text` writes that number; None for another."""
    bare = re.sub(r"(?<=\d),(?=\d{3})|\\[()]|[$\s]", "", said).replace("−", "-")
    return as_text(Decimal(bare)) if _FIGURE.fullmatch(bare) else None


def _in_text(value: str) -> Options | None:
    """The options of one text that marks each: `a ) 38 , b ) 27`; None for another text."""
    marks, at = [], 0
    for mark in _MARKS.finditer(value):
        if at < len(LETTERS) and mark[1].upper() == LETTERS[at]:
            marks.append(mark)
            at += 1
    if len(marks) < 2 or value[: marks[0].start()].strip(" [\"'"):
        return None
    ends = [*(mark.start() for mark in marks[1:]), len(value)]
    said = [value[mark.end() : end].strip().strip(",;]\"'").strip() for mark, end in zip(marks, ends, strict=True)]
    return Options(_texts(said), [])


def _marked(said: list[str]) -> Options:
    """Options without the letters or the numbers that all of them begin with, which order them."""
    marks = [mark[1].upper() for mark in map(_MARK.match, said) if mark]
    if len(marks) == len(said) > 1 and sorted(marks) == list(LETTERS[: len(said)]):
        bare = [_MARK.sub("", each, count=1) for each in said]
        turned = [bare[marks.index(letter)] for letter in sorted(marks)]
        return Options(turned, [], placed=turned == bare)
    counts = [mark[1] or mark[2] for mark in map(_COUNT.match, said) if mark]
    if len(counts) == len(said) > 1 and counts == list("123456789"[: len(said)]):
        return Options([_COUNT.sub("", each, count=1) for each in said], counts)
    return Options(said, [])


def _by_column(row: Mapping[str, Any]) -> Options | None:
    for names in _EACH:
        if names[0] not in row:  # nearly always
            continue
        held = [name for name in names if as_text(row.get(name))]
        upto = names[: names.index(held[-1]) + 1] if held else ()
        if len(held) > 1 and held[0] == names[0] and all(name in row for name in upto):
            return Options(_texts([row[name] for name in upto]), [name[-1] for name in upto], counted=False)
    return None


def _apart(row: Mapping[str, Any], order: Callable[[str], bytes]) -> Options | None:
    for right, wrong in _APART:
        if not row.get(right):
            continue
        others = [
            each for name in wrong for each in (row[name] if isinstance(row.get(name), list) else [row.get(name)])
        ]
        if others and all(others):
            texts = sorted(_texts([row[right], *others]), key=order)
            return Options(texts, [], texts.index(_texts([row[right]])[0]))
    return None


def _texts(values: Sequence[Any]) -> list[str]:
    """Options as texts of one line each, without empty ones at the end."""
    said = [" ".join((as_text(each) or "").split()) for each in values]
    while said and not said[-1]:
        said.pop()
    return said

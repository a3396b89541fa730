"""The options of a multiple-choice row: its columns enter, lettered lines and the letter of the right one leave.

Public sets keep options beside the question (`choices`, `options`, a column an option, a right answer and distractors)
and the answer as a letter, a label, a number or the option's text. A model that is not shown the options cannot answer,
and "2" is no letter: so the problem gets them as lines `A. …`, unless it holds them already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from stages.core import text
from stages.core.data.values import Unusable, as_text, parsed

LETTERS = "ABCDEFGHIJ"
"""What options are called: as many as the choice verifier knows."""
LISTS = ("options", "choices", "endings")
KEYS = ("answerKey", "answer_key", "answer_index", "answer_idx", "correct_option", "cop", "label")
"""Columns that name the right option, where `answer` does not."""
PASSAGES = ("article", "passage")
"""What a question beside options is asked about."""
_EACH = tuple(
    tuple(form.format(name) for name in names)
    for form, names in (
        *((form, "ABCDEFGHIJ") for form in ("{}", "option_{}", "Option {}", "choice_{}")),
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
COLUMNS = frozenset((*LISTS, *KEYS, *PASSAGES, *(n for names in _EACH for n in names))) | {
    name for right, wrong in _APART for name in (right, *wrong)
}
"""All columns that may be read here."""
_MARK = re.compile(r"\s*[(（\[]?([A-J])[)）\].:：、]\s*(?=\S)")
_NAMED = re.compile(r"\s*[(（\[]?([A-Ja-j])[)）\].:：]*\s*")

_SEVERAL = re.compile(r"[A-J](?:\s?[,;、，/&]?\s?[A-J])+")
"""Several letters in one text: AC, "A, C"."""


class Options(NamedTuple):
    """The options of a row, in their order, and which is right."""

    texts: Sequence[str]
    labels: Sequence[str]
    right: int | None = None
    """Known where the right one has a column of its own."""
    counted: bool = True
    """Whether a number beside the labels is one of them: no number (PIQA's 1 is `sol2`) where columns gave them."""

    def lines(self) -> str:
        """As a problem shows them."""
        return "\n".join(f"{letter}. {said}" for letter, said in zip(LETTERS, self.texts, strict=False))

    def letter(self, answer: Any) -> str:
        """Return the letter of the option that an answer names by letter, label, number (from 0) or text, else ""."""
        if self.right is not None:
            return LETTERS[self.right]
        if isinstance(answer, float) and answer.is_integer():
            answer = int(answer)
        if isinstance(answer, bool) or not isinstance(answer, int | str):
            return ""
        said, number = str(answer).strip(), isinstance(answer, int)
        same = [place for place, each in enumerate(self.texts) if text.canonical(each) == text.canonical(said)]
        if said in self.labels and (self.counted or not number):
            at = self.labels.index(said)
        elif found := _NAMED.fullmatch(said):
            at = ord(found[1].upper()) - ord("A")
        elif len(same) == 1 and not number:
            at = same[0]
        else:
            at = int(said) if re.fullmatch(r"\d", said) else -1
        return LETTERS[at] if 0 <= at < len(self.texts) else ""

    def gold(self, answer: Any) -> str:
        """Return the letters of all options that an answer names, `A, C`; "" where it names another thing too."""
        if isinstance(answer, str) and (several := _SEVERAL.fullmatch(answer.strip())):
            answer = re.findall("[A-J]", several.group())
        letters = [self.letter(each) for each in (answer if isinstance(answer, list) else [answer])]
        return ", ".join(dict.fromkeys(letters)) if all(letters) else ""

    def shown_in(self, problem: str) -> bool:
        """Whether a problem holds all options already."""
        form = text.canonical(problem)
        at = 0
        for each in self.texts:
            at = form.find(text.canonical(each), at)
            if at < 0:
                return False
            at += len(text.canonical(each))
        return True


def of_row(row: Mapping[str, Any], mapped: Any, order: Callable[[str], bytes]) -> Options | None:
    """Return the options of a row, None where it has none: those of the column the user named, else of the usual ones.

    `order` gives the place of an option where its row has the right one apart.
    """
    listed = mapped if mapped is not None else next((row[name] for name in LISTS if row.get(name)), None)
    try:
        found = _listed(parsed(listed) if isinstance(listed, str) else listed) or _by_column(row) or _apart(row, order)
    except Unusable:  # pictures, or something else of that name
        return None
    if found is None or not 2 <= len(found.texts) <= len(LETTERS) or not all(found.texts):
        return None
    return found


def _listed(value: Any) -> Options | None:
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        labels = value.get("label") or value.get("labels") or []
        return Options(_texts(value["text"]), [str(each) for each in labels])
    if isinstance(value, dict):
        return Options(_texts(list(value.values())), list(value))
    if not isinstance(value, list):
        return None
    if value and all(isinstance(each, dict) for each in value):
        texts = [each.get("text", each.get("content", each.get("value"))) for each in value]
        return Options(_texts(texts), [str(each.get("label", each.get("key", each.get("id", "")))) for each in value])
    return Options(_texts(value), [])


def _by_column(row: Mapping[str, Any]) -> Options | None:
    for names in _EACH:
        held = [name for name in names if as_text(row.get(name))]
        if len(held) > 1 and held == list(names[: len(held)]):
            return Options(_texts([row[name] for name in held]), [name[-1] for name in held], counted=False)
    return None


def _apart(row: Mapping[str, Any], order: Callable[[str], bytes]) -> Options | None:
    for right, wrong in _APART:
        others = [
            each for name in wrong for each in (row[name] if isinstance(row.get(name), list) else [row.get(name)])
        ]
        if row.get(right) and others and all(others):
            texts = sorted(_texts([row[right], *others]), key=order)
            return Options(texts, [], texts.index(_texts([row[right]])[0]))
    return None


def _texts(values: Sequence[Any]) -> list[str]:
    """Options as texts, without the letters that all of them begin with, and without empty ones at the end."""
    said = [(as_text(each) or "").strip() for each in values]
    while said and not said[-1]:
        said.pop()
    marks = [_MARK.match(each) for each in said]
    if len(said) > 1 and all(mark and mark[1] == letter for mark, letter in zip(marks, LETTERS, strict=False)):
        said = [each[mark.end() :] for each, mark in zip(said, marks, strict=True) if mark]
    return said

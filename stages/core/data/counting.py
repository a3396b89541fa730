"""What a number in an answer column means: the option of that number, from 0 or from 1, or the option that says it.

The options of a row and the columns that name the right one enter, its letter leaves. One row seldom tells how a column
counts, so the whole of it is read; what it does not tell is said, or its row is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from stages.core.data.options import KEYS, LOOSE, NONE_SUCH, Options
from stages.core.data.values import Unusable, shown

BOTH = "a number that is an option's text and an option's number"
"""Why a row goes whose answer may mean two options, where nothing tells which."""


class Counting:
    """From which number each column of a source counts the options, as far as its rows tell.

    A column that is never 0 and somewhere the number of options counts from 1 (MedMCQA's own files), one that is
    somewhere 0 from 0, also where the options' columns are called 1 and 2 (PIQA). `first` is what the user says.
    Numbers in a column that is no key (`answer`) are texts where all of them are options' texts (`worded`).
    """

    def __init__(
        self, first: int | None = None, known: Mapping[str, int] | None = None, worded: Collection[str] = ()
    ) -> None:
        self._first, self._known, self._worded = first, dict(known or {}), frozenset(worded)
        self._seen: dict[str, Counter[str]] = {}

    def afresh(self) -> Counting:
        """Return one that knows as much and has met no row."""
        return Counting(self._first, self._known, self._worded)

    def add(self, below: Counting) -> None:
        """Note what another one met in rows further down."""
        for column, seen in below._seen.items():
            self._seen.setdefault(column, Counter()).update(seen)

    def gold(self, found: Options, given: Mapping[str, Any], only: str = "") -> str:
        """Return the letters that the columns of a row name, those of the first that names any; "" where none does.

        Of `only`, the column that the user named, where there is one; the others then do no more than contradict it.
        Raises Unusable where two columns count to different options, or a number may mean two.
        """
        if found.right is not None:
            return found.gold(None)
        letters = list[str]()
        counts = dict[str, str]()
        doubt, either = "", set[str]()
        for column, answer in given.items():
            numbers = self._note(found, column, answer)
            form = self._form(found, column)
            if self._doubted(form, column, answer):
                doubt, either = column, {form._replace(worded=each).gold(answer) for each in (True, False)}
                continue
            letter = form.gold(answer)
            if column == only and not letter:
                return ""
            if letter and not (doubt and column == LOOSE):
                letters.append(letter)
                counts |= {column: letter} if numbers and column != LOOSE else {}
        if doubt and not letters:
            self._seen[doubt]["left"] += 1
            raise Unusable(BOTH, f"`{doubt}`: {shown(given[doubt])} of {shown(found.texts)}"[:200])
        if doubt and letters[0] not in either:
            raise Unusable(NONE_SUCH, f"columns differ: {doubt} {shown(given[doubt])} is not {letters[0]}"[:200])
        if letters and letters[0] in counts.values() and len(set(counts.values())) > 1:
            raise Unusable(NONE_SUCH, f"columns differ: {', '.join(f'{name} {said}' for name, said in counts.items())}")
        return next(iter(letters), "")

    def settled(self) -> Counting | None:
        """Return the counting to read the source with again, None where every row was read as its column counts."""
        learned = {column: self._learned(seen) for column, seen in self._seen.items()}
        known = {column: first for column, first in learned.items() if first is not None}
        other = [column for column, first in known.items() if self._seen[column]["label" if first == 0 else "place"]]
        worded = [column for column, seen in self._seen.items() if seen["doubt"] and not seen["other"]]
        if self._first is not None or self._known or self._worded or not (other or worded):
            return None
        return Counting(None, known, worded)

    def told(self) -> list[str]:
        """Return a sentence on every column that does not count from 0, or of which that cannot be told."""
        if self._first is not None:
            return []
        both = [
            f"`{column}` is in {seen['left']} rows {BOTH}: they are left out; `first_option=0` or 1 takes the number"
            for column, seen in self._seen.items()
            if seen["left"]
        ]
        both += [
            f"`{column}` is a number that an option says in every row: it is read as that text, not as an option's "
            "number; `first_option=0` or 1 takes the number"
            for column in sorted(self._worded)
        ]
        return both + [said for column, seen in self._seen.items() if (said := self._told(column, seen))]

    def _told(self, column: str, seen: Counter[str]) -> str:
        if seen["first"] and seen["last"]:
            what = f"`{column}` is 0 in {seen['first']} rows and the number of options in {seen['last']}"
            return f"{what}: it is read as counting from 0; `first_option=1` counts from 1"
        if seen["last"] and seen["place"]:
            return (
                f"`{column}` is never 0 and in {seen['last']} rows the number of options: it is read as counting from 1"
            )
        if seen["place"] and not seen["first"]:
            what = f"no `{column}` is 0 or the number of options, so nothing tells how it counts"
            return f"{what}: it is read as counting from 0; `first_option=1` counts from 1"
        return ""

    def _of(self, column: str) -> int | None:
        return self._first if self._first is not None else self._known.get(column)

    def _plain(self, column: str) -> bool:
        """Whether the numbers of a column may be texts: no key's, and none of which the user says how they count."""
        return self._first is None and column not in KEYS

    def _form(self, found: Options, column: str) -> Options:
        return found._replace(first=self._of(column), worded=self._plain(column))

    def _doubted(self, form: Options, column: str, answer: Any) -> bool:
        if not self._plain(column) or column in self._worded:
            return False
        return any(map(form.doubtful, answer if isinstance(answer, list) else [answer]))

    def _note(self, found: Options, column: str, answer: Any) -> bool:
        """Note the numbers of an answer; whether there are any."""
        given = answer if isinstance(answer, list) else [answer]
        numbers = [(number, each) for each in given if (number := found.number(each)) is not None]
        seen = self._seen.setdefault(column, Counter())
        if self._plain(column):
            seen["doubt"] += any(map(found.doubtful, given))
            beyond = [isinstance(each, str) or 0 <= (found.number(each) or 0) <= len(found.texts) for each in given]
            seen["other"] += any(may and not found.reads_as_text(each) for each, may in zip(given, beyond, strict=True))
        for number, each in numbers:
            if self._plain(column) and found.valued(each):  # it may be a text, and then counts nothing
                continue
            seen["label" if found.by_label(each) else "place"] += 1
            seen["first"] += number == 0
            seen["last"] += number == len(found.texts)
        return bool(numbers)

    @staticmethod
    def _learned(seen: Counter[str]) -> int | None:
        return 0 if seen["first"] else 1 if seen["last"] else None

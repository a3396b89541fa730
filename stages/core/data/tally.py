"""What is told of the rows that prepare keeps: how many of which family and split, and golds that look like none.

Rows enter one by one as they are written; counts and sentences for the user leave.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from stages.core.data.values import shown

_COMMON = (0.2, 20)
"""From this share of rows on, in this many rows, a gold that is no option letter and no yes or no is told of."""


class Tally:
    """What is told of the rows that are kept."""

    def __init__(self) -> None:
        self.families: Counter[str] = Counter()
        self.splits: Counter[str] = Counter()
        self.golds: Counter[tuple[str, str]] = Counter()

    def take(self, row: dict[str, Any]) -> None:
        """Count one row."""
        self.families[row["family"] or "-"] += 1
        if "answer" in row:
            self.splits[row["split"]] += 1
            self.golds[row["answer"], row["verifier"]] += 1

    def warnings(self, rows: int) -> list[str]:
        """Say which gold covers a large share of the rows."""
        (gold, verifier), count = self.golds.most_common(1)[0] if self.golds else (("", ""), 0)
        usual = verifier not in ("math", "exact") or re.fullmatch(
            r"[A-Ja-j]|yes|no|true|false", gold.strip(), re.IGNORECASE
        )
        if usual or rows < _COMMON[1] or count < _COMMON[0] * rows:
            return []
        return [
            f"{count} of {rows} rows have the gold {shown(gold)}: is it an answer, or does it say that there is none?"
        ]


def unread(columns: Iterable[str], passages: Iterable[str] = ()) -> list[str]:
    """Say which columns hold what r1 cannot read: pictures, and `passages` that were left out."""
    pictures = [
        name for name in columns if re.fullmatch(r"(?:image|picture|img|photo|video|audio)s?(?:_?\d+)?", name, re.I)
    ]
    return [f"`{name}` is not read: a problem that needs it cannot be solved" for name in (*pictures, *passages)]

r"""`python -m tests.bench.corpus`: how often `accuracy` and math-verify, called row by row, err on labelled pairs.

The pairs of tests/rewards/corpus enter; a table leaves: per source the rows, and for both tools false negatives, false
positives, rows without a verdict, and the rate of all three. math-verify gets the answer that we extract (the whole
text where nothing marks one), as its README asks for: as it is where it holds LaTeX between dollars or a box, else
between dollars; its defaults; its own time limits. A gold that it cannot parse is a row without a verdict.
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stages.core.text import last_committed
from stages.rewards import accuracy
from stages.rewards.verdict import Verdict, shorten
from tests.rewards.contracts import contract, row
from tests.rewards.corpus import Pair, read

_CONTRACT = contract()
_MARKED = ("\\boxed", "\\(", "\\[")


@dataclass
class Rates:
    """Rows judged, and how many of them were judged wrongly, each way, or not at all."""

    rows: int = 0
    false_negatives: int = 0
    false_positives: int = 0
    none: int = 0

    def add(self, right: bool, value: float | None) -> None:
        """Count one verdict."""
        self.rows += 1
        self.none += value is None
        self.false_negatives += right and value == 0.0
        self.false_positives += not right and value == 1.0

    @property
    def errors(self) -> int:
        return self.false_negatives + self.false_positives + self.none

    @property
    def cells(self) -> str:
        share = 100 * self.errors / max(1, self.rows)
        return f"{self.false_negatives:>5}{self.false_positives:>5}{self.none:>6}{share:>8.2f}%"


def ours(pair: Pair) -> Verdict:
    """Judge a pair by the accuracy reward."""
    return accuracy.reward(pair.text, replace(row(pair.gold), problem=""), _CONTRACT)


def theirs(pair: Pair) -> Verdict:
    """Judge a pair by math-verify, with its defaults and its own time limits (main thread only)."""
    from math_verify import parse, verify

    gold = parse(_latex(pair.gold))
    if not gold:
        return Verdict(None, "gold cannot be parsed")
    found = last_committed(pair.text, _CONTRACT.think_tags, _CONTRACT.answer_tags)
    answer = parse(pair.text if found.how in ("open", "none") else _latex(found.text))
    return Verdict(float(verify(gold, answer)), shorten(f"{gold} against {answer}", 120))


def _latex(text: str) -> str:
    dollars = text.replace("\\$", "").count("$")  # a single one is a currency
    return text if dollars or any(mark in text for mark in _MARKED) else f"${text}$"


def measure(judged: Sequence[tuple[Pair, Verdict]]) -> dict[str, Rates]:
    """Return the rates per repository, and under `all` those of all."""
    rates: dict[str, Rates] = defaultdict(Rates)
    for pair, verdict in judged:
        rates["all"].add(pair.right, verdict.value)
        rates[pair.repository].add(pair.right, verdict.value)
    return rates


def main() -> None:
    """Print the table, and with `--wrong` every row that ours got wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours-only", action="store_true", help="leave math-verify out")
    parser.add_argument("--wrong", action="store_true", help="list the rows that ours judged wrongly")
    parser.add_argument("--theirs-wrong", action="store_true", help="list the rows that math-verify judged wrongly")
    parser.add_argument("--source", default="", help="only sources that contain this")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    pairs = [pair for pair in read() if asked.source in pair.source]
    mine = [(pair, ours(pair)) for pair in pairs]
    other = [] if asked.ours_only else [(pair, theirs(pair)) for pair in pairs]
    _table(measure(mine), measure(other))
    if asked.wrong:
        _list("ours", mine)
    if asked.theirs_wrong:
        _list("math-verify", other)


def _table(mine: dict[str, Rates], other: dict[str, Rates]) -> None:
    heading = f"{'fn':>5}{'fp':>5}{'none':>6}{'error':>9}"
    print(f"{'source':<44}{'rows':>6}  ours{heading}" + (f"  math-verify{heading}" if other else ""))
    for name in sorted(mine, key=lambda name: (name == "all", name)):
        end = f"             {other[name].cells}" if other else ""
        print(f"{name:<44}{mine[name].rows:>6}      {mine[name].cells}{end}")


def _list(name: str, judged: Sequence[tuple[Pair, Verdict]]) -> None:
    for pair, verdict in judged:
        if verdict.value != float(pair.right):
            wanted = "right" if pair.right else "wrong"
            said = {1.0: "right", 0.0: "wrong", None: "none"}[verdict.value]
            print(f"{name} {said}, is {wanted} | {pair.gold!r} | {pair.text!r} | {verdict.reason} | {pair.source}")


if __name__ == "__main__":
    main()

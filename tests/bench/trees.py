"""A program run with the code of this tree, and of another commit beside it: what it says of itself is printed.

It exists so that each bench of a stage only makes its input and says what a run tells.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.house.rooms import ROOT


def compare(about: str | None, program: str, write: Callable[[Path, int], None], *, rows: int) -> None:
    """Read `--rows` (default `rows`) and `--tree` off the command line, let `write` make the input once, and print for
    each tree what `program` says, which gets the input's path as its one argument."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--tree", type=Path, help="the checkout of another commit, measured in turn")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder) / "rows.jsonl", Path(folder) / "run.py"
        write(source, asked.rows)
        script.write_text(program)  # a file: a process that it spawns imports it again
        for tree in [ROOT, *([asked.tree] if asked.tree else [])]:
            print(f"{tree}: {_said(script, source, tree)}", flush=True)


def _said(script: Path, source: Path, tree: Path) -> str:
    made = subprocess.run(
        [sys.executable, str(script), str(source)],
        cwd=tree,
        env={"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    return made.stdout.strip() or made.stderr[-2000:]

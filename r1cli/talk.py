"""How a conversation looks in the terminal: thoughts dimmed or folded, words as they come, two models side by side."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

DIM, PLAIN = "\033[2m", "\033[0m"


class Spoke:
    """One answer as it is drawn; `quiet` shows nothing but that it goes on."""

    def __init__(self, *, fold: bool, quiet: bool) -> None:
        self._fold, self._quiet = fold, quiet
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._kind = ""
        self._thought, self._began = 0, time.monotonic()

    def add(self, kind: str, text: str) -> None:
        """Show a piece of a `thought`, or of what is `said`."""
        if self._quiet:
            return
        if kind != self._kind:
            self._turn(kind)
            text = text.lstrip("\n")
        if kind == "thought":
            self._thought += len(text)
        if kind == "said" or not self._fold:
            print(text, end="", flush=True)

    def end(self, *, cut: bool) -> None:
        """Close the answer's last line, and say so where it was cut."""
        if not self._quiet:
            self._turn("")
            print(" …" if cut else "", flush=True)
        if cut:
            print("(cut off before it ended; such an answer is not kept)", file=sys.stderr, flush=True)

    def _turn(self, kind: str) -> None:
        """Begin a thought, or end it."""
        if self._kind == "thought":
            folded = f"(thought for {time.monotonic() - self._began:.0f} s, {self._thought:,} characters)"
            print(folded if self._fold else "", PLAIN if self._colours else "", sep="", flush=True)
        if kind == "thought":
            print(DIM if self._colours else "", end="")
            if not self._fold and not self._colours:
                print("[thinking] ", end="")
        self._kind = kind


def side_by_side(names: Sequence[str], answers: Sequence[tuple[str, str]], *, fold: bool) -> None:
    """Two answers as columns: what each thought (dimmed, unless folded), and what it said."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*names, expand=True, box=None, padding=(0, 2, 0, 0))
    if not fold:
        table.add_row(*[Text(thought, style="dim") for thought, _ in answers])
    table.add_row(*[Text(said) for _, said in answers])
    Console(highlight=False, markup=False).print(table)

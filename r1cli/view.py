"""What the terminal shows: tables, live progress and the error panel. Plain values enter, text leaves.

Every rich object of the project is made here, and rich is imported only when something is drawn. Tables fit 80 columns.
Figures go to stdout and running commentary to stderr; under `--json` stdout holds one JSON document and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH = 80
PLAIN_EVERY = 5.0  # seconds between progress lines where stdout is no terminal
# What figures are called on screen, most wanted first; what an event lacks, or a line has no room for, is left out.
FIGURES = {
    "reward": "reward",
    "strict": "strict",
    "length": "length",
    "mean_length": "length",
    "format": "format",
    "kl": "kl",
    "entropy": "entropy",
    "accuracy": "acc",
    "pass@1": "pass@1",
    "loss": "loss",
}


def print_error(what: str, hint: str = "") -> None:
    """The error panel: one sentence for what, one for the way out, both on stderr and never wrapped."""
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print("\033[1;31merror:\033[0m" if colour else "error:", what, file=sys.stderr)
    if hint:
        print("hint: ", hint, file=sys.stderr)


def number(value: Any) -> str:
    """A figure in at most 9 characters: 3 significant digits for floats, thousands marked in counts, `-` for None."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.2e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def span(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on; above a hundred hours in days."""
    if seconds >= 360_000:
        return f"{seconds / 86_400:,.0f} d"
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def short_span(seconds: float) -> str:
    """Seconds in the unit a plan speaks in: 45 s, 12 min, 6.9 h, 31 d."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 86_400:,.0f} d"


def amount(count: float) -> str:
    """A large count with two to three digits and a letter: 840, 12k, 3.1M, 141G, 2.4T."""
    units = ["", "k", "M", "G", "T", "P"]
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        del units[0]
    return f"{count:.0f}{units[0]}" if count >= 10 or not units[0] else f"{count:.1f}{units[0]}"


def size(count: float) -> str:
    """Bytes in the unit a person would use."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


class Screen:
    """Where one command's words go; `as_json` moves all human text to stderr."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    @property
    def stream(self) -> TextIO:
        return sys.stderr if self.as_json else sys.stdout

    def say(self, text: str) -> None:
        """A sentence for people."""
        print(text, file=self.stream, flush=True)

    def data(self, value: Any) -> None:
        """The command's result as JSON; printed only under `--json`."""
        if self.as_json:
            from stages.core.fingerprint import plain

            print(json.dumps(plain(value), ensure_ascii=False, indent=2), flush=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        title: str = "",
        *,
        widths: Sequence[int] | None = None,
    ) -> None:
        """A table; a column named `>…` is right-aligned; long cells fold, but for those of the first column. `widths`
        fixes the columns, and leaves a line free between rows.
        """
        from rich import box
        from rich.table import Table
        from rich.text import Text

        if title:
            self._draw(Text(title, style="italic"))  # a table's own title would wrap at the table's width
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.leading = int(widths is not None)
        table.pad_edge = table.show_edge = False
        for place, column in enumerate(columns):
            justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
            width = widths[place] if widths else None
            table.add_column(column.lstrip(">"), justify=justify, overflow="fold", no_wrap=place == 0, width=width)
        for row in rows:
            table.add_row(*(Text(cell if isinstance(cell, str) else number(cell)) for cell in row))
        self._draw(table)

    def pairs(self, values: Mapping[str, Any]) -> None:
        """Names and values in two columns without a head."""
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for name, value in values.items():
            table.add_row(name, Text(value if isinstance(value, str) else number(value)))
        self._draw(table)

    def masked(self, parts: Sequence[tuple[str, bool]]) -> None:
        """Text whose True parts are trained on: green on a terminal, the rest dim; else in double brackets."""
        from rich.text import Text

        console = _console(self.stream)
        coloured = console.is_terminal and not console.no_color
        line = Text()
        for text, trained in parts:
            text = "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)
            if coloured:
                line.append(text, "bold green" if trained else "dim")
            else:
                line.append(f"[[{text}]]" if trained else text)
        console.print(line)

    def _draw(self, renderable: RenderableType) -> None:
        console = _console(self.stream)
        console.print(renderable)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[dict[str, Any]], None]]:
        """A listener for one piece of work, shown on stderr until the block ends."""
        board = Board()
        with redirect_stdout(sys.stderr):  # what a library prints while it works is no result of ours
            try:
                yield board.begin(title)
            finally:
                board.end(title)


def emit(rows: Sequence[Mapping[str, Any]], *, as_json: bool, title: str = "") -> None:
    """Rows with the same keys: a table, numbers to the right, or under `--json` a list of objects."""
    screen = Screen(as_json)
    if rows and not as_json:
        numeric = {key for key in rows[0] if all(isinstance(row[key], (int, float)) for row in rows)}
        columns = [f">{key}" if key in numeric else key for key in rows[0]]
        screen.table(columns, [list(row.values()) for row in rows], title)
    screen.data(list(rows))


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    # A pipe has no width of its own; COLUMNS speaks for it where it is set.
    width = None if stream.isatty() else int(os.environ.get("COLUMNS") or WIDTH)
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


class Progress:
    """How far one node is and what its figures say: events enter, one line of text leaves. Draws nothing."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.title = title
        self.done, self.total, self.unit = 0, 0, ""
        self.figures: dict[str, float] = {}
        self._clock = clock
        self._began = clock()
        self._first: dict[tuple[str, int], tuple[float, int]] = {}  # (unit, total) -> when first seen, at what

    def take(self, event: Mapping[str, Any]) -> str:
        """Take in one event; return a line that must be shown whatever the pace (a note, a warning), or ``""``."""
        kind = event.get("event")
        if kind in ("note", "warning", "alarm"):
            return f"{'' if kind == 'note' else f'{kind}: '}{event.get('text', '')}"
        if kind == "progress":
            self.done, self.total = int(event.get("done", 0)), int(event.get("total", 0))
            self.unit = str(event.get("unit", ""))
            self._first.setdefault((self.unit, self.total), (self._clock(), self.done))
            self._keep(event.get("figures") or {})
        elif kind == "preflight":
            return foreseen(event.get("figures") or {})
        elif kind == "step":
            self._keep(event)
        elif kind == "eval":
            return f"step {event.get('step')}, held out: {one_line(_known(event.get('metrics') or event))}"
        return ""

    def _keep(self, figures: Mapping[str, Any]) -> None:
        self.figures.update(_known(figures))

    @property
    def elapsed(self) -> float:
        """Seconds since this node began."""
        return self._clock() - self._began

    def left(self) -> float | None:
        """Seconds until `total`, at the pace since this unit was first seen (a resumed run starts in its middle)."""
        since, at = self._first.get((self.unit, self.total), (0.0, 0))
        if self.done <= at or self.total <= 0:
            return None
        return (self._clock() - since) / (self.done - at) * max(0, self.total - self.done)

    def head(self) -> str:
        """`zero  12/80 steps · 0:35 · 3:10 left`."""
        count = f"{self.done}/{self.total} {self.unit}".strip() if self.total else "started"
        count = f"{self.done} {self.unit}" if self.done and not self.total else count  # nobody knows how many there are
        left = self.left()
        rest = f" · {span(left)} left" if left is not None and self.done < self.total else ""
        return f"{self.title}  {count} · {span(self.elapsed)}{rest}"

    def tail(self) -> str:
        """The newest figures in one line, or ``""`` before the first."""
        return one_line(self.figures)


def foreseen(figures: Mapping[str, float]) -> str:
    """What samples of the base tell of a run, as a table of two lines; "" where none were drawn."""
    if not figures:
        return ""
    share = {"truncated": "cut", "unclosed": "left open", "malformed": "malformed", "flat_groups": "flat groups"}
    cells = {"samples": number(int(figures["samples"])), "reward": number(figures["reward"])}
    cells |= {name: f"{figures[key]:.0%}" for key, name in share.items() if key in figures}
    cells |= {"tokens/s": amount(figures["tokens_a_second"]), "run": f"up to {short_span(figures['run_seconds'])}"}
    widths = [max(len(name), len(cell)) for name, cell in cells.items()]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in (cells.keys(), cells.values())
    )


def one_line(figures: Mapping[str, float]) -> str:
    """`reward 0.612 · length 33.5 · format 0.971 · kl 0.004 · entropy 0.810`, as many as 80 columns hold."""
    shown: dict[str, float] = {}
    for key, name in FIGURES.items():
        if key in figures:
            shown.setdefault(name, figures[key])
    line = ""
    for name, value in shown.items():
        longer = f"{line} · {name} {number(value)}" if line else f"{name} {number(value)}"
        line = longer if len(longer) <= WIDTH - 2 else line
    return line


def _known(figures: Mapping[str, Any]) -> dict[str, float]:
    numbers = {key: figures[key] for key in FIGURES if isinstance(figures.get(key), (int, float))}
    return {key: float(value) for key, value in numbers.items()}


class PlainLines:
    """Progress for a log: a line every few seconds and one at the end, notes and warnings at once."""

    def __init__(self, shown: Progress, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown, self._stream, self._clock = shown, stream, clock
        self._last = -math.inf

    def __call__(self, event: dict[str, Any]) -> None:
        said = self._shown.take(event)
        if said:
            print(said, file=self._stream, flush=True)
            return
        over = event.get("event") == "progress" and 0 < self._shown.total == self._shown.done
        if not (self._shown.total or self._shown.done) or (self._clock() - self._last < PLAIN_EVERY and not over):
            return
        self._last = self._clock()
        tail = self._shown.tail()
        print(self._shown.head() + (f" · {tail}" if tail else ""), file=self._stream, flush=True)


class Board:
    """Progress of all that runs, on stderr: live on a terminal, else in lines."""

    def __init__(self) -> None:
        self._live: LiveLines | None = LiveLines() if sys.stderr.isatty() else None

    def begin(self, title: str) -> Callable[[dict[str, Any]], None]:
        """Return the listener of a piece of work; shown with the others until `end`."""
        shown = Progress(title)
        if self._live is not None:
            return self._live.begin(shown)
        print(f"{title}  starting", file=sys.stderr, flush=True)
        return PlainLines(shown, sys.stderr)

    def end(self, title: str) -> None:
        """Take a piece of work from the board, which leaves the screen until something begins or happens."""
        if self._live is not None:
            self._live.end(title)

    def close(self) -> None:
        """Leave the screen for good, whatever was running."""
        if self._live is not None:
            self._live.close()


class LiveLines:
    """Progress for a terminal: for each piece of work a bar with elapsed and remaining time, and the figures under it;
    notes above them.
    """

    def __init__(self) -> None:
        from rich.live import Live

        self._shown: dict[str, Progress] = {}
        self._live = Live(
            get_renderable=self._draw,
            console=_console(sys.stderr),
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
        )

    def begin(self, shown: Progress) -> Callable[[dict[str, Any]], None]:
        """Add a piece of work; returns its listener."""
        self._shown[shown.title] = shown
        self._live.start()

        def hear(event: dict[str, Any]) -> None:
            self._live.start()  # after another one's end
            said = shown.take(event)
            if said:
                self._live.console.print(f"{shown.title}  {said}" if len(self._shown) > 1 else said)

        return hear

    def end(self, title: str) -> None:
        """Remove a piece of work, leave its last lines above, and leave the screen."""
        shown = self._shown.pop(title)
        self._live.stop()
        print(shown.head(), file=sys.stderr)
        if shown.tail():
            print(f"  {shown.tail()}", file=sys.stderr)

    def close(self) -> None:
        """Leave the screen."""
        self._live.stop()

    def _draw(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        lines = Table.grid()  # in a group, what follows a bar would stand beside it
        for shown in list(self._shown.values()):
            lines.add_row(Text(shown.head(), no_wrap=True, overflow="ellipsis"))
            lines.add_row(ProgressBar(total=max(1, shown.total), completed=shown.done, width=40))
            if shown.tail():
                lines.add_row(Text(shown.tail()))
        return lines

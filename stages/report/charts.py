"""Numbers in, SVG text out: line charts, intervals before and after, and the lineage as boxes and arrows.

A hundred lines of SVG spare the page a plotting library, a font and a network. Colours are CSS classes of page.css, so
one chart is readable on light and dark. Every text that enters is escaped here: what leaves may be placed in a page as
it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT = 360, 196
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 14, 26
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y = 196, 62, 84, 14


TINY = 1e-300
"""A span below this is none: a quarter of it may be 0 in floating point."""


@dataclass(frozen=True)
class Series:
    """A named curve. `tone` picks its colour (0..4); a flat series is one level drawn across the chart, dashed."""

    label: str
    points: Sequence[Point]
    tone: int = 0
    flat: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves over steps. `share`: values are 0..1 and shown in percent. `marks`: steps with a thin vertical line."""

    title: str
    series: Sequence[Series]
    share: bool = False
    marks: Sequence[float] = field(default_factory=tuple)
    note: str = ""


@dataclass(frozen=True)
class Span:
    """A value (0..1) with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """One row of the before-and-after chart; a side may be missing."""

    label: str
    before: Span | None
    after: Span | None
    strong: bool = False


@dataclass(frozen=True)
class Box:
    """One artifact of the lineage: its lines of text, its column (0 = oldest) and the keys it descends from."""

    key: str
    lines: Sequence[str]
    column: int
    parents: Sequence[str]
    strong: bool = False


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about `count` round numbers (1, 2 or 5 times a power of ten apart) that span low..high, ends included."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"an axis cannot run from {low} to {high}")
    if high - low < TINY:
        high = low + (abs(low) if abs(low) > TINY else 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Return the centred moving mean over about a twelfth of the points; the points themselves when there are few."""
    reach = len(points) // 24
    result = []
    for index, (x, _) in enumerate(points):
        window = points[max(0, index - reach) : index + reach + 1]
        result.append((x, math.fsum(y for _, y in window) / len(window)))
    return result


def line_chart(chart: Chart) -> str:
    """Return the chart as an SVG element; a sentence instead when no series holds a finite point."""
    finite = [
        Series(one.label, [p for p in one.points if math.isfinite(p[0]) and math.isfinite(p[1])], one.tone, one.flat)
        for one in chart.series
    ]
    drawn = [one for one in finite if one.points]
    if not drawn:
        return '<p class="absent">Not recorded.</p>'
    xs = [x for one in drawn for x, _ in one.points]
    ys = [y for one in drawn for _, y in one.points]
    x_axis = ticks(min(xs), max(xs), 6)
    y_axis = [0, 0.25, 0.5, 0.75, 1.0] if chart.share and max(ys) > 0.5 else ticks(min(0.0, *ys), max(ys))
    frame = _Frame(min(xs), max(max(xs), min(xs) + 1), y_axis[0], y_axis[-1])
    parts = [_axes(frame, x_axis, y_axis, chart.share)]
    for step in chart.marks:
        if frame.x0 <= step <= frame.x1:
            parts.append(_line("mark", frame.x(step), TOP, frame.x(step), HEIGHT - BOTTOM))
    parts += [_curve(frame, one, chart.share) for one in drawn]
    return _svg("chart", WIDTH, HEIGHT, parts, chart.title)


def change_chart(changes: Sequence[Change], width: int = 500) -> str:
    """Return before (open) and after (filled) with their intervals on one axis of 0..100 %, a row for each change."""
    row, head, left = 30, 8, 84
    height = head + row * len(changes) + 24
    span = width - left - 66

    def at(value: float) -> float:
        return left + span * value

    parts = []
    for percent in (0, 25, 50, 75, 100):
        x = at(percent / 100)
        parts.append(_line("grid", x, head, x, height - 22))
        parts.append(_text("tick", x, height - 6, f"{percent} %", "middle"))
    for index, change in enumerate(changes):
        y = head + row * index + row / 2
        parts.append(_text("rowlabel strong" if change.strong else "rowlabel", left - 14, y + 4, change.label, "end"))
        if change.before and change.after:
            parts.append(_line("stem", at(change.before.value), y, at(change.after.value), y))
        for name, one in (("before", change.before), ("after", change.after)):
            if one:
                parts.append(_line(f"whisker {name}", at(one.low), y, at(one.high), y))
                parts.append(f'<circle class="{name}" cx="{at(one.value):.1f}" cy="{y:.1f}" r="5"/>')
        last = change.after or change.before
        if last:
            parts.append(_text("rowvalue", width - 4, y + 4, f"{100 * last.value:.1f} %", "end"))
    return _svg("changes", width, height, parts, "before and after")


def lineage_chart(boxes: Sequence[Box]) -> str:
    """Return boxes in columns from the oldest (left) to the youngest, with an arrow from each parent to its child."""
    places = _places(boxes)
    parts = []
    for box in boxes:
        x1, y1 = places[box.key]
        for x0, y0 in (places[parent] for parent in box.parents if parent in places):
            parts.append(_arrow(x0 + BOX_WIDTH, y0 + BOX_HEIGHT / 2, x1, y1 + BOX_HEIGHT / 2))
    for box in boxes:
        x, y = places[box.key]
        kind = "box strong" if box.strong else "box"
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>')
        for index, line in enumerate(box.lines):
            style = "boxtitle" if index == 0 else "boxline"
            parts.append(_text(style, x + 12, y + 20 + 17 * index, _cut(line, 25), "start"))
    width = max((x for x, _ in places.values()), default=0) + BOX_WIDTH + 2
    height = max((y for _, y in places.values()), default=0) + BOX_HEIGHT + 2
    return _svg("lineage", width, height, parts, "lineage")


def _places(boxes: Sequence[Box]) -> dict[str, tuple[float, float]]:
    """Return each box's corner: in its column, as near the mean height of its parents as the boxes above allow."""
    next_use = {parent: box.column for box in reversed(boxes) for parent in box.parents}
    places: dict[str, tuple[float, float]] = {}
    for column in sorted({box.column for box in boxes}):
        wanted: list[tuple[float, int, Box]] = []
        for order, box in enumerate(one for one in boxes if one.column == column):
            heights = [places[parent][1] for parent in box.parents if parent in places]
            # Without parents: what is used soonest stands on top, so that long arrows run below the others.
            height = math.fsum(heights) / len(heights) if heights else 1000.0 * next_use.get(box.key, 0)
            wanted.append((height, order, box))
        free = 2.0
        for height, _, box in sorted(wanted, key=lambda one: one[:2]):
            top = max(free, height) if column else free
            places[box.key] = (2.0 + column * (BOX_WIDTH + GAP_X), top)
            free = top + BOX_HEIGHT + GAP_Y
    return places


@dataclass(frozen=True)
class _Frame:
    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x0) / (self.x1 - self.x0)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.y0) / (self.y1 - self.y0)


def _axes(frame: _Frame, x_axis: Iterable[float], y_axis: Iterable[float], share: bool) -> str:
    parts = []
    for value in y_axis:
        parts.append(_line("grid", LEFT, frame.y(value), WIDTH - RIGHT, frame.y(value)))
        parts.append(_text("tick", LEFT - 6, frame.y(value) + 3.5, number(value, share), "end"))
    for value in x_axis:
        if frame.x0 <= value <= frame.x1:
            parts.append(_text("tick", frame.x(value), HEIGHT - 8, number(value), "middle"))
    return "".join(parts)


def _curve(frame: _Frame, series: Series, share: bool) -> str:
    tone = f"tone{series.tone % 5}"
    title = f"<title>{escape(series.label)}: {number(series.points[-1][1], share)} at the end</title>"
    if series.flat:
        level = frame.y(series.points[0][1])
        return f"<g>{title}{_line('flat', LEFT, level, WIDTH - RIGHT, level)}</g>"
    raw = _path(frame, series.points)
    x, y = smoothed(series.points)[-1]
    end = f'<circle class="dot {tone}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"/>'
    if len(series.points) < 48:
        return f'<g>{title}<path class="line {tone}" d="{raw}"/>{end}</g>'
    mean = _path(frame, smoothed(series.points))
    return f'<g>{title}<path class="line raw {tone}" d="{raw}"/><path class="line {tone}" d="{mean}"/>{end}</g>'


def _path(frame: _Frame, points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)


def number(value: float, share: bool = False) -> str:
    """Return a number as a reader wants it: percent for a share, else three significant digits."""
    if share:
        return f"{100 * value:.0f} %"
    if value == 0:
        return "0"
    if abs(value) >= 10000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _arrow(x0: float, y0: float, x1: float, y1: float) -> str:
    bend = (x1 - x0) / 2
    head = f"M{x1 - 7:.1f},{y1 - 4:.1f}L{x1:.1f},{y1:.1f}L{x1 - 7:.1f},{y1 + 4:.1f}"
    curve = f"M{x0:.1f},{y0:.1f}C{x0 + bend:.1f},{y0:.1f} {x1 - bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
    return f'<path class="arrow" d="{curve}"/><path class="arrow" d="{head}"/>'


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _line(kind: str, x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line class="{kind}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>'


def _text(kind: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(kind: str, width: float, height: float, parts: Iterable[str], title: str) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px"'
    return f'<svg class="{kind}" {size} role="img" aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'

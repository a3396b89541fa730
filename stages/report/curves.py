"""The events of a training run in, charts of what happened leave: one chart a question, in the order they are read.

A figure may go by several names (ours, then TRL's); the first that the run recorded is drawn. A question no event
answers is returned with no series, and the page says that it was not recorded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.run import events
from stages.report.charts import Chart, Point, Series

Line = Mapping[str, Any]

NAMES: dict[str, tuple[str, ...]] = {
    "length": ("length", "mean_length", "completions/mean_length"),
    "format": ("format", "format_share", "reward_format", "rewards/format", "rewards/format/mean"),
    "kl": ("kl",),
    "entropy": ("entropy",),
    "clip": ("clip_fraction", "clip_ratio", "clip_ratio/region_mean"),
    "mixed": ("mixed_language", "language_mix", "mixed"),
    "strict": ("strict_pass@1", "strict"),
    "any": ("pass@1", "accuracy"),
    "truncated": ("truncated", "truncation", "completions/clipped_ratio"),
    "reference": ("reference_id", "ref_id", "reference"),
}
TOTAL = ("reward", "reward_mean")
PART = re.compile(r"^(?:rewards?/(?P<a>[^/]+)(?:/mean)?|rewards?_(?P<b>(?!std|mean)\w+))$")


def training_charts(path: Path) -> list[Chart]:
    """Return the charts of an events.jsonl: validation first, then what each optimizer step recorded."""
    steps, checks = events.curve(path, "step"), events.curve(path, "eval")
    marks = reference_marks(path, steps)
    note = f"{len(marks)} reference replacements" if marks else ""
    charts = [_validation(checks, marks), Chart("Reward by part", _rewards(steps), marks=marks, note=note)]
    charts.append(Chart("Completion length, tokens", _series(steps, checks, "length"), marks=marks))
    charts.append(Chart("Format", _series(steps, checks, "format"), share=True, marks=marks))
    charts.append(Chart("KL to the reference, nats a token", _series(steps, [], "kl"), marks=marks))
    charts.append(Chart("Entropy, nats a token", _series(steps, [], "entropy"), marks=marks))
    charts.append(Chart("Tokens clipped", _series(steps, [], "clip"), share=True, marks=marks))
    charts.append(Chart("Languages mixed", _series(steps, checks, "mixed"), share=True, marks=marks))
    charts.append(Chart("Cut at the length limit", _series(steps, checks, "truncated"), share=True, marks=marks))
    return charts


def reference_marks(path: Path, steps: Sequence[Line]) -> list[float]:
    """Return the steps that replaced the reference policy: from `reference` events, else from its changing id."""
    told = [float(line["step"]) for line in events.curve(path, "reference") if float(line["step"]) > 0]
    if told:
        return told
    marks, last = [], None
    for line in steps:
        name = next((name for name in NAMES["reference"] if name in line), None)
        if name is None:
            continue
        if last is not None and line[name] != last:
            marks.append(float(line["step"]))
        last = line[name]
    return marks


def points(lines: Sequence[Line], names: Sequence[str]) -> list[Point]:
    """Return (step, value) for the first of `names` that any line holds as a finite number; [] when none does."""
    for name in names:
        found = [
            (float(line["step"]), float(value)) for line in lines if (value := _number(_flat(line), name)) is not None
        ]
        if found:
            return found
    return []


def _validation(checks: Sequence[Line], marks: Sequence[float]) -> Chart:
    """Strict pass@1 on validation problems; the base is the first check, drawn flat, when that check was at step 0."""
    strict, loose = points(checks, NAMES["strict"]), points(checks, NAMES["any"])
    series = [Series("strict pass@1", strict, 0), Series("any-format pass@1", loose, 1)]
    base = points(checks, ("base_strict_pass@1", "base_strict", "base"))
    if not base and strict and strict[0][0] == 0:
        base = strict[:1]
    if base:
        series.append(Series("base, strict", base[:1], 3, flat=True))
    return Chart("Pass@1 on validation problems", [one for one in series if one.points], share=True, marks=marks)


def _rewards(steps: Sequence[Line]) -> list[Series]:
    parts: dict[str, str] = {}
    for line in steps:
        for key in _flat(line):
            match = PART.match(key)
            if match:
                parts.setdefault(str(match["a"] or match["b"]), key)
    series = [
        Series(label, points(steps, [key]), tone) for tone, (label, key) in enumerate(sorted(parts.items()), start=1)
    ]
    return [one for one in (Series("sum", points(steps, TOTAL), 0), *series) if one.points]


def _series(steps: Sequence[Line], checks: Sequence[Line], what: str) -> list[Series]:
    """Return the training curve and, where checks recorded it too, the validation curve beside it."""
    drawn = [Series("training", points(steps, NAMES[what]), 0), Series("validation", points(checks, NAMES[what]), 1)]
    return [one for one in drawn if one.points]


def _flat(line: Line) -> dict[str, Any]:
    """Return the event with its nested `metrics` and `rewards` maps laid beside its own fields."""
    flat = {key: value for key, value in line.items() if not isinstance(value, Mapping)}
    for key, value in (line.get("rewards") or {}).items() if isinstance(line.get("rewards"), Mapping) else ():
        flat[f"rewards/{key}"] = value
    metrics = line.get("metrics")
    return flat | dict(metrics) if isinstance(metrics, Mapping) else flat


def _number(line: Line, name: str) -> float | None:
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)

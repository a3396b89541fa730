"""Chapters in, one HTML file out: self-contained, escaped to the last character, readable in a mail attachment years
later.

The page is page.html (jinja2, autoescape on) with page.css inside it; charts are inline SVG. It loads nothing and runs
nothing: a content security policy forbids both, so a completion that looks like markup stays text even if an escape
were missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from stages.core.artifact import Artifact
from stages.core.errors import MissingError
from stages.core.stats.scores import extra_metrics
from stages.core.storage import disk
from stages.report import charts, gather, samples
from stages.report.charts import Box, Change, Span
from stages.report.gather import Ancestor, Chapter, Comparison, Evaluation, Store
from stages.report.overview import Overview, figure_columns
from stages.report.visible import visible

COUNTS = ("length", "length_correct", "length_wrong", "reflective")
"""Figures of an evaluation that are no shares of 1."""


def write_report(artifacts: Sequence[Artifact], out: Path, store: Store, overview: Overview | None = None) -> Path:
    """Write the report of some artifacts to `out` (a file, or a folder that then gets report.html) and return the
    file's path.

    A model brings the scores that evaluate it and its parent; scores bring their model. `overview` tells of a whole
    pipeline before them. The file is whole or absent. Raises MissingError when there is nothing to report on.
    """
    if not artifacts and overview is None:
        raise MissingError("there is nothing to report on", hint="see what there is: `r1 artifacts list`")
    path = out / "report.html" if out.is_dir() or not out.suffix else out
    path.parent.mkdir(parents=True, exist_ok=True)
    html = render(gather.chapters(artifacts, store), overview)
    disk.write_atomically(path, html)
    return path


def render(chapters: Sequence[Chapter], overview: Overview | None = None) -> str:
    """Return the HTML of the overview and the chapters."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(
        figures=figures,
        figure_columns=figure_columns,
        percent=percent,
        tokens=tokens,
        span=span,
        duration=duration,
        has_accuracy=has_accuracy,
        groups=groups,
        headline=headline,
        change_chart=change_chart,
        line_chart=lambda chart: _safe(charts.line_chart(chart)),
        lineage_chart=lambda ancestors, subject: _safe(lineage_chart(ancestors, subject)),
        facts=facts,
        tiles=tiles,
        brief=brief,
        told_commands=lambda chapter: list(dict.fromkeys(one.command for one in chapter.ancestors if one.command)),
        latest=latest,
        rule=samples.RULE,
        style=_safe(_resource("page.css")),
    )
    return environment.from_string(_resource("page.html")).render(chapters=chapters, overview=overview)


def headline(chapter: Chapter) -> str:
    """Return the one sentence with the numbers: strict pass@1 before and after with its interval, format and length."""
    if not chapter.evaluations:
        return "No evaluation of this model is in the store yet."
    one = chapter.evaluations[0]
    part = one.comparisons[0]
    now = part.after["overall"]
    strict = now["strict_pass@1"]
    if not has_accuracy(one):
        return f"Only {one.label} were asked, which have no right answers: the table tells how they were judged."
    scope = f"{one.problem_count} {one.label} problems × {one.samples} samples, {part.title}"
    if part.before is None or part.gain is None:
        return f"Strict pass@1 is {percent(strict)} {span(strict)} on {scope}."
    then, gain = part.before["overall"], part.gain["overall"]["strict_pass@1"]
    verb = "stays within chance of"
    if gain["low"] is not None and (gain["low"] > 0 or gain["high"] < 0):
        verb = "rises from" if gain["low"] > 0 else "falls from"
    sentence = f"Strict pass@1 {verb} {percent(then['strict_pass@1'])} to {percent(strict)}"
    if verb.startswith("stays"):
        sentence = (
            f"Strict pass@1 stays within chance: {percent(then['strict_pass@1'])} before, {percent(strict)} after"
        )
    change = f"{points(gain)} points {_bracket(points, gain)}, paired"
    rest = f"Format holds in {percent(now['format'])} of completions (before: {percent(then['format'])})"
    ratio = _ratio(now["length"]["value"], then["length"]["value"])
    length = f"and a completion is {ratio:.2f}× as long" if ratio else "and lengths were not recorded"
    return f"{sentence} on {scope}: {change}. {rest}, {length}."


def tiles(chapter: Chapter) -> list[dict[str, str]]:
    """Return the figures a reader looks for first, as {"name", "value", "note"}; none when nothing was evaluated."""
    found = []
    for one in [one for one in chapter.evaluations if has_accuracy(one)][:2]:
        part = one.comparisons[0]
        found.append(_tile(part, "strict_pass@1", f"Strict pass@1, {one.label}"))
    for one in chapter.evaluations[:1]:
        part = one.comparisons[0]
        found.append(_tile(part, "format", "Format kept"))
        found.append(_tile(part, "length", "Mean length, tokens"))
    took = facts(chapter.subject)["took"]
    if found and took:
        found.append({"name": "Training took", "value": took, "note": facts(chapter.subject)["device"]})
    return found


def has_accuracy(one: Evaluation) -> bool:
    """Return whether rules judge any of the problems: general prompts have no right answers."""
    return one.comparisons[0].after["overall"]["strict_pass@1"]["value"] is not None


def brief(part: Comparison) -> str:
    """Return strict pass@1 before and after in a few characters."""
    after = percent(part.after["overall"]["strict_pass@1"])
    return after if part.before is None else f"{percent(part.before['overall']['strict_pass@1'])} → {after}"


def groups(part: Comparison) -> list[tuple[str, str]]:
    """Return (label, family) of the columns: everything first, then each family."""
    return [("all", ""), *((name, name) for name in part.after["families"])]


def figures(part: Comparison, one: Evaluation) -> list[dict[str, Any]]:
    """Return the table's rows: a label and, for each group, before, after and gain as (value, interval) texts."""
    most = max((int(name.split("@")[1]) for name in part.after["overall"] if name.startswith("pass@")), default=1)
    rows = [
        ("Strict pass@1", "strict_pass@1"),
        ("Any-format pass@1", "pass@1"),
        (f"Any-format pass@{most}", f"pass@{most}"),
        (f"Majority vote, cons@{one.samples}", f"cons@{one.samples}"),
        ("Format kept", "format"),
        ("Mean length, tokens", "length"),
        ("… when right", "length_correct"),
        ("… when wrong", "length_wrong"),
        ("Cut at the limit", "truncated"),
        ("Languages mixed", "mixed_language"),
        ("Thinking in the problem's language", "language"),
        ("Readable", "readable"),
        ("Words of reflection", "reflective"),
    ]
    rows += [(name, name) for name in extra_metrics(part.after["overall"]) if name not in dict(rows).values()]
    if most == 1:
        rows.pop(2)
    there = {name for name, figure in part.after["overall"].items() if figure["value"] is not None}
    return [
        {"label": label, "metric": name, "cells": [_cell(part, family, name) for _, family in groups(part)]}
        for label, name in rows
        if name in there
    ]


def change_chart(part: Comparison) -> Any:
    """Return the chart of strict pass@1 before and after, everything first and then each family."""
    changes = []
    for label, family in groups(part):
        before, after = (_figure(side, family, "strict_pass@1") for side in (part.before, part.after))
        changes.append(Change(label, _span(before), _span(after), strong=not family))
    return _safe(charts.change_chart(changes))


def lineage_chart(ancestors: Sequence[Ancestor], subject: Artifact) -> str:
    """Return the lineage drawn: address, stage and time taken, fingerprint; the chapter's subject stands out."""
    boxes = []
    for one in ancestors:
        record = one.artifact.record
        took = facts(one.artifact)["took"]
        lines = (
            visible(one.artifact.address),
            visible(f"{record.stage} · {took}" if took else record.stage),
            record.fingerprint[:12],
        )
        parents = tuple(record.inputs.values())
        boxes.append(Box(one.artifact.address, lines, one.column, parents, one.artifact.address == subject.address))
    return charts.lineage_chart(boxes)


def facts(artifact: Artifact) -> dict[str, str]:
    """Return what a record tells of how an artifact came to be, as texts; "" for what it does not tell."""
    told = artifact.record.provenance
    seconds, commit = told.get("seconds"), str(told.get("commit") or "")
    return {
        "took": duration(float(seconds)) if isinstance(seconds, int | float) else "",
        "time": str(told.get("time") or "")[:16].replace("T", " "),
        "device": _device(told.get("device")),
        "commit": commit[:12] + (" (changed)" if commit and told.get("dirty") else ""),
        "source": str(told.get("source") or ""),
        "versions": ", ".join(f"{name} {version}" for name, version in sorted((told.get("versions") or {}).items())),
    }


def _device(told: Any) -> str:
    if isinstance(told, Mapping):
        cores = f", {told['cores']} cores" if told.get("cores") else ""
        return f"{told.get('used') or told.get('asked') or 'unknown'}{cores}"
    return str(told or "")


def latest(chapters: Sequence[Chapter]) -> str:
    """Return the day of the youngest artifact on the page: a report says when its numbers are from, not when it was
    printed.
    """
    times = [facts(one.artifact)["time"] for chapter in chapters for one in chapter.ancestors]
    return max(times, default="")[:10]


def duration(seconds: float) -> str:
    """Return a time span in the two largest units, such as `4 min 12 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, small, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit} {rest} {name}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def percent(figure: Mapping[str, Any] | None) -> str:
    """Return a share as percent with one digit; an en dash where there is none."""
    if not figure or figure["value"] is None:
        return "–"
    return f"{100 * figure['value']:.1f} %"


def points(figure: Mapping[str, Any], key: str = "value") -> str:
    """Return a difference of shares in percentage points, signed."""
    return "–" if figure.get(key) is None else f"{100 * figure[key]:+.1f}".replace("-", "−")


def tokens(figure: Mapping[str, Any], key: str = "value", sign: str = "") -> str:
    """Return a number of tokens with one digit."""
    return "–" if figure.get(key) is None else f"{figure[key]:{sign}.1f}".replace("-", "−")


def span(figure: Mapping[str, Any]) -> str:
    """Return the interval of a share in brackets, in percent."""
    return "" if figure["low"] is None else f"[{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def _cell(part: Comparison, family: str, metric: str) -> dict[str, tuple[str, str]]:
    share = metric not in COUNTS
    cell = {}
    for name, side in (("before", part.before), ("after", part.after), ("gain", part.gain)):
        figure = _figure(side, family, metric)
        if not figure or figure["value"] is None:
            cell[name] = ("–", "")
        elif name == "gain":
            write = points if share else partial(tokens, sign="+")
            cell[name] = (write(figure), _bracket(write, figure))
        else:
            write = partial(_plain, 100.0 if share else 1.0)
            cell[name] = (write(figure), _bracket(write, figure))
    return cell


def _tile(part: Comparison, metric: str, name: str) -> dict[str, str]:
    write = tokens if metric in COUNTS else percent
    after, before = _figure(part.after, "", metric) or {"value": None}, _figure(part.before, "", metric)
    return {"name": name, "value": write(after), "note": f"from {write(before)}" if before else "no parent measured"}


def _plain(scale: float, figure: Mapping[str, Any], key: str = "value") -> str:
    return f"{scale * figure[key]:.1f}"


def _bracket(write: Any, figure: Mapping[str, Any]) -> str:
    return "" if figure["low"] is None else f"[{write(figure, 'low')}, {write(figure, 'high')}]"


def _figure(side: Mapping[str, Any] | None, family: str, metric: str) -> dict[str, Any] | None:
    if side is None:
        return None
    figures_: Mapping[str, Any] = side["families"].get(family, {}) if family else side["overall"]
    return figures_.get(metric)


def _span(figure: Mapping[str, Any] | None) -> Span | None:
    if not figure or figure["value"] is None or figure["low"] is None:
        return None
    return Span(figure["value"], figure["low"], figure["high"])


def _ratio(after: float | None, before: float | None) -> float | None:
    return after / before if after and before else None


def _shown(value: Any) -> Any:
    """Make hidden characters visible in every text the template prints; markup of our own passes untouched."""
    return visible(value) if type(value) is str else value


def _safe(markup: str) -> Any:
    from markupsafe import Markup

    return Markup(markup)


def _resource(name: str) -> str:
    return files("stages.report").joinpath(name).read_text(encoding="utf-8")

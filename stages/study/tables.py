"""Findings and stages as rows of text: what people read on a terminal, and the same rows in the report.

Plain values enter and leave; how wide a column is and where a line breaks is decided where they are shown. Shares are
told in percent, differences of shares in points; everything else in the metric's own unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.artifact import Artifact, Scores
from stages.core.stats import estimators
from stages.core.stats.scores import sampling_name
from stages.study.claims import Book, StageRow
from stages.study.figures import Shelf
from stages.study.resample import Effect
from stages.study.verdict import Finding

COUNTED = ("length", "length_correct", "length_wrong", "reflective")
"""Figures of an evaluation that are no shares."""
STAGE_METRICS = {
    "strict": "strict_pass@1",
    "any": "pass@1",
    "length": "length",
    "language": "language",
    "readable": "readable",
}
"""Column of the table of stages -> figure of the evaluation on reasoning problems."""


def claim_rows(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return one row for each finding: `claim`, `paper`, `ours`, `control`, `verdict`, `why` (and what else was found),
    `note`.
    """
    return [_claim_row(one) for one in findings]


def tally(findings: Sequence[Finding]) -> str:
    """Return how many claims hold, do not hold, cannot be told and were not run, in one line."""
    words = ("holds", "does not hold", "cannot tell", "not run")
    counts = {word: sum(one.verdict == word for one in findings) for word in words}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def stage_rows(book: Book, shelf: Shelf) -> list[dict[str, Any]]:
    """Return one row for each stage of the book's table: `stage`, `figures` (column -> estimate as plain values, None
    where there is none: strict pass@1 over all problems and by family, any-format pass@1, length, language, readable,
    general), `paper` (benchmark -> published figure).
    """
    rows = book.stages.values()
    return [{"stage": row.name, "figures": _figures(row, book, shelf), "paper": dict(row.paper)} for row in rows]


def node_rows(built: Mapping[str, Artifact]) -> list[dict[str, Any]]:
    """Return one row for each node of a pipeline: `node`, `address`, `kind`, `stage`, `seconds` and its main figures in
    one line, `figures`.
    """
    return [
        {
            "node": name,
            "address": artifact.address,
            "kind": artifact.kind,
            "stage": artifact.record.stage,
            "seconds": artifact.record.provenance.get("seconds"),
            "figures": _main_figures(artifact),
        }
        for name, artifact in built.items()
    ]


def percent(value: float | None) -> str:
    """Return a share in percent with one digit, an en dash for None."""
    return "–" if value is None else _minus(f"{100 * value:.1f}")


def _claim_row(one: Finding) -> dict[str, str]:
    share = _is_share(one)
    return {
        "claim": one.claim.text,
        "paper": one.claim.paper,
        "ours": _ours(one, share),
        "control": _control(one, share),
        "verdict": f"{one.verdict} {_arrow(one)}".strip(),
        "why": "; ".join(part for part in (one.reason, *one.facts) if part),
        "note": one.claim.note,
    }


def _arrow(one: Finding) -> str:
    """Return which way the figure went, and whether that is the claimed way where nothing was decided."""
    if one.effect is None or one.effect.value is None or one.claim.within is not None:
        return ""
    arrow = "=" if one.effect.value == 0 else "↑" if one.effect.value > 0 else "↓"
    if one.verdict != "cannot tell":
        return arrow
    return f"{arrow} as claimed" if one.as_claimed else f"{arrow} against it"


def _ours(one: Finding, share: bool) -> str:
    effect = one.effect
    if effect is None or effect.value is None:
        return "–"
    return f"{_value(effect.before, share)} → {_value(effect.after, share)}{' %' * share}, {_change(effect, share)}"


def _control(one: Finding, share: bool) -> str:
    if one.turn == "none":
        return "none"
    if one.control is None:
        return "not run"
    return f"{_change(one.control, share)}, {one.turn}"


def _change(effect: Effect, share: bool) -> str:
    if effect.value is None:
        return "–"
    change = _value(effect.value, share, "+")
    if effect.low is None or effect.high is None:
        return change
    return f"{change} [{_value(effect.low, share, '+')}, {_value(effect.high, share, '+')}]"


def _value(value: float | None, share: bool, sign: str = "") -> str:
    if value is None:
        return "–"
    if share:
        return _minus(f"{100 * value:{sign}.1f}")
    if value == round(value) and abs(value) < 1e5:
        return _minus(f"{round(value):{sign}d}")
    odd = not 1e-3 <= abs(value) < 1e5
    return _minus(f"{value:{sign}{'.3g' if odd else '.3f' if abs(value) < 10 else '.1f'}}")


def _minus(text: str) -> str:
    return text.replace("-", "−") if text.startswith("-") else text


def _is_share(one: Finding) -> bool:
    """Whether a claim's metric is a share: every figure of an evaluation's problems is, but counts."""
    counted = one.claim.metric in COUNTED or one.claim.curve
    return one.effect is not None and one.effect.problems > 0 and not counted


def _figures(row: StageRow, book: Book, shelf: Shelf) -> dict[str, dict[str, Any] | None]:
    found: dict[str, dict[str, Any] | None] = {}
    reasoning = shelf.get(row.scores)
    if reasoning is not None:
        at = sampling_name(1.0, 1.0)
        family_of = shelf.families(reasoning, at)
        for label, metric in STAGE_METRICS.items():
            column = shelf.column(reasoning, metric, at)
            found[label] = _estimate(column)
            if label == "strict":
                groups = estimators.by_group({metric: column}, family_of)
                found |= {family: _estimate(columns[metric]) for family, columns in groups.items()}
    general = shelf.get(row.general) if row.general else None
    if general is not None:
        found["general"] = _estimate(shelf.column(general, book.general_metric, sampling_name(1.0, 1.0)))
    return found


def _estimate(column: estimators.Column) -> dict[str, Any]:
    return estimators.intervals({"": column})[""].as_dict()


def _main_figures(artifact: Artifact) -> str:
    """Return the figures a record is read by in one line."""
    metrics: Any = artifact.metrics
    if isinstance(artifact, Scores) and metrics and isinstance(first := next(iter(metrics.values())), dict):
        metrics = first  # those of the first sampling
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float) and value is not None}
    return ", ".join(f"{key} {_value(float(value), False)}" for key, value in list(numbers.items())[:6])

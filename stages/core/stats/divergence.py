"""What the KL estimators came to: sums for each completion enter, figures with intervals leave.

A row holds the problem's `id`, the `sample`, its `tokens`, and sums over those tokens (see
`stages.policy.divergence.places`). Everything here is a ratio of sums of sums, so intervals resample problems.
Two kinds of figures stand side by side: *exact* ones are expectations over the whole vocabulary at every place that a
completion visited; *sampled* ones come from the one token that was drawn there, which is all that training sees.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.stats.estimators import Columns, intervals

Row = Mapping[str, Any]
FILE = "kl.json"
ROWS_FILE = "completions.jsonl"
ESTIMATORS = ("k1", "k2", "k3")
LARGEST = 700.0
"""Exponent above which e^x is no float any more."""
NOTHING = 1e-12
"""Length at and below which a gradient is what rounding left."""


def summary(rows: Sequence[Row], gradients: Sequence[str], weights: Sequence[float], seed: int) -> dict[str, Any]:
    """Return kl.json: the exact KL, each estimator for tokens and for whole completions, the variance against the
    control variate's weight, and how each gradient compares with that of the exact KL.

    `gradients` names the gradients that the rows hold, `weights` the weights to look at. KLs are in nats; errors and
    noise of gradients are over the length of the exact one.
    """
    totals: dict[str, float] = defaultdict(float)
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int | float):
                totals[name] += value
    return {
        "problems": len({row["id"] for row in rows}),
        "completions": len(rows),
        "tokens": int(totals["tokens"]),
        "kl": {name: one.as_dict() for name, one in intervals(_kl_columns(rows), seed=seed).items()},
        "token": _by_token(rows, totals, seed),
        "completion": _by_completion(rows, seed),
        "control": control_curve(totals, weights),
        "gradient": {name: _gradient(totals, name) for name in gradients},
    }


def whole(row: Row) -> dict[str, float]:
    """Return k1, k2 and k3 of a whole completion, from the ratio of its probabilities under both policies."""
    log_ratio = -float(row["k1"])
    ratio = math.exp(min(log_ratio, LARGEST))
    return {"k1": -log_ratio, "k2": 0.5 * log_ratio**2, "k3": ratio - 1.0 - log_ratio}


def control_curve(totals: Mapping[str, float], weights: Sequence[float]) -> dict[str, Any]:
    """Return the variance of k1 + λ (r - 1) for each weight λ, exact and sampled, and the weights where it is least.

    `best` is the best of the weights looked at, `optimum` the one of the formula -Cov(k1, r - 1) / Var(r - 1). The
    variance is that at one place, around the exact KL there, and averaged over places.
    """
    tokens = totals["tokens"]
    exact = [totals[name] / tokens for name in ("k1_variance", "k1_control", "control_variance")]
    mean_k1, mean_control = (totals["k1"] - totals["kl"]) / tokens, totals["control"] / tokens
    sampled = [
        totals["k1_square"] / tokens - mean_k1**2,
        totals["control_k1"] / tokens - mean_k1 * mean_control,
        totals["control_square"] / tokens - mean_control**2,
    ]
    found: dict[str, Any] = {}
    for name, (k1, both, control) in (("exact", exact), ("sampled", sampled)):
        curve = {weight: max(0.0, k1 + 2 * weight * both + weight**2 * control) for weight in weights}
        best = min(curve, key=lambda weight: (curve[weight], weight))
        found[name] = {
            "variance": {f"{weight:g}": value for weight, value in curve.items()},
            "best": best,
            "best_variance": curve[best],
            "optimum": -both / control if control else 0.0,
        }
    return found


def headline(found: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Return the plain figures of kl.json that travel in the artifact's record, under names that claims can use."""
    exact, sampled = found["control"]["exact"], found["control"]["sampled"]
    figures: dict[str, float | int | None] = {
        "tokens": found["tokens"],
        "kl": found["kl"]["token"]["value"],
        "completion_kl": found["kl"]["completion"]["value"],
    }
    for name in ESTIMATORS:
        token, completion = found["token"][name], found["completion"][name]
        figures |= {
            f"{name}_bias": token["bias"],
            f"{name}_std": token["std"],
            f"{name}_sampled_bias": token["sampled_bias"]["value"],
            f"{name}_sampled_std": token["sampled_std"],
            f"{name}_negative": token["negative"]["value"],
            f"{name}_completion_bias": completion["bias"]["value"],
            f"{name}_completion_std": completion["std"],
        }
    for prefix, part in (("", exact), ("sampled_", sampled)):
        figures |= {f"{prefix}best_lambda": part["best"], f"{prefix}optimal_lambda": part["optimum"]}
        for weight in ("0", "1"):
            if weight in part["variance"]:
                figures[f"{prefix}variance_at_{weight}"] = part["variance"][weight]
        figures[f"{prefix}variance_at_best"] = part["best_variance"]
    for name, gradient in found["gradient"].items():
        figures |= {f"grad_{figure}_{name}": value for figure, value in gradient.items()}
    return figures


def read(folder: Path) -> dict[str, Any] | None:
    """Return kl.json of an artifact's folder, None where there is none."""
    file = folder / FILE
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _kl_columns(rows: Sequence[Row]) -> Columns:
    return {
        "token": _column(rows, lambda row: (row["kl"], row["tokens"])),
        "completion": _column(rows, lambda row: (row["kl"], 1.0)),
    }


def _by_token(rows: Sequence[Row], totals: Mapping[str, float], seed: int) -> dict[str, Any]:
    tokens = totals["tokens"]
    columns: dict[str, Any] = {}
    for name in ESTIMATORS:
        columns[f"{name} bias"] = _column(rows, lambda row, name=name: (row[name] - row["kl"], row["tokens"]))
        columns[f"{name} negative"] = _column(rows, lambda row, name=name: (row[f"{name}_negative"], row["tokens"]))
    drawn = intervals(columns, seed=seed)
    return {
        name: {
            "bias": (totals[f"{name}_mean"] - totals["kl"]) / tokens,
            "std": math.sqrt(totals[f"{name}_variance"] / tokens),
            "sampled_bias": drawn[f"{name} bias"].as_dict(),
            "sampled_std": math.sqrt(
                max(0.0, totals[f"{name}_square"] / tokens - ((totals[name] - totals["kl"]) / tokens) ** 2)
            ),
            "negative": drawn[f"{name} negative"].as_dict(),
        }
        for name in ESTIMATORS
    }


def _by_completion(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """The same from the ratio of whole completions (R1's eq. 2), against the sum of the exact KLs along each."""
    errors = {name: [whole(row)[name] - row["kl"] for row in rows] for name in ESTIMATORS}
    columns: dict[str, Any] = {}
    for name in ESTIMATORS:
        columns[f"{name} bias"] = _column(rows, lambda row, name=name: (whole(row)[name] - row["kl"], 1.0))
        columns[f"{name} negative"] = _column(rows, lambda row, name=name: (float(whole(row)[name] < 0), 1.0))
    drawn = intervals(columns, seed=seed)
    return {
        name: {
            "bias": drawn[f"{name} bias"].as_dict(),
            "std": _deviation(errors[name]),
            "negative": drawn[f"{name} negative"].as_dict(),
        }
        for name in ESTIMATORS
    }


def _gradient(totals: Mapping[str, float], name: str) -> dict[str, float]:
    """Return the relative error, the cosine and the relative noise of one draw, over all places; 0 where there is no
    gradient to compare, or none to compare with.
    """
    true, square = math.sqrt(totals["grad_true"]), math.sqrt(totals[f"{name}_square"])
    if true <= NOTHING * math.sqrt(totals["tokens"]):
        return {"error": 0.0, "cosine": 0.0, "noise": 0.0}
    return {
        "error": math.sqrt(totals[f"{name}_error"]) / true,
        "cosine": totals[f"{name}_dot"] / (true * square) if square > NOTHING * true else 0.0,
        "noise": math.sqrt(max(0.0, totals[f"{name}_noise"])) / true,
    }


def _column(rows: Sequence[Row], pair: Any) -> dict[str, tuple[float, float]]:
    """Return problem id -> the sums of a pair over its completions."""
    found: dict[str, tuple[float, float]] = {}
    for row in rows:
        numerator, denominator = found.get(row["id"], (0.0, 0.0))
        more = pair(row)
        found[row["id"]] = (numerator + more[0], denominator + more[1])
    return found


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))

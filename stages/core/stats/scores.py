"""Judged completions in; the figures of an evaluation out, per sampling and per family, each with its interval.

A Scores artifact holds `completions.jsonl` (every completion with its verdicts) and `scores.json`, which is a pure
function of it: the first is the fact, the second its summary. Two artifacts are compared from their completions,
problem by problem.

One row of completions.jsonl: id, family, sampling, sample (0..n-1), completion, strict (0..1; None: no rule judges this
problem, so there is no accuracy), correct (0..1; None: could not be judged, counted as wrong), format (0 or 1), answer
(the committed answer, None: none), reason (why strict is 0, else ""), tokens, truncated, mixed (prose in English and
Chinese), wrong_step ([start, end) in characters, or None), reflective (words of reflection), language (share of the
thinking's words in the problem's language; None: no words), readable, rewards (name -> 0..1 for each extra reward that
applies; None: could not judge), and only where the engine failed: failed (true). Such a completion is no sample of the
model: it is counted, and plays no part in any figure.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.errors import MissingError
from stages.core.stats import estimators
from stages.core.stats.estimators import Pair

SCORES_FILE = "scores.json"
COMPLETIONS_FILE = "completions.jsonl"

Row = dict[str, Any]
Tally = dict[str, dict[str, Pair]]


def sampling_name(temperature: float, top_p: float) -> str:
    """Return the name under which a sampling's figures and completions are kept, such as `T0.6-p0.95`."""
    return f"T{temperature:g}-p{top_p:g}"


def read_completions(folder: Path, texts: Container[int] | None = None) -> dict[str, list[Row]]:
    """Return the completions of a Scores folder by sampling name, in file order; None: with all their texts, else with
    those of these samples of each problem alone. Raises MissingError when there are none.
    """
    path = folder / COMPLETIONS_FILE
    if not path.is_file():
        raise MissingError(
            f"no {COMPLETIONS_FILE} in these scores", hint="evaluate again: `r1 eval`", where=str(folder)
        )
    by_sampling: dict[str, list[Row]] = defaultdict(list)
    for row in _lines(path):
        by_sampling[row["sampling"]].append(row if texts is None or row["sample"] in texts else without_text(row))
    return dict(by_sampling)


def without_text(row: Row) -> Row:
    """Return a completion without what it says: most of its bytes, of which no figure is made."""
    return {name: value for name, value in row.items() if name != "completion"}


def read_scores(folder: Path) -> dict[str, Any]:
    """Return scores.json of a Scores folder as a plain dict. Raises MissingError when it is not there."""
    path = folder / SCORES_FILE
    if not path.is_file():
        raise MissingError(f"no {SCORES_FILE} here", hint="evaluate the model: `r1 eval`", where=str(folder))
    scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return scores


def completed(rows: Iterable[Row]) -> list[Row]:
    """Return the completions that the engine did not fail."""
    return [row for row in rows if not row.get("failed")]


def tally(rows: Iterable[Row], pass_k: Sequence[int] = ()) -> Tally:
    """Return metric -> problem id -> (numerator, denominator) over one sampling's completions.

    Shares and verdicts are in 0..1, lengths in tokens, reflective in words a completion. pass@k is there for every k
    that no problem has too few samples for; cons@n is named after the samples of a problem and absent where problems
    differ in their number. Where a figure does not apply to a problem (accuracy where a learned judge judges, an extra
    reward where it does not apply) the pair is (0, 0): the problem plays no part in it.
    """
    by_problem: dict[str, list[Row]] = defaultdict(list)
    for row in completed(rows):
        by_problem[row["id"]].append(row)
    everything = [row for samples in by_problem.values() for row in samples]
    fewest = min((len(samples) for samples in by_problem.values()), default=0)
    alike = all(len(samples) == fewest for samples in by_problem.values())
    written = [name for name in _WRITTEN if all(name in row for row in everything)]  # older files lack them
    rewards = sorted({name for row in everything for name in row.get("rewards", ())})
    columns: Tally = defaultdict(dict)
    for one, samples in by_problem.items():
        pairs = dict(_problem_pairs(samples, [k for k in pass_k if k <= fewest], alike))
        pairs |= {name: _mean([row[name] for row in samples]) for name in written}
        extra = {name: _mean([row["rewards"].get(name) for row in samples]) for name in rewards}
        for metric, pair in {**extra, **pairs}.items():
            columns[metric][one] = pair
    return dict(columns)


def measure(rows: Sequence[Row], pass_k: Sequence[int], seed: int) -> dict[str, Any]:
    """Return {"completions", "failed", "unjudged", "overall", "families"}: every figure of one sampling with its
    interval, and how many completions there are, how many of them the engine failed and no rule could judge."""
    columns = tally(rows, pass_k)
    families = estimators.by_group(columns, _family_of(rows))
    return {
        "completions": len(rows),
        "failed": len(rows) - len(completed(rows)),
        "unjudged": sum(row["correct"] is None and row["strict"] is not None for row in completed(rows)),
        "overall": _as_dicts(estimators.intervals(columns, seed=seed)),
        "families": {name: _as_dicts(estimators.intervals(part, seed=seed)) for name, part in families.items()},
    }


def compare(after: Sequence[Row], before: Sequence[Row], pass_k: Sequence[int], seed: int) -> dict[str, Any]:
    """Return {"overall", "families", "by_parent"}: after minus before, problem by problem as both were asked it, with
    intervals.

    "by_parent" splits the gain into problems the parent answers rightly (any format) in at least one of its samples,
    "solved", and the others, "unsolved", where one of the two may be absent. The choice looks at the parent's own
    answers: on the unsolved its any-format figures are 0, and a change there can only be a rise.
    """
    new, old = tally(after, pass_k), tally(before, pass_k)
    known = solved_problems(before)
    parts = {row["id"]: "solved" if row["id"] in known else "unsolved" for row in before if row["strict"] is not None}
    return {
        "overall": _as_dicts(estimators.differences(new, old, seed=seed)),
        "families": _differences(new, old, _family_of(after), seed),
        "by_parent": _differences(new, old, parts, seed),
    }


def solved_problems(rows: Iterable[Row]) -> set[str]:
    """Return the ids of the problems that at least one completion answers rightly, in any format."""
    return {row["id"] for row in rows if row["correct"] == 1.0}


def table(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one flat row per sampling and family ("all" first): the figures an evaluation is read by, as plain
    numbers.

    Shares are 0..1; `strict_low` and `strict_high` bound strict pass@1; `gain` is the paired difference to the parent.
    What is written (language, readable, reflective words) and the extra rewards follow under `written`. A figure that
    does not exist is None.
    """
    most = max(scores["pass_k"], default=1)
    rows = []
    for sampling in scores["samplings"]:
        difference = sampling.get("difference") or {"overall": {}, "families": {}}
        groups = [("all", sampling["overall"], difference["overall"])]
        groups += [(name, part, difference["families"].get(name, {})) for name, part in sampling["families"].items()]
        for family, figures, change in groups:
            strict, gain = figures["strict_pass@1"], change.get("strict_pass@1", {})
            row = {"sampling": sampling["name"], "family": family, "problems": strict["n"], "strict": strict["value"]}
            row |= {"strict_low": strict["low"], "strict_high": strict["high"]}
            row["written"] = {name: figures[name]["value"] for name in extra_metrics(figures)}
            for metric in ("pass@1", f"pass@{most}", f"cons@{scores['samples']}", *_TABLE):
                row[metric] = figures.get(metric, {}).get("value")
            if sampling.get("difference"):
                row |= {"gain": gain.get("value"), "gain_low": gain.get("low"), "gain_high": gain.get("high")}
            rows.append(row)
    return rows


def extra_metrics(figures: Mapping[str, Any]) -> list[str]:
    """Return which of the figures tell of the writing or come from extra rewards, in the order they are shown."""
    known = (*_TABLE, "length_correct", "length_wrong")
    rewards = [name for name in figures if name not in known and name not in _WRITTEN and "pass@" not in name]
    return [name for name in _WRITTEN if name in figures] + [one for one in rewards if not one.startswith("cons@")]


_TABLE = ("format", "length", "truncated", "mixed_language")
_WRITTEN = ("language", "readable", "reflective")


def _problem_pairs(samples: Sequence[Row], ks: Sequence[int], alike: bool) -> Iterator[tuple[str, Pair]]:
    n = len(samples)
    ruled = float(samples[0]["strict"] is not None)
    strict = [float(row["strict"] or 0.0) for row in samples]
    correct = [float(row["correct"] or 0.0) for row in samples]
    tokens = [float(row["tokens"]) for row in samples]
    yield "strict_pass@1", (estimators.pass_at_1(strict), ruled)
    yield "pass@1", (estimators.pass_at_1(correct), ruled)
    for k in ks:
        if k > 1:
            yield f"strict_pass@{k}", (estimators.pass_at_k(n, strict.count(1.0), k), ruled)
            yield f"pass@{k}", (estimators.pass_at_k(n, correct.count(1.0), k), ruled)
    if alike:
        votes = ((row["answer"], verdict) for row, verdict in zip(samples, correct, strict=True))
        yield f"cons@{n}", (estimators.cons_at_k(votes), ruled)
    yield "format", (sum(float(row["format"]) for row in samples), n)
    yield "length", (sum(tokens), n)
    right = [length for length, verdict in zip(tokens, correct, strict=True) if verdict == 1.0]
    yield "length_correct", (sum(right), len(right))
    yield "length_wrong", (ruled * (sum(tokens) - sum(right)), ruled * (n - len(right)))
    yield "truncated", (sum(bool(row["truncated"]) for row in samples), n)
    yield "mixed_language", (sum(bool(row["mixed"]) for row in samples), n)


def _mean(values: Iterable[float | None]) -> Pair:
    """Return the sum and the number of the values that are there."""
    found = [float(value) for value in values if value is not None]
    return sum(found), float(len(found))


def _differences(new: Tally, old: Tally, group_of: Mapping[str, str], seed: int) -> dict[str, Any]:
    """Return group -> paired differences, for the groups that both sides have problems of."""
    before = estimators.by_group(old, group_of)
    return {
        name: _as_dicts(estimators.differences(part, before[name], seed=seed))
        for name, part in estimators.by_group(new, group_of).items()
        if name in before
    }


def _family_of(rows: Iterable[Row]) -> dict[str, str]:
    return {row["id"]: row["family"] for row in rows}


def _as_dicts(estimates: Mapping[str, estimators.Estimate]) -> dict[str, dict[str, Any]]:
    return {name: estimate.as_dict() for name, estimate in estimates.items()}


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)

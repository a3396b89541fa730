"""What claims compare: artifacts by node name enter; columns of (numerator, denominator) per problem leave.

A figure of an evaluation is a column over its problems, a training curve one over the rollouts at its ends. A figure of
a record (FLOPs, a held-out KL) is a column with the one id WHOLE: there is nothing in it to resample but seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from stages.core.artifact import Artifact, Scores
from stages.core.errors import MissingError, nearest
from stages.core.run import events
from stages.core.stats import scores
from stages.core.stats.estimators import Column
from stages.core.stats.scores import Row, Tally

WHOLE = ""
"""The id of a figure that has no problems."""
TENTH = 0.1
"""Share of a run's rollouts that make its beginning, and its end."""


class Store(Protocol):
    """What claims ask of a store."""

    def open(self, address: str) -> Artifact:
        """Return the artifact at `name@N`; raises MissingError."""

    def lineage(self, address: str) -> list[Artifact]:
        """Return what an artifact descends from, and the artifact itself last."""


class Shelf:
    """The artifacts of a pipeline by node name; every file is read once."""

    def __init__(self, built: Mapping[str, Artifact], store: Store) -> None:
        self.built, self.store = built, store
        self._rows: dict[str, dict[str, list[Row]]] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}

    def get(self, node: str) -> Artifact | None:
        """Return a node's artifact, None where it is not built."""
        return self.built.get(node)

    def column(self, artifact: Artifact, metric: str, sampling: str) -> Column:
        """Return a metric of an artifact, per problem for an evaluation, else under WHOLE.

        Raises MissingError for a sampling or a metric it does not have.
        """
        if isinstance(artifact, Scores) and (artifact.path / scores.COMPLETIONS_FILE).is_file():
            tally = self._tally(artifact, sampling)
            if metric in tally:
                return tally[metric]
            known = list(tally)
        else:
            known = []
        value = record_figure(artifact.metrics, metric)
        if value is None:
            raise MissingError(f"{artifact.address} has no figure `{metric}`", hint=nearest(metric, known))
        return {WHOLE: (value, 1.0)}

    def rows(self, artifact: Artifact, sampling: str) -> list[Row]:
        """Return the completions of an evaluation under one sampling; raises MissingError when there are none."""
        if artifact.address not in self._rows:
            self._rows[artifact.address] = scores.read_completions(artifact.path, texts=())
        found = self._rows[artifact.address]
        if sampling not in found:
            raise MissingError(f"{artifact.address} was not sampled at {sampling}", hint=f"it has {', '.join(found)}")
        return found[sampling]

    def model_of(self, artifact: Artifact) -> Artifact:
        """Return the model an evaluation is about, or the artifact itself; raises MissingError when it is gone."""
        model = artifact.record.inputs.get("model") if isinstance(artifact, Scores) else None
        return self.store.open(model) if model else artifact

    def families(self, artifact: Artifact, sampling: str) -> dict[str, str]:
        """Return problem id -> family."""
        return {row["id"]: row["family"] for row in self.rows(artifact, sampling)}

    def solved(self, artifact: Artifact, sampling: str) -> set[str]:
        """Return the problems of an evaluation with at least one right answer (any format) among its samples."""
        return scores.solved_problems(self.rows(artifact, sampling))

    def _tally(self, artifact: Artifact, sampling: str) -> Tally:
        key = (artifact.address, sampling)
        if key not in self._tallies:
            pass_k = scores.read_scores(artifact.path)["pass_k"]
            self._tallies[key] = scores.tally(self.rows(artifact, sampling), pass_k)
        return self._tallies[key]


def record_figure(metrics: Mapping[str, Any], path: str) -> float | None:
    """Return a number of a record by its dotted path, or the sum of several joined by `+`; None when there is none.

    In a sum, a part the record does not have counts as 0: training without sampling has no sampling FLOPs.
    """
    found = [_walk(metrics, part.strip()) for part in path.split("+")]
    numbers = [value for value in found if value is not None]
    return sum(numbers) if numbers else None


def curve(artifact: Artifact, name: str) -> list[tuple[int, float]]:
    """Return (step, value) of one figure over the steps of a training run; raises MissingError when it has none."""
    steps = events.curve(artifact.path / "events.jsonl", "step")
    found = [(int(line["step"]), float(line[name])) for line in steps if isinstance(line.get(name), int | float)]
    if not found:
        raise MissingError(f"{artifact.address} tells no `{name}` of its steps", hint="it is a training run's figure")
    return found


def by_rollout(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return a curve with one point a rollout: steps that train on the same completions repeat its value, and the first
    of them stays.
    """
    return [point for place, point in enumerate(curve) if not place or point[1] != curve[place - 1][1]]


def ends(curve: Sequence[tuple[int, float]]) -> tuple[Column, Column]:
    """Return the last and the first tenth of a run as columns over rollouts, at least one in each.

    The n-th of the last stands beside the n-th of the first: they are no pair, but each is drawn as often, and what is
    resampled is the chance of rollouts within one run.
    """
    values = [value for _, value in by_rollout(curve)]
    size = max(1, round(len(values) * TENTH))
    last, first = values[-size:], values[:size]
    names = [f"rollout {place:03d}" for place in range(size)]
    return (
        {name: (value, 1.0) for name, value in zip(names, last, strict=True)},
        {name: (value, 1.0) for name, value in zip(names, first, strict=True)},
    )


def broken_assertion(assertion: str, of: Artifact, against: Artifact | None, shelf: Shelf) -> str:
    """Return why an assertion does not hold, in words; "" when it does. Raises MissingError for a figure not there."""
    kind, _, what = assertion.partition(" ")
    if kind == "no-stage":
        found = [one.address for one in shelf.store.lineage(of.address) if one.record.stage == what]
        return f"{of.address} descends from {', '.join(found)}, of the stage {what}" if found else ""
    mine = record_figure(shelf.model_of(of).metrics, what)
    theirs = record_figure(shelf.model_of(against).metrics, what) if against else None
    if mine is None or theirs is None:
        raise MissingError(f"`{what}` was not recorded on both sides", hint="build both models again")
    return f"`{what}` is {mine:.3g}, and {theirs:.3g} on the other side" if mine > 1.05 * theirs else ""


def _walk(metrics: Any, path: str) -> float | None:
    """Follow the longest keys that fit, because a metric's own name may hold dots."""
    if not isinstance(metrics, Mapping):
        return None
    if path in metrics:
        value = metrics[path]
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    for key, inner in metrics.items():
        if path.startswith(f"{key}."):
            found = _walk(inner, path[len(key) + 1 :])
            if found is not None:
                return found
    return None

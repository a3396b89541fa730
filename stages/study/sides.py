"""From a claim's names to what is compared: a claim and a shelf enter; one pairing of columns for each seed leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.artifact import Artifact
from stages.core.errors import MissingError
from stages.core.stats.estimators import Column
from stages.study import figures, resample
from stages.study.claims import SEED, Claim, Control, node_names
from stages.study.figures import Shelf
from stages.study.resample import Pairing


@dataclass(frozen=True)
class Side:
    """The artifacts of one seed."""

    of: Artifact
    against: Artifact | float | None
    """None for a curve, which is compared with its own beginning."""


def found(claim: Claim, asked: Claim | Control, shelf: Shelf) -> list[Side]:
    """Return the artifacts of each seed for which both sides are built; seeds that mean the same artifacts count once.

    `asked` is the claim itself or its control. Raises MissingError when the best of several cannot be told.
    """
    names = _chosen(claim, asked, shelf)
    if names is None:
        return []
    sides: dict[tuple[str, str], Side] = {}
    for seed in claim.seeds or [""]:
        of = shelf.get(names[0].replace(SEED, seed))
        against: Artifact | float | None = shelf.get(names[1].replace(SEED, seed)) if names[1] else None
        if of is None or (names[1] and against is None):
            continue
        if isinstance(asked.against, float):
            against = asked.against
        address = against.address if isinstance(against, Artifact) else ""
        sides.setdefault((of.address, address), Side(of, against))
    return list(sides.values())


def pairings(claim: Claim, asked: Claim | Control, sides: Sequence[Side], shelf: Shelf) -> list[Pairing]:
    """Return the columns of each seed on the problems that both sides have and the claim asks for.

    Raises MissingError for a metric, a sampling or a family that is not there.
    """
    metric = asked.metric or claim.metric
    return [_pairing(claim, (metric, claim.against_metric or metric), side, shelf) for side in sides]


def missing(asked: Claim | Control, claim: Claim, shelf: Shelf) -> list[str]:
    """Return the nodes of a claim's first seed that are not built."""
    names = [*node_names(asked.of), *node_names(asked.against)]
    first = [name.replace(SEED, (claim.seeds or [""])[0]) for name in names]
    return [name for name in first if shelf.get(name) is None]


def best(claim: Claim, shelf: Shelf) -> list[str]:
    """Return which of several nodes was taken as the best, in words, for each side that names several."""
    names = _chosen(claim, claim, shelf) or ("", "")
    sides = zip((claim.of, claim.against), names, strict=True)
    return [f"the best of {len(node_names(side))}: {name.replace(SEED, '')}" for side, name in sides if _several(side)]


def _several(side: float | str | list[str] | None) -> bool:
    return len(node_names(side)) > 1


def _chosen(claim: Claim, asked: Claim | Control, shelf: Shelf) -> tuple[str, str] | None:
    """Return the node names of both sides ("" for a number); of several, the best one at its first seed.

    None when one of several was not built: the best of what happens to be there is another claim.
    """
    metric = asked.metric or claim.metric
    chosen: list[str] = []
    for side, measured in ((asked.of, metric), (asked.against, claim.against_metric or metric)):
        names = node_names(side)
        if len(names) < 2:
            chosen.append(names[0] if names else "")
            continue
        swept = {name: _first(claim, name, measured, shelf) for name in names}
        if None in swept.values():
            return None
        chosen.append(max(names, key=lambda name: swept[name] or 0.0))
    return chosen[0], chosen[1]


def _first(claim: Claim, name: str, metric: str, shelf: Shelf) -> float | None:
    """Return a node's figure at the first seed it is built for: a sweep compares equal seeds, and needs only one."""
    nodes = (shelf.get(name.replace(SEED, seed)) for seed in claim.seeds or [""])
    node = next((one for one in nodes if one is not None), None)
    if node is None:
        return None
    return resample.ratio(_kept(claim, node, shelf.column(node, metric, claim.sampling), shelf))


def _pairing(claim: Claim, metrics: tuple[str, str], side: Side, shelf: Shelf) -> Pairing:
    if claim.curve:
        return Pairing(*figures.ends(figures.curve(side.of, claim.curve)))
    after = _kept(claim, side.of, shelf.column(side.of, metrics[0], claim.sampling), shelf)
    if not isinstance(side.against, Artifact):
        number = float(side.against or 0.0)
        return Pairing(after, {key: (number * pair[1], pair[1]) for key, pair in after.items()})
    before = shelf.column(side.against, metrics[1], claim.sampling)
    wanted = after.keys() & before.keys()
    if claim.problems != "all":
        solved = shelf.solved(side.against, claim.sampling)
        wanted = wanted & solved if claim.problems == "solved" else wanted - solved
    if not wanted:
        raise MissingError(f"{side.of.address} and {side.against.address} share no such problem")
    return Pairing({key: after[key] for key in wanted}, {key: before[key] for key in wanted})


def _kept(claim: Claim, artifact: Artifact, column: Column, shelf: Shelf) -> Column:
    """Return the part of a column that belongs to the claim's family."""
    if not claim.family or figures.WHOLE in column:
        return column
    family_of = shelf.families(artifact, claim.sampling)
    kept = {key: pair for key, pair in column.items() if family_of[key] == claim.family}
    if not kept:
        raise MissingError(f"{artifact.address} has no problem of the family `{claim.family}`")
    return kept

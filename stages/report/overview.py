"""A pipeline at a glance: its claims, its stages beside the published ones, every node, and what each curation kept.

Plain rows enter (this room does not know how a claim is decided) with the artifacts by node name; an `Overview` leaves,
which the page puts before its chapters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.artifact import Artifact
from stages.core.data import yields


@dataclass(frozen=True)
class Overview:
    """What the page says of a pipeline as a whole."""

    name: str
    """The pipeline's file."""
    claims: Sequence[Mapping[str, Any]]
    """For each claim the cells of its row: claim, paper, ours, control, verdict, why, note; empty = it names none."""
    summary: str
    """How many claims hold, do not, and so on."""
    stages: Sequence[Mapping[str, Any]]
    """For each stage: `stage`, `figures` (column -> estimate or None), `paper` (benchmark -> published figure)."""
    nodes: Sequence[Mapping[str, Any]]
    """For each node that is built: node, address, kind, stage, seconds, figures."""
    missing: Sequence[str]
    """Nodes that are not built."""
    yields: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]
    """(node, rows of its yield table) of each curation."""

    @property
    def published(self) -> list[str]:
        """The benchmarks of the published figures, in the order in which they come up."""
        return list(dict.fromkeys(name for row in self.stages for name in row["paper"]))


def yield_tables(built: Mapping[str, Artifact]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return (node, rows of its yield table) for every node that has one; a table without samples is left out."""
    found = ((name, yields.read_yield(artifact.path)) for name, artifact in built.items())
    return [(name, yields.table(one)) for name, one in found if one is not None and "samples" in one]


def figure_columns(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of the table of stages, in the order in which they come up."""
    return list(dict.fromkeys(name for row in stages for name in row["figures"]))

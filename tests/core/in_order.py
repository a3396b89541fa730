"""A pipeline's nodes, one after the other in this process: `r1 pipeline` without its plan, its table and its jobs."""

from __future__ import annotations

from collections.abc import Sequence

from stages.core.artifact import Artifact
from stages.core.recipe.loading import Loaded
from stages.core.run.runner import Listener, run_node
from stages.core.storage.store import Store


def run_nodes(nodes: Sequence[Loaded], store: Store, listener: Listener | None = None) -> dict[str, Artifact]:
    """All nodes of a pipeline in order; node name -> artifact. Raises what `run_node` raises; what is sealed stays."""
    built: dict[str, Artifact] = {}
    for node in nodes:
        built[node.name] = run_node(node, store, listener, built)
    return built

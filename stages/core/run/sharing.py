"""How a node shares the cores of this machine, where its runtime leaves that open.

A node and its inputs enter; how many processes build it leaves, and with how many threads each. torch's threads wait
for each other at the end of every operation. In a small model operations are short, so threads gain little on an idle
machine, and beside another program each waits for one that was put aside: 2.3 times as slow as one thread beside one
busy core, 7 times at load 4 (docs/performance.md). Processes meet once a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from stages.core.errors import R1Error
from stages.core.recipe.loading import Loaded, stage_module
from stages.core.run.runtime import Runtime, available_cores
from stages.core.scale import devices, shapes
from stages.core.scale.memory import SMALL_MODEL

if TYPE_CHECKING:
    from stages.core.artifact import Artifact

ENOUGH = 7000
"""Completions from which a second process of RL pays for its start: about ten seconds."""
PROCESSES = 2
"""Most that are started unasked: each reads the common start and the prompts anew."""


def decided(node: Loaded, inputs: Mapping[str, Artifact], cores: int | None = None) -> Runtime:
    """Return the node's runtime with its processes, and its threads where another number than torch's own pays.

    `inputs` by key; `cores`: this node's share of the machine's, None = all. On a CPU a small model has one thread, and
    its RL two processes if it is long enough; what the runtime says itself stays. It depends on the recipe, the inputs
    and the number of cores alone, so that a resumed run goes on as it began.
    """
    runtime = node.runtime
    if not small(inputs.values()) or not devices.present(runtime).cpu:
        return replace(runtime, processes=runtime.world_size, threads=runtime.threads or cores)
    elsewhere = runtime.vllm_server or runtime.ray
    free = runtime.processes is None and runtime.threads is None and not elsewhere
    processes = _processes(node) if free and runtime.engine != "vllm" else runtime.world_size
    return replace(runtime, processes=processes, threads=runtime.threads or 1)


def small(inputs: Iterable[Artifact]) -> bool:
    """Whether there are models among the inputs, and all of them are small."""
    found = [shapes.of_folder(one.path) for one in inputs if (one.path / "config.json").is_file()]
    return bool(found) and all(one is not None and one.parameters < SMALL_MODEL for one in found)


def _processes(node: Loaded) -> int:
    """How many processes pay for a node of a small model that may have several."""
    module, recipe = stage_module(node.stage), node.recipe
    most = min(PROCESSES, len(available_cores()))
    if node.stage != "rl" or most < 2:
        return 1
    drawn = math.prod(getattr(recipe, key) for key in ("steps", "prompts_per_step", "group_size"))
    try:
        module.refuse_processes(recipe, most)
    except R1Error:
        return 1
    return most if drawn >= ENOUGH else 1

"""The lock on fingerprints: `python -m tests.house.fingerprints > tests/house/fingerprints.lock.json`.

What enters: the embedded pipelines. What leaves: every node's stage and fingerprint, with the VERSIONs that they were
computed under. The lock was written by the build of 20 November 2026, before recipes had later keys, and is not written
again: what was built then must be found by every later build, so long as no VERSION rises.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from stages import STAGES
from stages.core.recipe.loading import load_pipeline
from stages.core.run.plan import plan
from stages.core.storage.store import Store

PIPELINES = ("pipeline", "zero", "study")
VERSIONED = {**STAGES, "import": "stages.core.run.sources", "world": "stages.world.sources"}
"""Whose VERSION goes into fingerprints -> the module that holds it."""


def current() -> dict[str, Any]:
    """{"versions": {stage: VERSION}, "nodes": {pipeline: {node: {"stage", "fingerprint"}}}} as the code stands."""
    versions = {name: importlib.import_module(module).VERSION for name, module in VERSIONED.items()}
    with tempfile.TemporaryDirectory() as home:
        return {"versions": versions, "nodes": {name: nodes(name, Store(Path(home))) for name in PIPELINES}}


def nodes(pipeline: str, store: Store) -> dict[str, dict[str, Any]]:
    """Node -> its stage and fingerprint, of one embedded pipeline."""
    steps = plan(load_pipeline(pipeline), store)
    return {step.node.name: {"stage": step.node.stage, "fingerprint": step.fingerprint} for step in steps}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(current(), indent=1) + "\n")

"""What was built before recipes had later keys is found by every build since."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from stages.core.artifact import Record
from stages.core.recipe.loading import load_pipeline
from stages.core.run.plan import plan
from stages.core.storage.store import Store
from tests.house import fingerprints

LOCK: dict[str, Any] = json.loads(Path(__file__).with_name("fingerprints.lock.json").read_text(encoding="utf-8"))
"""Written by an earlier build, and by no later one."""


@pytest.fixture(autouse=True)
def _versions_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """VERSIONs rise for good reasons; only what else goes into a fingerprint is looked at here."""
    for name, version in LOCK["versions"].items():
        monkeypatch.setattr(importlib.import_module(fingerprints.VERSIONED[name]), "VERSION", version)


@pytest.mark.parametrize("pipeline", fingerprints.PIPELINES)
def test_every_node_has_the_fingerprint_that_it_had(pipeline: str) -> None:
    now, then = fingerprints.nodes(pipeline, Store()), LOCK["nodes"][pipeline]
    moved = [name for name in then if now[name] != then[name]]
    assert list(now) == list(then) and not moved, f"a key without `later(default)`, perhaps: {', '.join(moved)}"


def test_a_store_of_then_is_reused_whole() -> None:
    nodes, store = load_pipeline("pipeline"), Store()
    for node in nodes:
        plant(node.name, LOCK["nodes"]["pipeline"][node.name], store)
    assert {step.node.name: step.action for step in plan(nodes, store)} == {node.name: "reuse" for node in nodes}


def plant(name: str, built: dict[str, str], store: Store) -> None:
    """Seal an artifact of no content under a fingerprint of then."""
    with store.workspace(name, built["fingerprint"]) as folder:
        (folder / "planted.json").write_text("{}", encoding="utf-8")
        record = Record(
            kind="scores",
            name=name,
            number=0,
            fingerprint=built["fingerprint"],
            payload={"stage": built["stage"], "recipe": {}, "inputs": {}},
            inputs={},
            stage=built["stage"],
            version=LOCK["versions"][built["stage"]],
        )
        store.seal(folder, record)

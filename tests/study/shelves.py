"""A store with evaluations and models whose every figure is written down here, for claims to be decided on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.artifact import Artifact, Record
from stages.core.fingerprint import fingerprint
from stages.core.run.events import Events
from stages.core.stats import scores
from stages.core.storage.store import Store


def seal(
    store: Store,
    name: str,
    kind: str = "model",
    stage: str = "rl",
    inputs: Mapping[str, str] | None = None,
    **what: Any,
) -> Artifact:
    """Seal an artifact. `metrics`: its record's figures. `rows`: completions of an evaluation, `facts` its scores.json.
    `curve`: values of the figure `reflective`, step by step.
    """
    payload = {"stage": stage, "version": 1, "recipe": {"name": name}, "inputs": dict(inputs or {})}
    with store.workspace(name, fingerprint(payload)) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        with Events(folder / "events.jsonl") as log:
            for step, value in enumerate(what.get("curve", ()), start=1):
                log.emit("step", step=step, reflective=value)
        if "rows" in what:
            _write(folder, what["rows"], what.get("facts", {"pass_k": [1, 2]}))
        record = Record(
            kind=kind,
            name=name,
            number=0,
            fingerprint=fingerprint(payload),
            payload=payload,
            inputs=dict(inputs or {}),
            stage=stage,
            version=1,
            metrics=what.get("metrics", {}),
            provenance={"seconds": 12.0, "time": "2026-11-20T05:00:00+00:00"},
        )
        return store.seal(folder, record)


def evaluation(store: Store, name: str, right: Sequence[int], model: str = "", **changes: Any) -> Artifact:
    """Seal an evaluation of two samples a problem, of which `right[i]` (0 to 2) are right for problem `i`; even
    problems are of the family `even`. `changes` replace fields of every row.
    """
    rows = [
        row(f"p{place:03d}", sample < count, sample, family=("even", "odd")[place % 2]) | changes
        for place, count in enumerate(right)
        for sample in (0, 1)
    ]
    inputs = {"model": model} if model else {}
    return seal(store, name, "scores", "eval", inputs, rows=rows)


def row(problem: str, right: bool | None, sample: int = 0, **changes: Any) -> dict[str, Any]:
    """One line of completions.jsonl; `right` None: a general prompt."""
    verdict = None if right is None else float(right)
    facts = {"strict": verdict, "correct": verdict, "format": 1.0, "answer": None if right is None else str(right)}
    facts |= {"tokens": 10, "truncated": False, "mixed": False, "reason": "", "wrong_step": None, "completion": ""}
    facts |= {"reflective": 0, "language": 1.0, "readable": True, "rewards": {}}
    head = {"id": problem, "family": "even", "sampling": "T1-p1", "sample": sample}
    return head | facts | changes


def _write(folder: Path, rows: Sequence[dict[str, Any]], facts: dict[str, Any]) -> None:
    with (folder / scores.COMPLETIONS_FILE).open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(one) + "\n" for one in rows)
    (folder / scores.SCORES_FILE).write_text(json.dumps(facts), encoding="utf-8")

"""Artifacts in, the story of each model out: what it came from, how it learned, how it did before and after.

Reads only sealed folders and the store's records. Scores that evaluate the model or its parent are found through the
inputs in their records, so `r1 report zero` needs one address. Whatever should be there and is not becomes a sentence
in `absent`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stages.core.artifact import Artifact, Model, Scores
from stages.core.errors import R1Error
from stages.core.run import events
from stages.core.stats import scores
from stages.report import curves
from stages.report.charts import Chart
from stages.report.samples import Pair, pairs

PREFERRED = ("heldout", "harder")  # splits in reading order; others follow by name


class Store(Protocol):
    """What the report asks of a store."""

    def open(self, address: str) -> Artifact:
        """Return the artifact at `name@N`; raises MissingError."""

    def all(self) -> Sequence[Artifact]:
        """Return every sealed artifact."""


@dataclass(frozen=True)
class Comparison:
    """One sampling of one set of problems, after and (when it was measured) before."""

    title: str
    after: dict[str, Any]
    before: dict[str, Any] | None
    gain: dict[str, Any] | None


@dataclass(frozen=True)
class Evaluation:
    """One set of problems on which the model, and perhaps its parent, was scored."""

    label: str
    prompts: str
    samples: int
    problem_count: int
    comparisons: Sequence[Comparison]
    pairs: Sequence[Pair]
    after: Scores
    before: Scores | None


@dataclass(frozen=True)
class Ancestor:
    """One artifact of the lineage with its column (0 = oldest) and the command that made it."""

    artifact: Artifact
    column: int
    command: str


@dataclass(frozen=True)
class Chapter:
    """Everything the page says of one model (or of one other artifact, which then has a lineage and a recipe only)."""

    subject: Artifact
    parent: Artifact | None
    charts: Sequence[Chart]
    evaluations: Sequence[Evaluation]
    ancestors: Sequence[Ancestor]
    recipe: str
    notes: Sequence[str]
    absent: list[str] = field(default_factory=list)


def chapters(artifacts: Sequence[Artifact], store: Store) -> list[Chapter]:
    """Return a chapter for each model among the artifacts, or evaluated by scores among them, in the order given."""
    subjects: dict[str, Artifact] = {}
    given: list[Scores] = []
    for artifact in artifacts:
        subject: Artifact = artifact
        if isinstance(artifact, Scores):
            given.append(artifact)
            subject = _opened(store, artifact.record.inputs.get("model", "")) or artifact
        subjects.setdefault(subject.address, subject)
    return [_chapter(subject, given, store) for subject in subjects.values()]


def _chapter(subject: Artifact, given: Sequence[Scores], store: Store) -> Chapter:
    absent: list[str] = []
    parent = _opened(store, subject.record.inputs.get("model", "")) if isinstance(subject, Model) else None
    log = subject.path / "events.jsonl"
    charts = curves.training_charts(log) if parent is not None else []
    if parent is not None and not any(chart.series for chart in charts):
        absent.append(f"{subject.address} keeps no training events: there are no curves to draw.")
        charts = []
    if isinstance(subject, Scores):  # the model it evaluates is not in the store
        evaluations = [_evaluation(subject, None)]
    else:
        evaluations = _evaluations(subject, parent, given, store)
    if isinstance(subject, Model) and not evaluations:
        how = f"r1 eval inputs.model={subject.address} inputs.prompts=world:heldout"
        absent.append(f"{subject.address} was never evaluated: `{how}` does it.")
    for one in evaluations:
        if parent is not None and one.before is None:
            prompts = one.after.record.inputs.get("prompts", "the same prompts")
            how = f"r1 eval inputs.model={parent.address} inputs.prompts={prompts}"
            absent.append(f"The parent {parent.address} was never evaluated on {one.label}: `{how}` does it.")
    scored = [artifact for one in evaluations for artifact in (one.before, one.after) if artifact]
    notes = [str(line.get("text", "")) for line in events.read(log) if line["event"] in ("warning", "alarm")]
    return Chapter(
        subject=subject,
        parent=parent,
        charts=charts,
        evaluations=evaluations,
        ancestors=lineage([subject, *scored], store, absent),
        recipe=_text(subject.path / "recipe.yaml"),
        notes=list(dict.fromkeys(notes)),
        absent=absent,
    )


def lineage(artifacts: Sequence[Artifact], store: Store, absent: list[str]) -> list[Ancestor]:
    """Return artifacts and all they descend from, oldest column first; what the store lacks is added to `absent`."""
    found: dict[str, Artifact] = {}
    waiting = list(artifacts)
    while waiting:
        artifact = waiting.pop(0)
        if artifact.address in found:
            continue
        found[artifact.address] = artifact
        for address in artifact.record.inputs.values():
            ancestor = _opened(store, address)
            if ancestor is not None:
                waiting.append(ancestor)
            elif f"{address} is not in the store." not in absent:
                absent.append(f"{address} is not in the store.")
    depth: dict[str, int] = {}
    for address in found:
        _depth(address, found, depth)
    last = max(depth.values(), default=0)
    used = {address for one in found.values() for address in one.record.inputs.values()}
    depth |= {address: last for address in found if address not in used and depth[address]}  # results stand together
    ordered = sorted(found.values(), key=lambda one: (depth[one.address], one.kind, one.address))
    return [Ancestor(one, depth[one.address], command(one)) for one in ordered]


def command(artifact: Artifact) -> str:
    """Return the command line that made an artifact, ready for a shell; "" when its record holds none."""
    argv = [str(part) for part in artifact.record.provenance.get("argv") or []]
    return shlex.join(["r1", *argv[1:]]) if len(argv) > 1 else ""


def _depth(address: str, found: dict[str, Artifact], depth: dict[str, int]) -> int:
    if address not in depth:
        depth[address] = 0  # set before the walk, so that a record naming itself cannot loop
        parents = [one for one in found[address].record.inputs.values() if one in found]
        depth[address] = max((1 + _depth(one, found, depth) for one in parents), default=0)
    return depth[address]


def _evaluations(subject: Artifact, parent: Artifact | None, given: Sequence[Scores], store: Store) -> list[Evaluation]:
    """Pair the newest scores of the model with the newest of its parent, prompts by prompts; scores given by hand come
    first.
    """
    kept = [one for one in store.all() if isinstance(one, Scores)]
    after = _newest_by_prompts(kept, subject.address) | _newest_by_prompts(given, subject.address)
    before: dict[str, Scores] = {}
    if parent is not None:
        before = _newest_by_prompts(kept, parent.address) | _newest_by_prompts(given, parent.address)
    found = [_evaluation(one, before.get(prompts)) for prompts, one in after.items()]
    rank = {split: index for index, split in enumerate(PREFERRED)}
    return sorted(
        found, key=lambda one: (_general(one.comparisons[0].after), rank.get(one.label, len(rank)), one.label)
    )


def _newest_by_prompts(kept: Sequence[Scores], model: str) -> dict[str, Scores]:
    ordered = sorted(kept, key=lambda one: (str(one.record.provenance.get("time", "")), one.name, one.number))
    return {one.record.inputs.get("prompts", ""): one for one in ordered if one.record.inputs.get("model") == model}


def _evaluation(after: Scores, before: Scores | None) -> Evaluation:
    new = scores.read_scores(after.path)
    old = scores.read_scores(before.path) if before else None
    rows = scores.read_completions(after.path, texts=(0,))
    old_rows = scores.read_completions(before.path, texts=(0,)) if before else {}
    earlier = {part["name"]: part for part in old["samplings"]} if old else {}
    # T = 1 first: it is the model's own distribution, and what the figures are stated in.
    ordered = sorted(new["samplings"], key=lambda part: (part["temperature"] != 1.0, part["temperature"]))
    comparisons = []
    for part in ordered:
        name = part["name"]
        gain = None
        if before and after.record.inputs.get("parent") == before.address:
            gain = part.get("difference")
        if gain is None and name in old_rows:
            gain = scores.compare(rows[name], old_rows[name], new["pass_k"], seed=0)
        title = f"T = {part['temperature']:g}, top-p = {part['top_p']:g}"
        comparisons.append(Comparison(title, part, earlier.get(name), gain))
    first = ordered[0]["name"]
    prompts = after.record.inputs.get("prompts", "unnamed prompts")
    label = ", ".join(new["splits"]) or prompts
    return Evaluation(
        label=f"general prompts, {label}" if _general(ordered[0]) else label,
        prompts=prompts,
        samples=new["samples"],
        problem_count=new["problem_count"],
        comparisons=comparisons,
        pairs=pairs(rows[first], old_rows.get(first, []), new["problems"]),
        after=after,
        before=before,
    )


def _general(part: dict[str, Any]) -> bool:
    """Return whether no rule judges any of the problems."""
    return part["overall"]["strict_pass@1"]["value"] is None


def _opened(store: Store, address: str) -> Artifact | None:
    if not address:
        return None
    try:
        return store.open(address)
    except R1Error:  # pruned or never unpacked here: the page says so instead of failing
        return None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

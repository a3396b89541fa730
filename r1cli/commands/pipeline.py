"""`r1 pipeline`: a list of nodes enters, each is planned, then built or found, in reading order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1cli.options import Debug, DryRun, Json, Overrides, bundled_recipes
from r1cli.view import Screen, span

if TYPE_CHECKING:
    from stages.core.artifact import Artifact
    from stages.core.plan import Step
    from stages.core.recipe import Loaded
    from stages.core.store import Store

EXAMPLE = "Example: r1 pipeline --recipe recipes/zero.yaml rl.learning_rate=2e-4 --dry-run"


def run(
    recipe: Annotated[
        str, typer.Option("--recipe", help="A pipeline: a path, or a bundled name.", autocompletion=bundled_recipes)
    ],
    overrides: Overrides = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a list of stages; what is already built is reused."""
    from stages.core.recipe import load_pipeline

    build(load_pipeline(recipe, overrides or []), Screen(as_json), dry_run)


def build(nodes: Sequence[Loaded], screen: Screen, dry_run: bool) -> None:
    """Show the plan of some nodes and, unless it is a dry run, carry it out; the figures of each node follow it."""
    from stages.core.plan import plan
    from stages.core.store import Store

    store = Store()
    steps = plan(nodes, store)
    screen.table(["node", "action", "address", "why"], [[s.node.name, s.action, s.address, s.reason] for s in steps])
    shown = [{"node": s.node.name, "action": s.action, "address": s.address, "reason": s.reason} for s in steps]
    if dry_run:
        screen.data({"plan": shown, "artifacts": []})
        return
    built: dict[str, Artifact] = {}
    for step in steps:
        built[step.node.name] = _run(step, store, built, screen)
    if all(step.action == "reuse" for step in steps):
        screen.say("nothing to build: everything is there already")
    screen.data({"plan": shown, "artifacts": [_result(artifact) for artifact in built.values()]})


def _run(step: Step, store: Store, built: dict[str, Artifact], screen: Screen) -> Artifact:
    """One step of the plan, with progress while it works, and its figures, which a reused artifact has too."""
    from stages.core.runner import run_node

    if step.action == "reuse":
        artifact = run_node(step.node, store, None, built)
    else:
        with screen.progress(step.node.name) as listener:
            artifact = run_node(step.node, store, listener, built)
    took = span(artifact.record.provenance.get("seconds") or 0)
    how = f"reused, built in {took}" if step.action == "reuse" else took
    screen.say(f"{artifact.address}  {artifact.kind}, {how}")
    _figures(artifact, screen)
    return artifact


def _figures(artifact: Artifact, screen: Screen) -> None:
    """What the record says of an artifact: the table of an evaluation, or the plain figures of anything else."""
    if artifact.kind == "scores":
        from stages.core.scores import read_scores, table

        _evaluation(table(read_scores(artifact.path)), screen)
        return
    from stages.core.store import flatten

    figures = {key: value for key, value in flatten(artifact.metrics).items() if isinstance(value, (int, float, str))}
    if figures:
        screen.pairs({f"  {key}": value for key, value in figures.items()})


def _evaluation(rows: Sequence[dict[str, Any]], screen: Screen) -> None:
    """One table for each sampling, shares in percent, and below it the paired gain over the parent."""
    names = {"truncated": "cut", "mixed_language": "mixed"}
    shares = [key for key in rows[0] if key.startswith(("pass@", "cons@", "format", *names)) and key != "length"]
    for sampling in dict.fromkeys(row["sampling"] for row in rows):
        part = [row for row in rows if row["sampling"] == sampling]
        lines = [[r["family"], _interval(r, "strict"), *(_percent(r[s]) for s in shares), r["length"]] for r in part]
        columns = ["family", ">strict", *(f">{names.get(share, share)}" for share in shares), ">length"]
        screen.table(columns, lines, title=f"{sampling}: {part[0]['problems']} problems, percent (95 % interval)")
        if part[0].get("gain") is not None:
            screen.say(f"gain over the parent, paired: {_interval(part[0], 'gain')} points strict pass@1")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _interval(row: dict[str, Any], key: str) -> str:
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return f"{_percent(row[key])} [{100 * low:.0f},{100 * high:.0f}]" if low is not None else _percent(row[key])


def _result(artifact: Artifact) -> dict[str, Any]:
    return {"address": artifact.address, "kind": artifact.kind, "path": str(artifact.path), "metrics": artifact.metrics}

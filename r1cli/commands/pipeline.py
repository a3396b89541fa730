"""`r1 pipeline`: a list of nodes enters, each is planned, then built or found when its inputs are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1cli.options import Debug, DryRun, Json, Launcher, Overrides, bundled_recipes
from r1cli.view import Board, Screen, print_error, span

if TYPE_CHECKING:
    from stages.core.artifact import Artifact
    from stages.core.errors import R1Error
    from stages.core.recipe.loading import Loaded
    from stages.core.run.events import Listener
    from stages.core.run.plan import Step
    from stages.core.run.preflight import Findings
    from stages.core.run.timing import Expected
    from stages.core.scale.outlook import Outlook
    from stages.core.storage.store import Store

EXAMPLE = "Example: r1 pipeline --recipe recipes/zero.yaml rl.learning_rate=2e-4 --dry-run"


def run(
    recipe: Annotated[
        str, typer.Option("--recipe", help="A pipeline: a path, or a bundled name.", autocompletion=bundled_recipes)
    ],
    overrides: Overrides = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Nodes built side by side; two or one, as pays, where nothing is said."),
    ] = None,
    *,
    launcher: Launcher = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a list of stages; what is already built is reused."""
    from r1cli.commands import claims
    from stages.core.recipe.loading import claims_file, load_pipeline
    from stages.core.storage.store import Store

    screen = Screen(as_json)
    nodes = launched(load_pipeline(recipe, overrides or []), launcher)
    named = claims_file(recipe)
    if named is not None:
        from stages.study.claims import load_book

        load_book(named)  # a claim that cannot be read is told before anything is spent
    plan, built = carry_out(nodes, screen, dry_run, jobs)
    told = claims.tell(recipe, built, Store()) if built else None
    if told is not None:
        claims.show(told, screen)
    found = {"claims": told.claims, "stages": told.stages} if told else {}
    screen.data({**plan, "artifacts": [_result(artifact) for artifact in built.values()], **found})


def launched(nodes: Sequence[Loaded], launcher: str | None) -> list[Loaded]:
    """The nodes, with the launcher for those that several processes build. Raises RecipeError where none is one."""
    from stages.core.errors import RecipeError

    several = [node for node in nodes if node.runtime.world_size > 1]
    if launcher and not several:
        key = "runtime.processes=2" if len(nodes) == 1 else f"{nodes[-1].name}.runtime.processes=2"
        raise RecipeError("a launcher is given, and no node asks for several processes", hint=f"add e.g. {key}")
    if not launcher:
        return list(nodes)
    return [
        replace(node, runtime=replace(node.runtime, launcher=launcher)) if node in several else node for node in nodes
    ]


def build(nodes: Sequence[Loaded], screen: Screen, dry_run: bool) -> None:
    """Carry out some nodes as `carry_out` does, and give the result as JSON."""
    plan, built = carry_out(nodes, screen, dry_run)
    screen.data({**plan, "artifacts": [_result(artifact) for artifact in built.values()]})


def carry_out(
    nodes: Sequence[Loaded], screen: Screen, dry_run: bool, jobs: int | None = 1
) -> tuple[dict[str, Any], dict[str, Artifact]]:
    """Show the plan of some nodes with the time it should take, look at what they need from outside and, unless it is
    a dry run, carry it out with so many `jobs` (None = as many as pay); the figures of each node follow it. Returns the
    plan as values ("plan": its rows; "outside": what was looked at, where there was anything), and the artifacts by
    node name.

    A node that cannot be built stops only what needs it; the first such error is raised when all else is done.
    """
    from stages.core.run import preflight, schedule
    from stages.core.run.plan import plan
    from stages.core.storage.store import Store

    store = Store()
    steps = plan(nodes, store)
    jobs = jobs or schedule.jobs_that_pay(steps, store)
    looks = _outlooks(steps, store) if dry_run else []
    rows = show_steps(steps, store, jobs, screen, looks)
    found = preflight.check(steps, store, strict=not dry_run)
    outside = _tell_outside(found, screen)
    if dry_run:
        from r1cli.commands.outlooks import show

        return {"plan": rows, **outside, **show(looks, screen)}, {}
    if preflight.fetch(steps, store, lambda text: screen.say(f"importing {text}")):
        before, steps = steps, plan(nodes, store)
        if [step.text for step in steps] != [step.text for step in before]:
            rows = show_steps(steps, store, jobs, screen)
    board = Board()
    try:
        outcome = schedule.carry_out(steps, store, _Watch(screen, len(steps), board), jobs)
    finally:
        board.close()
    for error in outcome.failed.values():
        left = f" and {len(outcome.left)} more that need it" if outcome.left else ""
        screen.say(f"not built: {', '.join(outcome.failed)}{left}; everything else is there")
        raise error
    if all(step.action == "reuse" for step in steps):
        screen.say("nothing to build: everything is there already")
    return {"plan": rows, **outside}, {step.node.name: outcome.built[step.node.name] for step in steps}


def _outlooks(steps: Sequence[Step], store: Store) -> Sequence[Outlook]:
    from stages.core.scale.outlook import outlook

    return outlook(steps, store)


def show_steps(
    steps: Sequence[Step], store: Store, jobs: int, screen: Screen, looks: Sequence[Outlook] = ()
) -> list[dict[str, Any]]:
    """Show a plan with its times, of `looks` where they computed some; returns its rows."""
    from stages.core.run import schedule
    from stages.core.run.timing import Expected, expected

    times = expected(steps, store, jobs)
    times |= {one.node: Expected(one.seconds, one.source) for one in looks if one.source == "computed"}
    lines = [[s.node.name, s.action, _place(s, len(steps)), _time(times[s.node.name]), s.reason] for s in steps]
    screen.table(["node", "action", "address", ">time", "why"], lines)
    together = schedule.makespan(steps, {name: time.seconds for name, time in times.items()}, jobs)
    _total(times.values(), together, jobs, screen)
    rows: list[dict[str, Any]] = [
        {"node": s.node.name, "action": s.action, "address": s.address, "reason": s.reason} for s in steps
    ]
    for row in rows:
        row |= {"seconds": times[row["node"]].seconds, "seconds_from": times[row["node"]].source}
    return rows


def _tell_outside(found: Findings, screen: Screen) -> dict[str, Any]:
    """Say what of the outside was looked at and what could not be; returns it as values, where there is anything."""
    if not found.checked and not found.unchecked:
        return {}
    for sentence in found.checked:
        screen.say(f"checked: {sentence}")
    for sentence in found.unchecked:
        screen.say(f"not checked: {sentence}")
    return {"outside": {"checked": found.checked, "unchecked": found.unchecked}}


class _Watch:
    """Shows how a plan goes: progress while nodes work, and the figures of each, which a reused one has too."""

    def __init__(self, screen: Screen, nodes: int, board: Board) -> None:
        self._screen, self._nodes, self._board = screen, nodes, board

    def begins(self, step: Step) -> Listener:
        return self._board.begin(step.node.name)

    def built(self, step: Step, artifact: Artifact) -> None:
        took = span(artifact.record.provenance.get("seconds") or 0)
        if step.action == "reuse":
            took = f"reused, built in {took}"
        else:
            self._board.end(step.node.name)
        self._screen.say(f"{artifact.address}  {artifact.kind}, {took}")
        _figures(artifact, self._screen)

    def failed(self, step: Step, error: R1Error) -> None:
        if step.action != "reuse":
            self._board.end(step.node.name)
        if self._nodes > 1:
            print_error(f"{step.node.name}: {error}", error.hint)


def _place(step: Step, nodes: int) -> str:
    """The address; in a pipeline without the name, where that is the node's."""
    name, at, number = step.address.partition("@")
    return f"{at}{number}" if nodes > 1 and name == step.node.name else step.address


def _time(time: Expected) -> str:
    if not time.source:
        return ""
    return f"{span(time.seconds)}{' planned' * time.planned}"


def _total(times: Iterable[Expected], seconds: float, jobs: int, screen: Screen) -> None:
    """One line: how long what is not there yet should take."""
    waiting = [time for time in times if time.source]
    if waiting:
        guessed = sum(time.planned for time in waiting)
        rest = f", {guessed} of them planned without a measurement" if guessed else ", by what was measured before"
        aside = f" with {jobs} jobs" if jobs > 1 else ""
        screen.say(f"{len(waiting)} to build, about {span(seconds)}{aside}{rest}")


def _figures(artifact: Artifact, screen: Screen) -> None:
    """What the record says of an artifact: the table of an evaluation, or the plain figures of anything else, below the
    yield of a curation."""
    if artifact.kind == "scores":
        from stages.core.stats.scores import read_scores, table

        _evaluation(table(read_scores(artifact.path)), screen)
        return
    from r1cli.commands import divergence, yields
    from stages.core.storage.store import flatten

    if artifact.kind == "divergence" and divergence.show(artifact, screen):
        return

    told = ("discards.",) if yields.show(artifact, screen) else ()
    figures = {key: value for key, value in flatten(artifact.metrics).items() if isinstance(value, (int, float, str))}
    figures = {key: value for key, value in figures.items() if not key.startswith(told)}
    if figures:
        screen.pairs({f"  {key}": value for key, value in figures.items()})


def _evaluation(rows: Sequence[dict[str, Any]], screen: Screen) -> None:
    """Two tables for each sampling, shares in percent: how often it is right, and how it writes; then the paired gain
    over the parent.
    """
    for sampling in dict.fromkeys(row["sampling"] for row in rows):
        part = [row for row in rows if row["sampling"] == sampling]
        title = f"{sampling}: {part[0]['problems']} problems, percent (95 % interval)"
        if part[0]["strict"] is not None:
            _rightness(part, screen, title)
            title = ""
        if part[0]["written"]:
            _writing(part, screen, title)
        if part[0].get("gain") is not None:
            screen.say(f"gain over the parent, paired: {_interval(part[0], 'gain')} points strict pass@1")


def _rightness(part: Sequence[dict[str, Any]], screen: Screen, title: str) -> None:
    names = {"truncated": "cut", "mixed_language": "mixed"}
    shares = [key for key in part[0] if key.startswith(("pass@", "cons@", "format", *names)) and key != "length"]
    lines = [[r["family"], _interval(r, "strict"), *(_percent(r[s]) for s in shares), r["length"]] for r in part]
    columns = ["family", ">strict", *(f">{names.get(share, share)}" for share in shares), ">length"]
    screen.table(columns, lines, title=title)


def _writing(part: Sequence[dict[str, Any]], screen: Screen, title: str) -> None:
    names = list(part[0]["written"])
    lines = [
        [row["family"], *(row["written"][n] if n == "reflective" else _percent(row["written"][n]) for n in names)]
        for row in part
    ]
    columns = [f">{name.rpartition('.')[2].replace(':', ' ')}" for name in names]
    screen.table(["family", *columns], lines, title=title)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _interval(row: dict[str, Any], key: str) -> str:
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return f"{_percent(row[key])} [{100 * low:.0f},{100 * high:.0f}]" if low is not None else _percent(row[key])


def _result(artifact: Artifact) -> dict[str, Any]:
    return {"address": artifact.address, "kind": artifact.kind, "path": str(artifact.path), "metrics": artifact.metrics}

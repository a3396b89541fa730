"""`r1 claims`: a pipeline enters, what its artifacts say of its claims leaves; nothing is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1cli.options import Debug, Json, Overrides, bundled_recipes
from r1cli.view import WIDTH, Screen

if TYPE_CHECKING:
    from stages.core.artifact import Artifact
    from stages.core.run.plan import Step
    from stages.core.storage.store import Store

_CELLS = ("paper", "ours", "control", "verdict")
_WIDTHS = (2, 21, 14, 13, 9, 11)
_SHORT = {"AIME 2024": "AIME", "MATH-500": "MATH", "Codeforces": "CF", "AlpacaEval": "Alpaca", "ArenaHard": "Arena"}
_SHORT |= {"language": "lang.", "readable": "read.", "general": "gen."}
"""Names that are too long for a table of 80 columns."""
EXAMPLE = "Example: r1 claims --recipe recipes/pipeline.yaml"


@dataclass(frozen=True)
class Told:
    """What a pipeline's artifacts say, as plain rows: for the screen, for JSON and for the report."""

    claims: list[dict[str, Any]]
    """One for each claim, with the cells of its row under `shown`."""
    stages: list[dict[str, Any]]
    """One for each row of the table of stages."""
    summary: str
    """How many claims hold, do not, and so on."""


def run(
    recipe: Annotated[
        str, typer.Option("--recipe", help="A pipeline that names claims.", autocompletion=bundled_recipes)
    ],
    overrides: Overrides = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what is known of a pipeline's claims; builds nothing."""
    from stages.core.errors import RecipeError
    from stages.core.storage.store import Store

    store, screen = Store(), Screen(as_json)
    told = tell(recipe, standing(recipe, overrides or [], store), store)
    if told is None:
        raise RecipeError(f"`{recipe}` names no claims", hint="add `claims: claims.yaml` to the pipeline")
    show(told, screen)
    screen.data({"claims": told.claims, "stages": told.stages})


def standing(recipe: str, overrides: Sequence[str], store: Store) -> dict[str, Artifact]:
    """The nodes of a pipeline that are built as it stands, by name: those whose fingerprint is in the store."""
    from stages.core.recipe.loading import load_pipeline
    from stages.core.run.plan import plan

    return of_steps(plan(load_pipeline(recipe, overrides), store), store)


def of_steps(steps: Sequence[Step], store: Store) -> dict[str, Artifact]:
    """The artifacts of the steps that reuse one, and of the nodes that are the same as such a one."""
    waiting = {step.fingerprint for step in steps if step.action != "reuse"}
    there = [step for step in steps if step.action == "reuse" and step.fingerprint not in waiting]
    return {step.node.name: store.open(step.address) for step in there}


def tell(recipe: str, built: Mapping[str, Artifact], store: Store) -> Told | None:
    """What the artifacts say of the claims a pipeline names; None when it names none."""
    from stages.core.recipe.loading import claims_file
    from stages.study import tables
    from stages.study.claims import load_book
    from stages.study.figures import Shelf
    from stages.study.verdict import decide_all

    file = claims_file(recipe)
    if file is None:
        return None
    book, shelf = load_book(file), Shelf(built, store)
    findings = decide_all(book.claims.values(), shelf)
    rows = zip(findings, tables.claim_rows(findings), strict=True)
    claims = [{**finding.as_dict(), "shown": row} for finding, row in rows]
    return Told(claims, tables.stage_rows(book, shelf), tables.tally(findings))


def show(told: Told, screen: Screen) -> None:
    """The table of stages and the table of claims; those that were not run, in one paragraph."""
    _stages(told.stages, screen)
    lines = []
    for place, one in enumerate((one for one in told.claims if one["verdict"] != "not run"), start=1):
        row = one["shown"]
        lines.append([str(place), f"{row['claim']}\n({row['why']})", *(row[key] for key in _CELLS)])
    if lines:
        title = "Claims: before → after, and the difference with its 95 % interval; shares in percent"
        screen.table(["#", "claim", *_CELLS], lines, title, widths=_WIDTHS)
    idle = [one["id"] for one in told.claims if one["verdict"] == "not run"]
    if idle:
        screen.say(_folded(f"not run, for want of their nodes: {', '.join(idle)}"))
    screen.say(f"{len(told.claims)} claims: {told.summary}")


def _folded(text: str) -> str:
    import textwrap

    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def _stages(rows: Sequence[Mapping[str, Any]], screen: Screen) -> None:
    from stages.study.tables import percent

    columns = list(dict.fromkeys(column for row in rows for column in row["figures"]))
    if columns:
        lines = []
        for row in (row for row in rows if row["figures"]):
            values = {name: (figure or {}).get("value") for name, figure in row["figures"].items()}
            cells = [values.get(name) if name == "length" else percent(values.get(name)) for name in columns]
            lines.append([row["stage"], *cells])
        title = "The stages here, percent (length in tokens)"
        screen.table(["stage", *(f">{_SHORT.get(name, name)}" for name in columns)], lines, title=title)
    published = list(dict.fromkeys(name for row in rows for name in row["paper"]))
    if published:
        lines = [
            [row["stage"], *(_plain(row["paper"].get(name)) for name in published)] for row in rows if row["paper"]
        ]
        heads = [f">{_SHORT.get(name, name)}" for name in published]
        screen.table(["stage", *heads], lines, title="The same stages as published")


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"

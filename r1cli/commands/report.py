"""`r1 report`: artifacts, or a pipeline, enter; one self-contained page leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from r1cli.options import Debug, Json, bundled_recipes, stored_artifacts
from r1cli.view import Screen, size

if TYPE_CHECKING:
    from stages.core.artifact import Artifact
    from stages.core.storage.store import Store
    from stages.report.overview import Overview

EXAMPLE = "Example: r1 report zero -o report.html"


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Artifacts: name@N, or a name.", autocompletion=stored_artifacts),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline", help="A pipeline: its claims, stages and nodes come first.", autocompletion=bundled_recipes
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the page goes.")] = Path("report.html"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write one HTML page: claims, curves, samples, before and after."""
    from stages.core.storage.store import Store
    from stages.report import write_report

    store, screen = Store(), Screen(as_json)
    artifacts = [store.trust(store.open(name)) for name in names or []]
    overview = None
    if pipeline is not None:
        overview, trained = _pipeline(pipeline, store)
        artifacts += trained if not names else []
    page = write_report(artifacts, out, store, overview)
    addresses = [artifact.address for artifact in artifacts]
    shown = [*([pipeline] if pipeline else []), *addresses]
    screen.say(f"{page}  {', '.join(shown)} ({size(page.stat().st_size)}); open it in any browser")
    screen.data({"page": str(page), "artifacts": addresses})


def _pipeline(recipe: str, store: Store) -> tuple[Overview, list[Artifact]]:
    """What the page says of a pipeline, and the models that RL made in it, each once: they have a chapter of their
    own.
    """
    from r1cli.commands import claims
    from stages.core.errors import MissingError
    from stages.core.recipe.loading import find_recipe, load_pipeline, shown_path
    from stages.report.overview import Overview, yield_tables
    from stages.study.tables import node_rows

    built = claims.standing(recipe, [], store)
    if not built:
        raise MissingError(f"nothing of `{recipe}` is built", hint=f"build it: `r1 pipeline --recipe {recipe}`")
    told = claims.tell(recipe, built, store)
    overview = Overview(
        name=shown_path(find_recipe(recipe)),
        claims=[one["shown"] for one in told.claims] if told else [],
        summary=told.summary if told else "",
        stages=told.stages if told else [],
        nodes=node_rows(built),
        missing=[node.name for node in load_pipeline(recipe) if node.name not in built],
        yields=yield_tables(built),
    )
    trained = {one.address: one for one in built.values() if one.record.stage == "rl"}
    return overview, [store.trust(one) for one in trained.values()]

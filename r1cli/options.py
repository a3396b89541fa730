"""The options that several commands share, each written once: their names and help are frozen."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")]
Launcher = Annotated[
    str | None,
    typer.Option("--launcher", help="What starts the runtime.processes=N of a node; torchrun where nothing is said."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe: `key=value`, `inputs.key=…`, `runtime.key=…`."),
]


def bundled_recipes(incomplete: str) -> list[str]:
    """Shell completion: the names of the bundled recipes that begin so."""
    from stages.core.recipe.loading import bundled

    return [name for name in bundled() if name.startswith(incomplete)]


def stored_artifacts(incomplete: str) -> list[str]:
    """Shell completion: the addresses in the store that begin so."""
    from stages.core.storage.store import Store

    return [artifact.address for artifact in Store().all() if artifact.address.startswith(incomplete)]


StoredModel = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model, by its address.", autocompletion=stored_artifacts)
]

"""`r1 report`: artifacts in, one self-contained page out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r1cli.options import Debug, Json, stored_artifacts
from r1cli.view import Screen, size

EXAMPLE = "Example: r1 report zero -o report.html"


def run(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Artifacts: name@N, or a name.", autocompletion=stored_artifacts),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the page goes.")] = Path("report.html"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write one HTML page: curves, samples, before and after."""
    from stages.core.store import Store
    from stages.report import write_report

    store, screen = Store(), Screen(as_json)
    artifacts = [store.trust(store.open(name)) for name in names]
    page = write_report(artifacts, out, store)
    addresses = [artifact.address for artifact in artifacts]
    screen.say(f"{page}  {', '.join(addresses)} ({size(page.stat().st_size)}); open it in any browser")
    screen.data({"page": str(page), "artifacts": addresses})

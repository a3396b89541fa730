"""`r1 plan`: a recipe or a pipeline enters; what it would build, take and cost on a device is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from r1cli.options import Debug, Json, Overrides, bundled_recipes
from r1cli.view import Screen

EXAMPLE = "Example: r1 plan qwen2.5-7b/pipeline --device h200x8 runtime.price=3.5"


def run(
    recipe: Annotated[
        str, typer.Argument(help="A recipe or a pipeline: a path, or a bundled name.", autocompletion=bundled_recipes)
    ],
    overrides: Overrides = None,
    *,
    device: Annotated[
        str | None, typer.Option("--device", help="Plan for this device, e.g. h200x8; else for the present one.")
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", min=1, help="Mean tokens of a completion; else half of the limit.")
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option("--rows", help="Rows of an input that is not here: `gsm8k=7400`.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a run would build, take and cost, on any device."""
    from r1cli.commands.outlooks import show
    from r1cli.commands.pipeline import show_steps
    from r1cli.commands.recipes import load_any
    from stages.core.run.plan import plan
    from stages.core.scale import devices
    from stages.core.scale.outlook import outlook
    from stages.core.storage.store import Store

    screen, store = Screen(as_json), Store()
    asked = devices.named(device) if device else None
    sizes = _sizes(rows or [])
    steps = plan(load_any(recipe, overrides or []), store, ahead=True)
    found = outlook(steps, store, device=asked, length=length, rows=sizes)
    shown = show_steps(steps, store, 1, screen, found) if asked is None else _steps(steps, screen)
    screen.data({"plan": shown, **show(found, screen)})


def _steps(steps: Sequence[Any], screen: Screen) -> list[dict[str, Any]]:
    """What is built and why, without the times of this machine."""
    screen.table(["node", "action", "address", "why"], [[s.node.name, s.action, s.address, s.reason] for s in steps])
    return [{"node": s.node.name, "action": s.action, "address": s.address, "reason": s.reason} for s in steps]


def _sizes(given: Sequence[str]) -> dict[str, int]:
    from stages.core.errors import RecipeError

    found = {}
    for text in given:
        name, _, count = text.rpartition("=")
        if not name or not count.isdigit():
            raise RecipeError(f"`--rows {text}` is not NAME=N", hint="e.g. `--rows gsm8k=7400`")
        found[name] = int(count)
    return found

"""`r1 recipes`: what can be asked for, where each value of an answer comes from, and whether a file is right."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1cli.options import Debug, Json, Overrides, bundled_recipes
from r1cli.view import Screen, emit

if TYPE_CHECKING:
    from stages.core.recipe.loading import Loaded

app = typer.Typer(
    help="Recipes: list, show, keys, check.",
    epilog="Example: r1 recipes show r1_zero learning_rate=1e-4",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Recipe = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A path, or a bundled recipe's name.", autocompletion=bundled_recipes)
]


@app.command("list", epilog="Example: r1 recipes list --json")
def list_all(as_json: Json = False, debug: Debug = False) -> None:
    """List the bundled recipes and pipelines."""
    from stages.core.recipe.loading import bundled

    rows = []
    for name, path in bundled().items():
        nodes = load_any(str(path), [])
        what = "claims" if not nodes else f"{len(nodes)} nodes" if is_pipeline(path) else nodes[0].stage
        rows.append({"name": name, "stage": what, "about": _about(path)})
    emit(rows, as_json=as_json)


@app.command(epilog="Example: r1 recipes show paper/r1_zero")
def show(recipe: Recipe, overrides: Overrides = None, as_json: Json = False, debug: Debug = False) -> None:
    """Show every value of a recipe and where it was written."""
    from stages.core.recipe.loading import resolved

    screen = Screen(as_json)
    nodes = load_any(recipe, overrides or [])
    if not nodes:
        screen.say(f"`{recipe}` declares claims; what became of them: r1 claims --recipe pipeline")
    for number, node in enumerate(nodes):
        if number:
            screen.say("")
        values = flat(resolved(node))
        rows = [
            [key.removeprefix("recipe."), words(values.get(key)), Path(origin).name, node.comments.get(key, "")]
            for key, origin in node.origins.items()
        ]
        noted = any(row[3] for row in rows)
        title = f"{node.name}: r1 {node.stage}"
        screen.table(["key", "value", "from", "note"][: 3 + noted], [row[: 3 + noted] for row in rows], title=title)
    screen.data([{**resolved(node), "origins": node.origins, "comments": node.comments} for node in nodes])


@app.command(epilog="Example: r1 recipes keys rl")
def keys(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="A stage: see `r1 --help`.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the keys of a stage's recipe: type, default, unit and range."""
    import textwrap

    from stages.core.recipe.loading import REQUIRED, keys

    screen = Screen(as_json)
    found = keys(stage)
    for key in found:
        default = "" if key.default == REQUIRED else f" = {words(key.default)}"
        screen.say(f"{key.key}: {key.type}{default}")
        if key.doc:
            screen.say(textwrap.fill(key.doc, 80, initial_indent="    ", subsequent_indent="    "))
    screen.data([key._asdict() for key in found])


@app.command(epilog="Example: r1 recipes check my_recipe.yaml")
def check(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE", help="Paths or names; all bundled ones if none.", autocompletion=bundled_recipes
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check recipes for unknown keys, wrong types and impossible values."""
    from r1cli.view import print_error
    from stages.core.errors import AskedWrongly
    from stages.core.recipe.loading import bundled

    screen = Screen(as_json)
    results: list[dict[str, str]] = []
    for recipe in recipes or bundled():
        try:
            load_any(recipe, [])
        except AskedWrongly as err:
            results.append({"recipe": recipe, "error": str(err), "hint": err.hint})
            print_error(str(err), err.hint)
        else:
            results.append({"recipe": recipe, "error": "", "hint": ""})
            screen.say(f"ok  {recipe}")
    screen.data(results)
    if any(each["error"] for each in results):
        raise typer.Exit(AskedWrongly.exit_code)


def load_any(source: str, overrides: list[str]) -> list[Loaded]:
    """The nodes of a pipeline, whose claims are checked too, or a recipe alone in a list; none for a file of claims."""
    from stages.core.recipe.loading import claims_file, find_recipe, load, load_pipeline

    path = find_recipe(source)
    named = claims_file(path) if is_pipeline(path) else path if is_claims(path) else None
    if named is not None:
        from stages.study.claims import load_book

        load_book(named)
    if is_claims(path):
        return []
    return load_pipeline(source, overrides) if is_pipeline(path) else [load(source, overrides=overrides)]


def is_pipeline(path: Path) -> bool:
    """Whether a recipe file lists nodes."""
    return re.search(r"^nodes:", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


def is_claims(path: Path) -> bool:
    """Whether a recipe file declares claims."""
    return re.search(r"^claims:\s*(#.*)?$", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


def words(value: Any) -> str:
    """A plain value as a recipe would write it."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def flat(resolved: dict[str, Any]) -> dict[str, Any]:
    """A resolved recipe's values under dotted keys, as its origins name them."""
    from stages.core.storage.store import flatten

    return {
        key: value for part in ("inputs", "recipe", "runtime") for key, value in flatten(resolved[part], part).items()
    }


def _about(path: Path) -> str:
    """The first line of a recipe file, when it is a comment."""
    with path.open(encoding="utf-8") as file:
        first = file.readline().strip()
    return first.lstrip("# ").rstrip(".") if first.startswith("#") else ""

"""`r1 export`: a model leaves, with its card, for a folder, a .gguf file or the hub.

The stage `export` makes and seals what is released; this command writes the card from what the store knows today, and
puts both where they were asked for.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from r1cli.options import Debug, DryRun, Json, Overrides, StoredModel
from r1cli.view import Screen, size

if TYPE_CHECKING:
    from stages.core.artifact import Artifact
    from stages.core.recipe.loading import Loaded

EXAMPLE = "Example: r1 export r1 ./r1-release --licence apache-2.0"
CARD = "README.md"


def run(
    model: StoredModel,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A new folder, FILE.gguf, or hf:owner/name.")],
    overrides: Overrides = None,
    *,
    licence: Annotated[
        str, typer.Option("--licence", help="As the hub spells it, e.g. apache-2.0; for the card.")
    ] = "",
    private: Annotated[bool, typer.Option("--private", help="A repository that is made for it is private.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Release a model: weights as others load them, checked by being read back, and a card written from its lineage."""
    from r1cli.commands.distill import short
    from r1cli.commands.pipeline import carry_out
    from stages.core.recipe.loading import load

    given = ["format=gguf"] if target.endswith(".gguf") else []
    node = load(None, "export", [f"inputs.model={model}", *given, *(overrides or [])], f"{short(model)}-release")
    _refuse(node, target, private)
    screen = Screen(as_json)
    plan, built = carry_out([node], screen, dry_run)
    if dry_run:
        screen.data(plan)
        return
    release = built[node.name]
    where = _handed(release, target, _card(release, licence, target), private)
    screen.say(f"{release.address} is at {where}, {size(release.metrics['bytes'])} and its card")
    screen.data({**plan, "release": release.address, "target": where, "metrics": release.metrics})


def _refuse(node: Loaded, target: str, private: bool) -> None:
    """Raise InputError for a target that nothing can be put at, before anything is built."""
    from stages.core.errors import InputError
    from stages.core.run import hub
    from stages.core.run.plan import plan
    from stages.core.storage import handing
    from stages.core.storage.store import Store

    if target.startswith("hf:"):
        if hub.split_name(target)[1]:
            raise InputError(
                f"`{target}` names a revision, and a release makes one", hint="leave the part behind @ out"
            )
        return
    if private:
        raise InputError("`--private` is for the hub", hint="leave it out, or name a repository: hf:owner/name")
    if target.endswith(".gguf") and node.recipe.format != "gguf":
        raise InputError(f"`{target}` is to be a GGUF, and `format` says folder", hint="leave format=folder out")
    path = Path(target).expanduser()
    if plan([node], Store())[0].action != "reuse":
        handing.refuse_taken(path, [str(path.with_suffix(".md"))] if target.endswith(".gguf") else [])


def _card(release: Artifact, licence: str, target: str) -> str:
    from stages.core.artifact import Scores
    from stages.core.storage.store import Store
    from stages.report.card import Card, written

    store = Store()
    model = release.record.inputs["model"]
    family = [one for one in store.lineage(release.address) if one.address != release.address]
    scores = [one for one in store.all() if isinstance(one, Scores) and one.record.inputs.get("model") == model]
    title, place = (
        model.partition("@")[0],
        target.removeprefix("hf:") if target.startswith("hf:") else Path(target).name,
    )
    return written(Card(release=release, family=family, scores=scores, title=title, place=place, licence=licence))


def _handed(release: Artifact, target: str, card: str, private: bool) -> str:
    from stages.core.run import hub
    from stages.core.storage import handing
    from stages.export import released

    files = released(release.path)
    if target.startswith("hf:"):
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "release"
            handing.place(files, {CARD: card}, folder)
            return hub.upload(folder, hub.split_name(target)[0], private=private, message=f"r1: {release.address}")
    path = Path(target).expanduser()
    if not target.endswith(".gguf"):
        handing.place(files, {CARD: card}, path)
        return str(path)
    handing.place_file(files[0], path)
    handing.place_card(card, path.with_suffix(".md"))
    return str(path)

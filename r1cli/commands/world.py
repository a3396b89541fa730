"""`r1 world`: look at the embedded world's documents and sources, or build its bases again."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from r1cli.options import Json

app = typer.Typer(
    help="The embedded world: its documents, its prompts, its bases.",
    epilog="Example: r1 world documents --count 5",
    no_args_is_help=True,
)

WorldName = Annotated[
    str,
    typer.Option(
        help="base; a control: base-flat (chains compute nothing), base-unmixed (no mixed chains), base-unrepaired "
        "(self-checks mend nothing); to build also the students qwen-nano and llama-nano."
    ),
]


@app.command("documents", epilog="Example: r1 world documents --world base-flat --count 5")
def documents(
    world: WorldName = "base",
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed; the bases were made with 0.")] = 0,
    as_json: Json = False,
) -> None:
    """Print the documents a base was pre-trained on."""
    import json
    from dataclasses import asdict

    from stages.world import documents as room

    _known(world, room.WORLDS)
    for document in room.documents(world, count, seed):
        if as_json:
            print(json.dumps({**asdict(document), "text": document.text}, ensure_ascii=False))
        else:
            head = f"[{document.header} · {document.style} · {document.language}]"
            print(f"{head} {document.prompt}\n    {document.response.strip()}")


@app.command("sources", epilog="Example: r1 rl --recipe r1_zero inputs.prompts=world:gsm8k-train")
def sources(as_json: Json = False) -> None:
    """List what `world:NAME` can be written for an input."""
    from r1cli.view import emit
    from stages.world.sources import BASES, CONVERSATIONS, PROMPTS

    rows: list[dict[str, str | int | None]] = [
        {"source": f"world:{name}", "kind": "model", "rows": None} for name in BASES
    ]
    for kind, table in (("prompts", PROMPTS), ("conversations", CONVERSATIONS)):
        rows += [{"source": f"world:{name}", "kind": kind, "rows": rows_} for name, (_, rows_) in table.items()]
    emit(rows, as_json=as_json, title="sources of the embedded world")


@app.command("build", epilog="Example: r1 world build --out bases   (all cores, about half an hour for each base)")
def build(
    world: WorldName = "base",
    out: Annotated[Path, typer.Option(help="Folder the model's folder is written into.")] = Path("bases"),
) -> None:
    """Pre-train a bundled base again; killed, it goes on where it was."""
    import torch

    from stages.world.pretrain import BASES
    from stages.world.pretrain import build as train

    _known(world, BASES)
    card = train(BASES[world], out / world, lambda text: print(text, file=sys.stderr, flush=True))
    print(f"{out / world}: {card['step']} steps in {card['seconds'] / 60:.0f} min on {torch.get_num_threads()} threads")


def _known(name: str, table: Iterable[str]) -> None:
    from stages.core.errors import MissingError

    if name not in table:
        raise MissingError(f"no world `{name}`", hint=f"use one of: {', '.join(table)}")

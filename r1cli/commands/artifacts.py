"""`r1 artifacts`: what was made, out of what, whether it is still whole, and how it travels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1cli.commands.recipes import words
from r1cli.options import Debug, Json, stored_artifacts
from r1cli.view import Screen, number, size

if TYPE_CHECKING:
    from stages.core.artifact import Artifact

app = typer.Typer(
    help="Artifacts: list, show, verify, diff, prune, pack, import, …",
    epilog="Example: r1 artifacts show zero@1",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_OUTSIDE = ("model", "adapter", "endpoint", "prompts", "conversations", "preferences")
Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="name@N, or a name for its newest.", autocompletion=stored_artifacts)
]
Addresses = Annotated[
    list[str], typer.Argument(metavar="ADDRESS", help="name@N, written out.", autocompletion=stored_artifacts)
]


@app.command("list", epilog="Example: r1 artifacts list --kind model")
def list_all(
    kind: Annotated[str, typer.Option("--kind", help="Only this kind: model, prompts, scores, …")] = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List every sealed artifact."""
    from stages.core.artifact import KINDS
    from stages.core.errors import InputError, nearest
    from stages.core.storage.store import Store

    if kind and kind not in KINDS:
        raise InputError(f"no kind `{kind}`", hint=f"{nearest(kind, KINDS)}Kinds: {', '.join(KINDS)}")
    store, screen = Store(), Screen(as_json)
    found = [artifact for artifact in store.all() if kind in ("", artifact.kind)]
    rows = [[a.address, a.kind, a.record.stage, _when(a), ", ".join(a.record.inputs.values())] for a in found]
    if rows:
        screen.table(["address", "kind", "stage", "when", "from"], rows)
    else:
        screen.say(f"nothing in {store.home} yet; begin with `r1 pipeline --recipe recipes/zero.yaml`")
    damaged = store.damaged()
    for address in damaged:
        screen.say(f"damaged: {address}; `r1 artifacts show {address}` says why")
    screen.data({"home": str(store.home), "artifacts": [_summary(artifact) for artifact in found], "damaged": damaged})


@app.command(epilog="Example: r1 artifacts show zero@1 --json")
def show(address: Address, as_json: Json = False, debug: Debug = False) -> None:
    """Show one artifact: its recipe, inputs, figures, files and provenance."""
    from r1cli.commands import yields
    from stages.core.storage.store import Store, flatten

    artifact = Store().open(address)
    record, screen = artifact.record, Screen(as_json)
    screen.pairs(
        {
            "address": artifact.address,
            "kind": artifact.kind,
            "made by": f"r1 {record.stage}, version {record.version}",
            "when": record.provenance.get("time", "unknown"),
            "path": str(artifact.path),
            "fingerprint": artifact.fingerprint,
            **{f"input {key}": value for key, value in record.inputs.items()},
        }
    )
    for title, values in (("recipe", record.payload.get("recipe")), ("metrics", record.metrics)):
        rows = [
            [key, words(value) if title == "recipe" else _figure(value)] for key, value in flatten(values or {}).items()
        ]
        screen.table([title, "value"], [row for row in rows if row[0]])
    yields.show(artifact, screen)
    screen.table(
        ["file", ">size"], [[name, size((artifact.path / name).stat().st_size)] for name in _standing(artifact)]
    )
    kept = {key: words(value) for key, value in flatten(record.provenance).items() if key}
    screen.table(["provenance", "value"], [list(pair) for pair in kept.items()])
    screen.data(
        {**_summary(artifact), "payload": record.payload, "files": record.files, "provenance": record.provenance}
    )


@app.command(epilog="Example: r1 artifacts lineage zero-eval")
def lineage(address: Address, as_json: Json = False, debug: Debug = False) -> None:
    """Show everything an artifact descends from, oldest first."""
    from stages.core.storage.store import Store

    family, screen = Store().lineage(address), Screen(as_json)
    rows = [[a.address, a.record.stage, ", ".join(f"{k}={v}" for k, v in a.record.inputs.items())] for a in family]
    screen.table(["address", "stage", "from"], rows)
    screen.data([_summary(artifact) for artifact in family])


@app.command(epilog="Example: r1 artifacts verify zero@1")
def verify(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(metavar="ADDRESS", help="All artifacts if none.", autocompletion=stored_artifacts),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Hash every byte again and compare it with the record."""
    from r1cli.view import print_error
    from stages.core.errors import TamperedError
    from stages.core.storage.store import Store

    store, screen = Store(), Screen(as_json)
    results: list[dict[str, str]] = []
    for address in addresses or [*(artifact.address for artifact in store.all()), *store.damaged()]:
        try:
            whole = store.verify(address)
        except TamperedError as err:
            results.append({"address": address, "error": str(err), "hint": err.hint})
            print_error(str(err), err.hint)
        else:
            results.append({"address": whole.address, "error": "", "hint": ""})
            screen.say(f"whole  {whole.address}")
    screen.data(results)
    if any(each["error"] for each in results):
        raise typer.Exit(TamperedError.exit_code)


@app.command(epilog="Example: r1 artifacts diff zero@1 zero@2")
def diff(left: Address, right: Address, as_json: Json = False, debug: Debug = False) -> None:
    """Show what differs between two artifacts: recipe, inputs and figures."""
    from stages.core.storage.store import Store

    store, screen = Store(), Screen(as_json)
    one, two = store.open(left).address, store.open(right).address
    found = store.diff(one, two)
    if found:
        screen.table(["what", one, two], [[key, _figure(a), _figure(b)] for key, (a, b) in found.items()])
    else:
        screen.say(f"{one} and {two} have the same recipe, inputs and figures")
    screen.data({"left": one, "right": two, "differs": {key: list(pair) for key, pair in found.items()}})


@app.command(epilog="Example: r1 artifacts rm zero@1")
def rm(addresses: Addresses, as_json: Json = False, debug: Debug = False) -> None:
    """Remove artifacts; what another one descends from stays."""
    from stages.core.storage.store import Store

    store, screen = Store(), Screen(as_json)
    for address in addresses:
        store.remove(address)
        screen.say(f"removed {address}")
    screen.data({"removed": addresses})


@app.command(epilog="Example: r1 artifacts prune --keep 2")
def prune(
    keep: Annotated[int | None, typer.Option("--keep", help="Also drop all but the newest N of each name.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Drop abandoned workspaces and, with --keep, what was superseded."""
    from stages.core.storage.store import Store

    done, screen = Store().prune(keep), Screen(as_json)
    for gone in done.removed:
        screen.say(f"removed {gone}")
    for address, children in done.protected.items():
        screen.say(f"kept    {address}: {', '.join(children)} descends from it")
    for busy in done.locked:
        screen.say(f"kept    {busy}: somebody works there")
    if not done.removed:
        screen.say("nothing to remove")
    screen.data(done._asdict())


@app.command(epilog="Example: r1 artifacts pack zero@1 zero.tar --lineage")
def pack(
    address: Address,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar to write; must not exist.")],
    lineage: Annotated[bool, typer.Option("--lineage", help="Put its ancestors in, too.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write an artifact into one tar file."""
    from stages.core.storage import packing
    from stages.core.storage.store import Store

    inside, screen = packing.pack(Store(), address, file, lineage=lineage), Screen(as_json)
    screen.say(f"{file}: {', '.join(inside)} ({size(file.stat().st_size)})")
    screen.data({"file": str(file), "artifacts": inside})


@app.command(epilog="Example: r1 artifacts unpack zero.tar")
def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A tar that `r1 artifacts pack` wrote.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring packed artifacts into the store, every hash checked."""
    from stages.core.storage import packing
    from stages.core.storage.store import Store

    found, screen = packing.unpack(Store(), file), Screen(as_json)
    for artifact in found:
        screen.say(f"{artifact.address}  {artifact.kind}")
    screen.data([_summary(artifact) for artifact in found])


@app.command("import", epilog="Example: r1 artifacts import model.gguf --name smollm2")
def bring(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="hf:owner/name[@revision], openai:URL#model, a folder, a .gguf or a file."
        ),
    ],
    *,
    kind: Annotated[str, typer.Option("--kind", help=f"What it is: {', '.join(_OUTSIDE)}.")] = "model",
    name: Annotated[str | None, typer.Option("--name", help="What the artifact will be called.")] = None,
    pad_token: Annotated[
        str | None, typer.Option("--pad-token", help="For a model whose pad token is missing.")
    ] = None,
    base: Annotated[
        str, typer.Option("--base", help="For an adapter: its base. Merged, or apart as --kind adapter.")
    ] = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring a model, an adapter, an endpoint, prompts, conversations or preferences into the store."""
    from stages.core.artifact import KINDS
    from stages.core.errors import InputError, nearest
    from stages.core.run.sources import resolve
    from stages.core.storage.store import Store

    if kind not in _OUTSIDE:
        raise InputError(f"`{kind}` cannot be imported", hint=f"{nearest(kind, _OUTSIDE)}Use {', '.join(_OUTSIDE)}")
    screen = Screen(as_json)
    artifact = resolve(source, KINDS[kind], Store(), name=name, pad_token=pad_token, base=base)
    screen.say(f"{artifact.address}  {artifact.kind}  {artifact.path}")
    if name not in (None, artifact.name):
        screen.say(
            f"note: the same content is in the store already, so nothing is called {name}: use {artifact.address}"
        )
    for note in artifact.metrics.get("notes", []):
        screen.say(f"note: {note}")
    for use, how in artifact.metrics.get("abilities", {}).items():
        if how != "fast":
            screen.say(f"{use}: {how}")
    screen.data(_summary(artifact))


def _summary(artifact: Artifact) -> dict[str, Any]:
    record = artifact.record
    return {
        "address": artifact.address,
        "kind": artifact.kind,
        "stage": record.stage,
        "version": record.version,
        "fingerprint": artifact.fingerprint,
        "inputs": record.inputs,
        "metrics": record.metrics,
        "time": record.provenance.get("time"),
        "path": str(artifact.path),
    }


def _standing(artifact: Artifact) -> list[str]:
    return [name for name in artifact.record.files if (artifact.path / name).is_file()]


def _figure(value: Any) -> str:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return number(value)
    return words(value)


def _when(artifact: Artifact) -> str:
    return str(artifact.record.provenance.get("time", ""))[:16].replace("T", " ")

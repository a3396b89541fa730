"""One of the processes that build a node together: started by a launcher as `python -m stages.policy.ranks.process`.

What enters: the node's workspace, whose `recipe.yaml` says what is built, and the launcher's words in the environment
(RANK, WORLD_SIZE, …). What leaves: the first rank's draft, events and files; of the others nothing but their share of
the gradients, the rollouts and the checkpoints. Before anything is computed each asserts that it is in the world that
was promised, and that all of them read the same recipe, inputs and code. It ends when it is asked to, and when who
started the launch is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.artifact import Draft
from stages.core.errors import RecipeError, StageError
from stages.core.fingerprint import fingerprint
from stages.core.recipe.loading import Loaded, load, stage_module
from stages.core.run import opened, provenance, runner
from stages.core.run.events import Events
from stages.core.run.launch import SAYS, Place
from stages.core.run.runner import Work
from stages.core.run.runtime import Runtime, available_cores
from stages.core.storage.store import Store

if TYPE_CHECKING:
    from stages.policy.ranks.world import World

LOOK_S = 1.0
YES = ("1", "true", "yes")


def main(workspace: Path) -> int:
    """Do this process's part of the node in a workspace; returns the exit code."""
    place, rank = Place.of(workspace), int(os.environ.get("RANK", "0"))
    if not (workspace / "recipe.yaml").is_file():
        here = f"rank {rank} on {socket.gethostname()} does not see {workspace}"
        sys.stderr.write(f"{SAYS}{here}: R1_HOME must lie where all machines see it\n")
        return 1
    try:
        place.note(rank, begun=time.time(), host=socket.gethostname(), pid=os.getpid())
        _end_when_asked(place, rank)
        threading.Thread(target=_end_with_who_started, args=(place,), daemon=True).start()
        _work(load(workspace / "recipe.yaml"), workspace, place)
    except Exception as error:  # noqa: BLE001 - whatever it is, who started the launch raises it
        sys.stderr.write(f"rank {rank}: {type(error).__name__}: {error}\n")
        place.fail(rank, error)
        return 1
    place.note(rank, ended="done")
    return 0


def _work(node: Loaded, workspace: Path, place: Place) -> None:
    told = launched(node.runtime)
    cores = max(1, len(available_cores()) // told["LOCAL_WORLD_SIZE"])
    threads = node.runtime.threads or cores
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is loaded; torchrun says 1
    from stages.policy.models import device
    from stages.policy.ranks.world import RankDone, join

    kind = device.place(replace(node.runtime, threads=threads)).partition(":")[0]
    here = f"cuda:{told['LOCAL_RANK']}" if kind == "cuda" else kind
    runtime = replace(node.runtime, threads=threads, device=here)
    device.place(runtime)  # refuses a GPU that is not there
    known = join(kind, shards=told_to_shard(node.runtime))
    store = Store()
    given, there = runner.given(runner.resolve(node, store, {})), workspace / "scratch" / "opened"
    inputs = {key: opened.opened(one, store, there / key) for key, one in given.items()}  # whoever launched opened them
    refuse_different(known, facts(node, store))
    module = stage_module(node.stage)
    with tempfile.TemporaryDirectory(prefix="r1-rank-") as elsewhere:
        path = workspace if known.first else Path(elsewhere)
        with Events(workspace / "events.jsonl" if known.first else Path(os.devnull)) as events:
            work = Work(path, workspace / "scratch", getattr(node.recipe, "seed", 0), runtime, events)
            try:
                draft: Draft = module.run(node.recipe, module.Inputs(**inputs), work)
            except RankDone:
                return
            place.keep(draft)


def launched(runtime: Runtime) -> dict[str, int]:
    """RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE as the launcher gave them.

    Raises RecipeError where it did not start the processes that were promised.
    """
    asked = runtime.world_size
    started = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if started != asked:
        raise RecipeError(
            f"the launcher started {started} process{'es' * (started > 1)} where runtime.processes promises {asked} "
            "that train together",
            hint="`accelerate launch --cpu` starts one, whatever it is told: leave --launcher out, or use torchrun",
        )
    local = {"LOCAL_RANK": os.environ["RANK"], "LOCAL_WORLD_SIZE": os.environ["WORLD_SIZE"]}
    return {name: int(os.environ.get(name, local.get(name, "0"))) for name in ("RANK", "WORLD_SIZE", *local)}


def told_to_shard(runtime: Runtime) -> bool:
    """Whether the processes hold the weights together: so says the runtime, or a launcher that promises FSDP2.

    The launcher's words on it are taken out of the environment: r1 shards by itself, and accelerate would do it again
    (on a CPU it quietly does not). Raises RecipeError for a promise that is not kept here.
    """
    said = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("FSDP_")}
    fsdp, deepspeed, megatron = (
        os.environ.pop(f"ACCELERATE_USE_{name}", "").lower() in YES for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM")
    )
    way = "use `accelerate launch --config_file recipes/launch/fsdp2.yaml`, or `runtime.shard=true` without --launcher"
    if deepspeed or megatron:
        what = f"the launcher promises {'DeepSpeed' if deepspeed else 'Megatron-LM'}, and r1 shards weights by FSDP2"
        raise RecipeError(what, hint=f"{way}: the parts are those of ZeRO-3")
    if fsdp and said.get("FSDP_VERSION", "1") != "2":
        raise RecipeError("the launcher promises FSDP of version 1, and r1 shards weights by FSDP2", hint=way)
    if fsdp and said.get("FSDP_OFFLOAD_PARAMS", "").lower() in YES:
        what = "the launcher promises to keep the weights' parts on the CPU, and r1 keeps them on the device"
        raise RecipeError(what, hint="set `fsdp_offload_params: false` in its configuration")
    return fsdp or runtime.shard


def facts(node: Loaded, store: Store) -> dict[str, str]:
    """What must be the same for all ranks, by name, as this one finds it: hashes of recipe, inputs and code, versions.

    Raises TamperedError for an input whose files are no longer what was sealed.
    """
    known = runner.resolve(node, store, {})
    found = {f"input `{key}`": store.trust(artifact).record.seal for key, artifact in runner.given(known).items()}
    found["recipe, or a function that it names,"] = fingerprint(known.payload)
    found["code of r1"] = provenance.code_sha256()
    return found | {f"version of {name}": version for name, version in provenance.versions().items()}


def refuse_different(known: World, mine: Mapping[str, str]) -> None:
    """Raise StageError, in every rank alike, where one has found something else than the first."""
    others: Sequence[tuple[str, Mapping[str, str]]] = known.gather((socket.gethostname(), mine))
    for rank, (host, found) in enumerate(others):
        for name in (*others[0][1], *found):
            if found.get(name) != others[0][1].get(name):
                raise StageError(
                    f"rank {rank} (on {host}) has another {name} than rank 0",
                    hint="all must read the same files: put R1_HOME and your own functions where each sees them",
                )


def _end_when_asked(place: Place, rank: int) -> None:
    """End at once at SIGTERM, even where this process waits for another inside a library, and leave word of it.

    The signal's number is written to a pipe by the C handler; a Python handler would only run when the wait is over.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def wait() -> None:
        while signal.SIGTERM not in os.read(reader, 64):
            continue
        place.note(rank, ended="asked to end")
        os._exit(128 + signal.SIGTERM)

    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=wait, daemon=True).start()


def _end_with_who_started(place: Place) -> None:
    try:
        with place.watched() as alive:
            while alive():
                time.sleep(LOOK_S)
    finally:
        os._exit(1)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # no library's clean-up may wait for processes that are gone

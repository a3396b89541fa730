"""Ray's side of `many`: the process that joins a cluster, and the workers that Ray starts in it.

Pieces enter as bytes, one block of Ray Data each; results leave as bytes, in the order they are done. Ray Data restarts
a worker that is killed and has its blocks worked again, so a block is one piece and no more. Whatever a worker raises
travels as a value, since Ray would wrap it, and try it again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from stages.core.artifact import RECORD, Artifact
from stages.core.errors import R1Error, StageError, UnreachableError
from stages.core.run import provenance
from stages.core.run.beside import end_with_the_parent
from stages.core.run.events import Listener

T = TypeVar("T")
R = TypeVar("R")
START = "start one: `ray start --head`, then `ray start --address=HEAD:6379` on each other machine"
TRIES = 4
"""How often a piece is begun whose worker is killed."""
ROOM_S = 10.0
"""How long a cluster may take to have room for one worker."""
LOOK_S = 5.0
"""Seconds between looks at which machines are there."""
_IDLE = 4  # NodeDeathInfo of Ray: a machine that had nothing to do was sent away
_NO_TOKEN = "InvalidAuthToken"


@dataclass(frozen=True, kw_only=True)
class Job(Generic[T, R]):
    """What workers do; it must pickle, and so must pieces and results."""

    make: Callable[[Listener], Callable[[T], R]]
    """Called once in each worker, with what takes its events; returns what does one piece."""
    inputs: Mapping[str, Artifact]
    """Which every worker reads where they lie, by key: all must find the same."""
    sources: Callable[[], Mapping[str, str]] = dict
    """Name -> hash of what else must be the same: a user's own functions."""
    asks_model: bool = True
    """Whether a worker runs a model, and so takes a GPU where the runtime's device is one."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the process is to do."""

    address: str
    """`auto` or HOST:PORT."""
    log: Path
    """Where all goes that Ray prints."""
    path: tuple[str, ...]
    """Folders in which workers find code, the first first."""
    cpus: int
    """CPUs of a worker."""
    device: str
    """`runtime.device`."""
    code: bytes
    """A pickled `Job`; empty: only look."""
    pieces: list[tuple[int, bytes]]
    facts: Mapping[str, str]
    """As `facts` found them here."""


def serve(pipe: Connection, asked: Asked, token: bool) -> None:
    """Do what is asked and say through the pipe how it goes: ("joined", words), ("done", number, result, events) for
    each piece, ("away", host), ("token",) where the cluster wants a token and one is here, ("failed", exception)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; the parent ends its processes
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    log = os.open(asked.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_NUM_REDIS_GET_RETRIES": "2"}
    os.environ.update(quiet | ({"RAY_AUTH_MODE": "token"} if token else {}))
    said = _Said(pipe)
    try:
        _work(asked, said)
    except _TokenWanted:
        said("token")
    except Exception as error:  # noqa: BLE001 - whatever it is, who started this process raises it
        traceback.print_exc()
        said("failed", _pickled(error))


class _TokenWanted(Exception):
    """The cluster lets nobody in without its token."""


class _Said:
    """The pipe, for two threads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._one = pipe, threading.Lock()

    def __call__(self, *message: Any) -> None:
        with self._one:
            self._pipe.send(message)


def _work(asked: Asked, said: _Said) -> None:
    _join(asked)
    gpus = _gpus(asked)
    count = _room(asked, gpus)
    said("joined", f"Ray at {asked.address}: {count} worker{'s' * (count > 1)} of {_each(asked, gpus)}")
    if asked.code:
        threading.Thread(target=_watch, args=(said,), daemon=True).start()
        for row in _done(asked, min(count, len(asked.pieces)), gpus):
            if row["failed"]:
                said("failed", row["value"])
                return
            said("done", row["number"], row["value"], pickle.loads(row["events"]))


def _join(asked: Asked) -> None:
    """Join the cluster. Raises UnreachableError where there is none."""
    host, _, port = asked.address.rpartition(":")
    if host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError as error:
            raise UnreachableError(f"no Ray cluster answers at {asked.address}", hint=START) from error
    import ray

    paths = os.pathsep.join([*asked.path, *filter(None, [os.environ.get("PYTHONPATH")])])
    found = {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": str(asked.cpus)}
    try:
        ray.init(
            address=asked.address, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": found}
        )
    except Exception as error:  # of many kinds
        trace = traceback.format_exc()
        if _NO_TOKEN in trace and "RAY_AUTH_MODE" not in os.environ and _token_here():
            raise _TokenWanted from error
        if _NO_TOKEN in trace:
            hint = "copy ~/.ray/auth_token from its first machine, and set RAY_AUTH_MODE=token"
            raise UnreachableError(f"the Ray cluster {asked.address} wants its token", hint=hint) from error
        said = " ".join(str(error).split())[:200]
        where = "here" if asked.address == "auto" else f"at {asked.address}"
        raise UnreachableError(f"no Ray cluster can be joined {where}: {said}", hint=START) from error


def _token_here() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(named or Path.home() / ".ray" / "auth_token").is_file()


def _gpus(asked: Asked) -> int:
    """How many GPUs a worker takes: one where the runtime's device is one, and where it may be and the cluster has."""
    import ray

    return int(
        asked.device.startswith("cuda") or (asked.device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1)
    )


def _each(asked: Asked, gpus: int) -> str:
    return f"{asked.cpus} CPU{'s' * (asked.cpus > 1)}" + (" and 1 GPU" if gpus else "")


def _room(asked: Asked, gpus: int) -> int:
    """How many workers the machines of the cluster have room for now, each for itself. Raises UnreachableError where
    that stays none: Ray would wait."""
    import ray
    from ray._private.state import available_resources_per_node

    wanted = {"CPU": asked.cpus} | ({"GPU": gpus} if gpus else {})
    able = [node for node in ray.nodes() if node["Alive"] and _room_for(wanted, node["Resources"])]
    if not able:
        what = f"no machine of the Ray cluster {asked.address} has the {_each(asked, gpus)} that a worker takes"
        hint = "`ray status` says what it has; runtime.threads=1 and runtime.device=cpu ask for less"
        raise UnreachableError(what, hint=hint)
    until = time.monotonic() + ROOM_S
    while not (count := sum(_room_for(wanted, free) for free in available_resources_per_node().values())):
        if time.monotonic() > until:
            what = (
                f"all of the Ray cluster {asked.address} is taken: nothing is left for a worker of {_each(asked, gpus)}"
            )
            raise UnreachableError(what, hint="`ray status` says what runs there: wait for it, or add machines")
        time.sleep(0.5)
    return count


def _room_for(wanted: Mapping[str, int], has: Mapping[str, float]) -> int:
    return min(int(has.get(name, 0) // number) for name, number in wanted.items())


def _done(asked: Asked, count: int, gpus: int) -> Iterator[dict[str, Any]]:
    """Yield {number, failed, value, events} of each piece as it is done."""
    import pyarrow
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.preserve_order = False  # whoever called puts them in order
    blocks = [pyarrow.table({"number": [number], "piece": [piece]}) for number, piece in asked.pieces]
    done = ray.data.from_arrow(blocks).map_batches(
        Worker,
        fn_constructor_args=(asked.code, dict(asked.facts), os.getcwd()),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=asked.cpus,
        num_gpus=gpus or None,
        compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=2),
        max_task_retries=TRIES - 1,
    )
    try:
        block: Any
        for block in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from block.to_pylist()
    except ray.exceptions.RayActorError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        if any("creation task" in line for line in lines):
            hint = "install there what is installed here: the same r1 and Python"
            raise StageError(f"a worker of the Ray cluster cannot start: {lines[-1][:200]}", hint=hint) from error
        what = f"a worker of the Ray cluster was killed {TRIES} times at one piece of the work"
        hint = f"is memory short there? try runtime.micro_batch=8; Ray's log: {asked.log}"
        raise StageError(what, hint=hint) from error


def _watch(said: _Said) -> None:
    """End this process when a machine of the cluster is gone: Ray would have its pieces wait until there is another."""
    import ray

    with contextlib.suppress(ray.exceptions.RaySystemError, BrokenPipeError):
        gone = {node["NodeID"] for node in ray.nodes() if not node["Alive"]}
        while True:
            time.sleep(LOOK_S)
            for node in ray.nodes():
                if not node["Alive"] and node["NodeID"] not in gone and node["DeathReason"] != _IDLE:
                    said("away", node["NodeManagerHostname"])
                    os._exit(0)


class Worker:
    """What Ray Data runs in each worker: tables of one piece enter, tables of one result leave."""

    def __init__(self, code: bytes, facts: Mapping[str, str], folder: str) -> None:
        self._code, self._facts, self._events = code, facts, list[dict[str, Any]]()
        self._work: Any = None
        with contextlib.suppress(OSError):
            os.chdir(folder)

    def __call__(self, table: Any) -> Any:
        """Work the piece of each row; what goes wrong is the result then."""
        import pyarrow

        return pyarrow.Table.from_pylist([self._row(**row) for row in table.to_pylist()])

    def _row(self, number: int, piece: bytes) -> dict[str, Any]:
        try:
            value, failed = pickle.dumps(self._worked(piece)), False
        except Exception as error:  # noqa: BLE001 - it is raised again where the work was asked for
            value, failed = _pickled(error), True
        events, self._events[:] = pickle.dumps(self._events), []
        return {"number": number, "failed": failed, "value": value, "events": events}

    def _worked(self, piece: bytes) -> Any:
        if self._work is None:
            self._work = checked(self._code, self._facts).make(self._events.append)
        return self._work(pickle.loads(piece))


def facts(job: Job[Any, Any]) -> dict[str, str]:
    """What must be the same on all machines, by name, as this one finds it: hashes of code, inputs and functions,
    versions."""
    found = {"code of r1": provenance.code_sha256()}
    found |= {f"input `{key}`": _record(artifact) for key, artifact in job.inputs.items()}
    found |= {f"function `{name}`": value for name, value in job.sources().items()}
    return found | {f"version of {name}": version for name, version in provenance.versions().items()}


def checked(code: bytes, theirs: Mapping[str, str]) -> Job[Any, Any]:
    """Return the job. Raises StageError where this machine cannot work for the one that found `theirs`."""
    host = socket.gethostname()
    try:
        job: Job[Any, Any] = pickle.loads(code)
    except (ImportError, AttributeError) as error:
        hint = "install there what is installed here"
        raise StageError(f"the machine {host} cannot run this work: {error}", hint=hint) from error
    for artifact in job.inputs.values():
        if not artifact.path.is_dir():
            hint = "R1_HOME must lie where all machines see it, under one path"
            raise StageError(f"the machine {host} does not see {artifact.path}", hint=hint)
    mine = facts(job)
    for name in (*theirs, *mine):
        if mine.get(name) != theirs.get(name):
            hint = "all must read the same files: put R1_HOME and your own functions where each sees them"
            raise StageError(f"the machine {host} has another {name}", hint=hint)
    return job


def _record(artifact: Artifact) -> str:
    """The record of an artifact as it lies there; what was opened for a run has none."""
    file = artifact.path / RECORD
    return file.read_text(encoding="utf-8") if file.is_file() else str(artifact.path)


def _pickled(error: Exception) -> bytes:
    """An error in a form that passes on: ours as it is, a bug with the traceback for --debug."""
    if isinstance(error, R1Error):
        return pickle.dumps(error)
    told = RuntimeError(f"{type(error).__name__}: {error}")
    told.add_note(traceback.format_exc())
    return pickle.dumps(told)

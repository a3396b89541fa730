"""Pieces of work on many machines: numbered pieces enter, their results leave as they come, through a Ray cluster.

Workers that Ray starts do the pieces; what they made comes back through Ray's object store, and whoever called writes
it. So a piece that has come is never worked again, whoever is killed then: a worker costs the one piece it had in hand,
this process those that were in hand anywhere. Ray itself lives in a process of its own (`cluster`), so that nothing of
what it prints, and no wait of it that has no end, reaches this one.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from stages.core.errors import MissingError, RecipeError, StageError, UnreachableError
from stages.core.recipe.loading import Loaded, stage_module
from stages.core.run import cluster
from stages.core.run.cluster import Job
from stages.core.run.endpoint import SCHEME
from stages.core.run.events import Listener
from stages.core.run.runtime import Runtime

__all__ = ["Job", "nothing_to_compute", "refuse_cluster", "refuse_ray", "results"]

T = TypeVar("T")
R = TypeVar("R")
JOIN_S = 120.0
"""How long a cluster that was found may take until a first worker answers."""
LEAVE_S = 20.0
"""How long the process may take to leave the cluster when all is done."""
AWAY = 20
"""Machines that may go while one job runs."""


def refuse_ray(node: Loaded) -> None:
    """Raise RecipeError where a node's runtime names a Ray cluster and its stage has no pieces for it, MissingError
    where Ray is not installed."""
    runtime = node.runtime
    if not runtime.ray:
        return
    if not getattr(stage_module(node.stage), "IN_PIECES", False):
        raise RecipeError(
            f"`{node.name}` runs on one machine: r1 {node.stage} has no pieces for a Ray cluster",
            hint="leave runtime.ray out here; in a pipeline write it for one node, e.g. samples.runtime.ray=auto",
        )
    outside = next((text for text in node.inputs.values() if text.startswith(SCHEME)), None)
    if outside is not None:
        raise nothing_to_compute(outside)
    if runtime.vllm_server:
        what = f"`{node.name}` would have the workers of a Ray cluster wait for one vLLM server"
        raise RecipeError(what, hint="leave runtime.vllm_server out: each worker opens its own engine")
    _refuse_absent()


def nothing_to_compute(endpoint: str) -> RecipeError:
    """Return what is said where a model behind an endpoint would be asked on many machines."""
    what = f"`{endpoint}` answers from elsewhere, so the workers of a Ray cluster have nothing to compute"
    return RecipeError(what, hint="leave runtime.ray out; runtime.endpoint.* says how many requests are under way")


def refuse_cluster(runtime: Runtime) -> str:
    """Return what a cluster has, in words. Raises UnreachableError where it is not there or has no room for a worker,
    MissingError where Ray is not installed."""
    _refuse_absent()
    with _Driver(runtime, b"", [], {}, asks_model=True, log=Path(os.devnull)) as driver:
        for kind, *said in driver.messages():
            if kind == "joined":
                return str(said[0])
    raise _ended(runtime, Path(os.devnull))


def results(
    job: Job[T, R], pieces: Iterable[tuple[int, T]], runtime: Runtime, tell: Listener, log: Path
) -> Iterator[tuple[int, R]]:
    """Yield (number, result) of each piece, in the order they come.

    `tell` gets the events of all workers, the same text once. What a worker raises is raised here. Raises
    UnreachableError where the cluster is not there or has no room, StageError for a machine that reads other files and
    for a piece at which one worker after another is killed. What Ray prints goes into `log`.
    """
    _refuse_absent()
    left = {number: pickle.dumps(piece) for number, piece in pieces}
    code, facts = pickle.dumps(job), cluster.facts(job)
    told: set[str] = set()
    away = 0
    while left:
        with _Driver(runtime, code, list(left.items()), facts, asks_model=job.asks_model, log=log) as driver:
            for kind, *said in driver.messages():
                if kind == "joined":
                    _tell_once({"event": "note", "text": said[0]}, told, tell)
                elif kind == "done":
                    number, value, events = said
                    for event in events:
                        _tell_once(event, told, tell)
                    del left[number]
                    yield number, pickle.loads(value)
                    if not left:
                        driver.leave()
                        return
                elif kind == "away":
                    tell({"event": "warning", "text": f"the machine {said[0]} left the cluster; the others go on"})
                    away += 1
        if left and (not driver.away or away > AWAY):
            raise _ended(runtime, log)


def _tell_once(event: dict[str, Any], told: set[str], tell: Listener) -> None:
    if (text := f"{event['event']} {event.get('text', event.get('device'))}") not in told:
        told.add(text)
        tell(event)


def _refuse_absent() -> None:
    if find_spec("ray") is None:
        raise MissingError("the package `ray` is not installed", hint="pip install 'r1[ray]'")


def _ended(runtime: Runtime, log: Path) -> StageError:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    last = next((line for line in reversed(lines) if line.strip()), "nothing")
    what = f"the Ray cluster {runtime.ray} was lost before the work was done; Ray said last: {last.strip()[:200]}"
    return StageError(what, hint=f"`ray status`; the same command goes on with what is missing; Ray's log: {log}")


class _Driver:
    """The process in which Ray lives."""

    def __init__(
        self,
        runtime: Runtime,
        code: bytes,
        pieces: list[tuple[int, bytes]],
        facts: Mapping[str, str],
        *,
        asks_model: bool,
        log: Path,
    ) -> None:
        self.away = False
        assert runtime.ray is not None
        own = [entry for entry in map(os.path.abspath, sys.path) if not entry.startswith((sys.prefix, sys.base_prefix))]
        self._asked = cluster.Asked(
            address=runtime.ray,
            log=log,
            path=(str(Path(__file__).resolve().parents[3]), *own),
            cpus=runtime.threads or 1,
            device=runtime.device if asks_model else "cpu",
            code=code,
            pieces=pieces,
            facts=facts,
        )

    def __enter__(self) -> _Driver:
        self._start(token=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # the cluster ends what a driver that is gone had started
        self._process.join()
        self._pipe.close()

    def leave(self) -> None:
        """Let the process end by itself, so that what its workers held is free when this returns."""
        self._process.join(LEAVE_S)

    def _start(self, *, token: bool) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=cluster.serve, args=(theirs, self._asked, token), daemon=True)
        self._process.start()
        theirs.close()

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """Yield what the process says until it ends. Raises what went wrong there."""
        patience: float | None = JOIN_S
        while True:
            try:
                if not self._pipe.poll(patience):
                    what = f"no worker of the Ray cluster {self._asked.address} answered within {JOIN_S:g} s"
                    raise UnreachableError(what, hint="`ray status` says what the cluster has, and what waits")
                message = _received(self._pipe)
            except EOFError:
                return
            kind, *said = message
            if kind == "token":  # the cluster wants one, and one is here
                self.__exit__()
                self._start(token=True)
            elif kind == "failed":
                raise pickle.loads(said[0])
            else:
                self.away = self.away or kind == "away"
                patience = None if kind == "joined" else patience
                yield message


def _received(pipe: Connection) -> tuple[Any, ...]:
    message: tuple[Any, ...] = pipe.recv()
    return message

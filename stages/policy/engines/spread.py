"""Shards that a model fills, on this machine or on many: missing shards enter, finished ones leave.

Where the runtime names a Ray cluster, each of its workers opens the model for itself, and draws and judges whole
shards; the rows come back, and are written here. What a shard holds depends on its chunk alone, so the rows are those
of one machine (to the bit on a CPU).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from weakref import finalize

from stages.core.artifact import Artifact, Endpoint, Model
from stages.core.contract import Contract
from stages.core.run import many
from stages.core.run.events import Events, Listener
from stages.core.run.runner import Work
from stages.core.run.runtime import Runtime
from stages.core.run.shards import Row, Sharded
from stages.core.sampling import Completion, Request
from stages.policy.engines.client import Client, in_order
from stages.policy.engines.clients import client_of

Chunk = TypeVar("Chunk")
Taken = TypeVar("Taken", contravariant=True)


class Desk(Protocol[Taken]):
    """How the chunks of a stage become requests, and completions its rows."""

    def requests(self, chunk: Taken, /) -> Sequence[Request]:
        """As `Sharded.requests`."""

    def rows(self, chunk: Taken, drawn: Sequence[Completion], /) -> Iterable[Row]:
        """As `Sharded.rows`."""


def finished(
    work: Sharded[Chunk],
    client: Client,
    desk: Callable[[Client], Desk[Chunk]],
    inputs: Mapping[str, Artifact | None],
    sources: Callable[[], Mapping[str, str]] = dict,
) -> Iterator[tuple[int, list[Row]]]:
    """Yield each shard with its rows, as `Sharded.finished` does.

    `desk` makes on another machine what `work` has here; it and `sources` must pickle. `inputs` are what all machines
    must see alike, `sources` their functions (see `many.Job`). Raises RecipeError for an endpoint on many machines.
    """
    runtime = client.work.runtime
    if not runtime.ray:
        yield from work.finished(client)
        return
    if isinstance(client.model, Endpoint):
        raise many.nothing_to_compute(client.model.address)
    job: many.Job[Chunk, list[Row]] = many.Job(
        make=_Elsewhere(client.model, client.contract, client.dtype, client.work.seed, runtime, desk),
        inputs={key: one for key, one in inputs.items() if one is not None},
        sources=sources,
    )
    tell = client.work.events.tell
    log = client.work.scratch / "ray.log"
    yield from work.landed(lambda missing: many.results(job, missing, runtime, tell, log))


@dataclass(frozen=True)
class _Elsewhere(Generic[Chunk]):
    """What a worker needs to draw; called there, it opens the model when the first shard comes."""

    model: Model
    contract: Contract
    dtype: str
    seed: int
    runtime: Runtime
    desk: Callable[[Client], Desk[Chunk]]

    def __call__(self, tell: Listener) -> Callable[[Chunk], list[Row]]:
        device = self.runtime.device.partition(":")[0]  # Ray says which of the machine's GPUs
        own = replace(self.runtime, ray=None, device=device, threads=self.runtime.threads or 1)
        scratch = Path(tempfile.mkdtemp(prefix="r1-ray-"))
        events = Events(Path(os.devnull), tell)
        work = Work(scratch, scratch, self.seed, own, events)
        client = client_of(self.model, self.contract, self.dtype, work)
        desk = self.desk(client)

        def made(chunk: Chunk) -> list[Row]:
            asked = [replace(one, key=place) for place, one in enumerate(desk.requests(chunk))]
            return list(desk.rows(chunk, in_order(asked, client.sample(asked))))

        finalize(made, events.close)
        finalize(made, shutil.rmtree, scratch, ignore_errors=True)
        return made

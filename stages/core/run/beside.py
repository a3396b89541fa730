"""Pure work on all cores: chunks enter in order, their results leave in the same order; little of either is held.

For work that asks no model and changes nothing: a process that is killed loses nothing, since the chunk is worked again
by the next run. Each process is bound to one core, so that programs it starts for itself are as many as that core can
run.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

from stages.core.errors import StageError
from stages.core.run.runtime import Runtime, available_cores

T = TypeVar("T")
R = TypeVar("R")
MOST = 8
"""Processes: one process reads and writes for all of them, and more than these it cannot feed."""
_HELD = 3  # chunks that each process may be ahead of the reader
_work: Callable[[Any], Any] | None = None  # in such a process: what it does with a chunk


def processes(runtime: Runtime, rows: int, enough: int) -> int:
    """Return how many processes are worth starting for `rows` rows: 1, which starts none, for fewer than `enough`."""
    return 1 if rows < enough else min(runtime.threads or MOST, len(available_cores()), MOST)


def in_order(make: Callable[[], Callable[[T], R]], chunks: Iterable[T], count: int) -> Iterator[R]:
    """Yield `make()(chunk)` for each chunk, in order, worked by `count` processes, or here where that is 1.

    `make` is called once in each process; it, the chunks and the results must pickle. What the work raises is raised
    here; StageError is raised where a process ended by itself.
    """
    if count < 2:
        yield from map(make(), chunks)
        return
    context, waiting = get_context("spawn"), iter(chunks)
    cores = context.SimpleQueue()
    for number in range(count):
        cores.put(available_cores()[number % len(available_cores())])
    with ProcessPoolExecutor(count, context, _begin, (make, cores)) as pool:
        ahead: deque[Future[R]] = deque(pool.submit(_done, chunk) for chunk in islice(waiting, _HELD * count))
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(_done, chunk) for chunk in islice(waiting, 1))
        except BrokenProcessPool as error:
            what = f"one of {count} processes ended before its work was done"
            hint = "is the memory full, or does a script lack `if __name__ == '__main__':`? try runtime.threads=1"
            raise StageError(what, hint=hint) from error
        finally:
            for one in ahead:
                one.cancel()


def _begin(make: Callable[[], Callable[[Any], Any]], cores: Any) -> None:
    """Make a new process ready: on its own core, and gone when its parent is."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; the parent ends its processes
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores.get()})
    _work = make()


def _done(chunk: Any) -> Any:
    assert _work is not None
    return _work(chunk)


def end_with_the_parent() -> None:
    """Wait for the parent's end in a thread of a child, and end this process then."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""A process that builds nodes for `schedule`: nodes with the artifacts they need enter by a pipe, events and artifacts
leave by it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from stages.core.artifact import Artifact
from stages.core.errors import LockedError, R1Error
from stages.core.recipe.loading import Loaded
from stages.core.run.beside import end_with_the_parent
from stages.core.run.events import Listener
from stages.core.run.runner import run_node
from stages.core.storage.store import Store

PATIENCE_S = 60.0  # for a workspace that somebody else holds


def serve(pipe: Any, home: Path, cores: int) -> None:
    """Build what comes through the pipe on so many cores, until the pipe or the parent ends.

    In: (node, built), as `run_node` takes them. Out: ("event", line) and at the end ("done", artifact or exception).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; the parent ends its processes
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    os.dup2(2, 1)  # what a library prints while it works is no result of ours
    store = Store(home)
    with contextlib.suppress(EOFError):
        while True:
            node, built = pipe.recv()
            pipe.send(("done", _found(node, store, built, cores, lambda line: pipe.send(("event", line)))))


def _found(
    node: Loaded, store: Store, built: dict[str, Artifact], cores: int, listener: Listener
) -> Artifact | Exception:
    """The node's artifact, or what went wrong in a form that passes through a pipe.

    What two nodes fetch from the same source one of them imports, while the other waits.
    """
    began = time.monotonic()
    try:
        while True:
            try:
                return run_node(node, store, listener, built, cores)
            except LockedError:
                if time.monotonic() - began > PATIENCE_S:
                    raise
                time.sleep(0.2)
    except R1Error as error:
        return error
    except Exception as error:  # noqa: BLE001 - a bug: the parent raises it, with the traceback for --debug
        told = RuntimeError(f"{type(error).__name__}: {error}")
        told.add_note(traceback.format_exc())
        return told

"""A plan carried out: every node as soon as its inputs are there, up to `jobs` of them side by side.

What enters: the steps of a plan, the store, and who watches. What leaves: the artifacts by node name, and the error of
each node that could not be built. Such a node stops what descends from it and nothing else. One job runs in this
process; several run in processes of their own, each on its share of the cores, and end when this one ends.
"""

from __future__ import annotations

import contextlib
import heapq
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from typing import Any, Protocol

from stages.core.artifact import Artifact
from stages.core.errors import DiskError, R1Error, StageError
from stages.core.run import sharing, timing, worker
from stages.core.run.events import Listener
from stages.core.run.plan import Step
from stages.core.run.runner import run_node
from stages.core.run.runtime import available_cores
from stages.core.scale import devices
from stages.core.storage.store import Store

START_S = 15.0
"""What a process that builds nodes costs before it does."""
ENOUGH_S = 120.0
"""What a plan takes at least that is worth them."""
JOB_BYTES = 3 * 10**9
"""Memory of one node of a small model, all its processes."""


class Watcher(Protocol):
    """Who is told how a plan goes."""

    def begins(self, step: Step) -> Listener:
        """A node begins; what is returned hears its events."""

    def built(self, step: Step, artifact: Artifact) -> None:
        """A node's artifact is there, built or found."""

    def failed(self, step: Step, error: R1Error) -> None:
        """A node could not be built."""


@dataclass
class Outcome:
    """How a plan ended."""

    built: dict[str, Artifact] = field(default_factory=dict)
    """Node name -> its artifact."""
    failed: dict[str, R1Error] = field(default_factory=dict)
    """Node name -> why it could not be built."""
    left: list[str] = field(default_factory=list)
    """Names of the nodes that need one of those."""


def carry_out(steps: Sequence[Step], store: Store, watcher: Watcher, jobs: int = 1) -> Outcome:
    """Build or find the artifact of every step; with one job in reading order.

    Raises DiskError at once, when the disk is full; every other R1Error of a node is told and kept, and the rest goes
    on. Any other exception is a bug and ends everything. What is sealed stays, what is not resumes.
    """
    outcome, waiting = Outcome(), {step.node.name: step for step in steps}
    needs = _needs(steps)
    with _Jobs(jobs, store, watcher, outcome) as pool:
        while waiting or pool.busy:
            ready = [step for name, step in waiting.items() if needs[name] <= outcome.built.keys()]
            begun = [step for step in ready if step.action == "reuse"] or ready[: pool.free]
            for step in begun:
                del waiting[step.node.name]
                pool.start(step)
            if not begun and not pool.busy:
                break
            if not begun:
                pool.wait()
    outcome.left = list(waiting)
    return outcome


def makespan(steps: Sequence[Step], seconds: Mapping[str, float], jobs: int) -> float:
    """Return how long the plan takes, in seconds, when each node takes `seconds[name]` and up to `jobs` run at once."""
    needs, waiting = _needs(steps), [step.node.name for step in steps]
    now, done, running = 0.0, set[str](), list[tuple[float, str]]()
    while waiting or running:
        for name in [name for name in waiting if needs[name] <= done][: jobs - len(running)]:
            waiting.remove(name)
            heapq.heappush(running, (now + seconds[name], name))
        now, name = heapq.heappop(running)
        done.add(name)
    return now


def jobs_that_pay(steps: Sequence[Step], store: Store) -> int:
    """Return how many nodes of a plan are best built side by side: two where they are of small models on a CPU with
    several cores and memory for both, and end sooner by more than a process costs; else 1."""
    if len(available_cores()) < 2 or devices.ram() < 2 * JOB_BYTES:
        return 1
    known = store.all()
    if not all(_small_inputs(step, steps, known) and devices.present(step.node.runtime).cpu for step in steps):
        return 1
    seconds = {name: one.seconds for name, one in timing.expected(steps, store).items()}
    alone = makespan(steps, seconds, 1)
    return 2 if alone >= ENOUGH_S and makespan(steps, seconds, 2) + START_S < alone else 1


def _small_inputs(step: Step, steps: Sequence[Step], known: Sequence[Artifact]) -> bool:
    """Whether each model that a step takes from outside its plan is known to be small."""
    names = {one.node.name for one in steps}
    for text in step.node.inputs.values():
        if text in names or text.startswith("world:"):
            continue
        found = [one for one in known if text in (one.address, one.name)]
        if not found or ((found[-1].path / "config.json").is_file() and not sharing.small(found[-1:])):
            return False
    return True


def _needs(steps: Sequence[Step]) -> dict[str, set[str]]:
    """Node name -> the nodes that must be there first: its inputs, and the one that is the same thing."""
    names: set[str] = set()
    first: dict[str, str] = {}
    needs: dict[str, set[str]] = {}
    for step in steps:
        name = step.node.name
        needs[name] = {text for text in step.node.inputs.values() if text in names}
        if step.fingerprint:
            twin = first.setdefault(step.fingerprint, name)
            needs[name] |= {twin} - {name}
        names.add(name)
    return needs


class _Jobs:
    """What runs now: in this process where one job is asked for, else in processes that are started when needed."""

    def __init__(self, jobs: int, store: Store, watcher: Watcher, outcome: Outcome) -> None:
        self._jobs, self._store, self._watcher, self._outcome = jobs, store, watcher, outcome
        self._idle: list[_Process] = []
        self._running: dict[Any, tuple[_Process, Step, Listener]] = {}

    def __enter__(self) -> _Jobs:
        return self

    def __exit__(self, *error: object) -> None:
        for process in [*self._idle, *(process for process, _, _ in self._running.values())]:
            process.end()

    @property
    def busy(self) -> bool:
        return bool(self._running)

    @property
    def free(self) -> int:
        return self._jobs - len(self._running)

    def start(self, step: Step) -> None:
        """Begin a step; one that is found, or that runs in this process, is over when this returns."""
        if step.action == "reuse" or self._jobs == 1:
            self._here(step)
            return
        process = self._idle.pop() if self._idle else _Process(self._jobs, self._store)
        built = self._outcome.built
        process.pipe.send((step.node, {text: built[text] for text in step.node.inputs.values() if text in built}))
        self._running[process.pipe] = (process, step, self._watcher.begins(step))

    def wait(self) -> None:
        """Pass on what the processes say, when at least one of them says something."""
        for pipe in connection.wait(list(self._running)):
            process, step, listener = self._running[pipe]
            try:
                kind, value = process.pipe.recv()
            except EOFError:
                process.end()
                hint = "was memory short? the same command resumes; a smaller --jobs needs less"
                self._over(pipe, StageError(f"the process that built `{step.node.name}` was killed", hint=hint))
                continue
            if kind == "event":
                listener(value)
            else:
                self._idle.append(process)
                self._over(pipe, value)

    def _here(self, step: Step) -> None:
        listener = None if step.action == "reuse" else self._watcher.begins(step)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what a library prints while it works is no result of ours
                found: Artifact | R1Error = run_node(step.node, self._store, listener, self._outcome.built)
        except R1Error as error:
            found = error
        self._tell(step, found)

    def _over(self, pipe: Any, found: Artifact | Exception) -> None:
        _, step, _ = self._running.pop(pipe)
        self._tell(step, found)

    def _tell(self, step: Step, found: Artifact | Exception) -> None:
        if isinstance(found, Artifact):
            self._outcome.built[step.node.name] = found
            self._watcher.built(step, found)
        elif isinstance(found, R1Error) and not isinstance(found, DiskError):
            self._outcome.failed[step.node.name] = found
            self._watcher.failed(step, found)
        else:
            raise found


class _Process:
    """A process that builds one node after another, with its share of the cores."""

    def __init__(self, jobs: int, store: Store) -> None:
        share = max(1, len(available_cores()) // jobs)
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=worker.serve, args=(theirs, store.home, share))
        self._process.start()
        theirs.close()

    def end(self) -> None:
        """Kill it; what it was building resumes."""
        self._process.kill()
        self._process.join()
        self.pipe.close()

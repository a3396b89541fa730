"""Run a program that nobody trusts: a job (command, files, inputs) and limits enter, one outcome per input leaves.

By default inside bubblewrap: no network, no file but the compilers' and Python's own, a private /tmp in memory, no
process but its own, no environment. The limits hold for the whole tree of processes and are the same on every
machine: they come from rlimits, a system-call filter and the runner inside (`sandbox_runner.py`), which is process 1
there and kills everything before it reports. Verdicts should follow CPU time, memory, output and idleness; `wall` is
the last net, and says nothing about the program. `rlimits` is a weaker isolation for systems without namespaces: the
program may read what this user may read, has no sockets and no child processes. It is never chosen silently.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from stages.core.errors import StageError
from stages.rewards.programs import bubblewrap, sandbox_syscalls, standby
from stages.rewards.programs.bubblewrap import INSTALL, interpreter
from stages.rewards.programs.sandbox_runner import empty
from stages.rewards.programs.standby import START_LIMIT_S, Gone, Server

ISOLATIONS = ("bwrap", "rlimits")
OVER = {"cpu": "CPU time", "memory": "memory", "processes": "processes", "output": "output", "idle": "idle time"}
"""Outcomes that are a limit of the program's own -> its name."""
_INSIDE = "/tmp/box"
_FIRST_UID, _SLOTS = 0x60000000, 64
_slot = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one case may use, summed over all its processes."""

    cpu_s: float = 4.0
    """Seconds of CPU."""
    memory_mb: int = 512
    """MiB: address space of each process, resident memory of all together."""
    processes: int = 32
    """Processes and threads at once."""
    output_bytes: int = 8 * 2**20
    """Bytes of stdout and stderr together."""
    disk_mb: int = 64
    """MiB of any one file, and of /tmp and of /dev/shm."""
    stack_mb: int = 16
    """MiB of stack of each thread."""
    idle_s: float = 0.0
    """Seconds that all threads may sleep, in sum, and all cases together two and a half times as long; 0 = no limit.
    Time spent waiting for a core or a disk is not idle."""
    patience_s: float = 30.0
    """Seconds that it may wait at its pipe (`Job.fds`) for the other end, in sum: longer is idle too."""
    wall_s: float = 60.0
    """Seconds of wall clock: the last net."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run. File names are relative to the folder the command starts in."""

    command: Sequence[str]
    """A program's path and arguments, or `judge` or `subject` with theirs, which run there without a new Python."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    cases: Sequence[bytes] = (b"",)
    """One run each, with these bytes as stdin, in a fresh process and fresh files."""
    build: Sequence[str] = ()
    """A command to run once before the cases; its outcome comes first, and only exit code 0 goes on."""
    build_limits: Limits = field(default_factory=Limits)
    keep: Sequence[str] = ()
    """Files that the build makes for the cases."""
    stop_after: int = 3
    """Cases over a limit after which the rest are not run."""
    fds: tuple[int, ...] = ()
    """Pipe ends handed to the first case's program, whose numbers a `judge` or `subject` gets as its last arguments.
    Reading the first one is not idle for a while: there it waits for somebody else."""


class Outcome(NamedTuple):
    """How one case ended.

    `status`: `exit` (the first process ended by itself, `code` is its exit code or -signal), a limit (`cpu`, `memory`,
    `processes`, `output`, `idle`), or `wall`, `late` (no word in time) and `lost` (the sandbox itself died), which say
    nothing about the program.
    """

    status: str
    code: int = 0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def judged(self) -> bool:
        """Whether this outcome will be the same on every machine and at every load."""
        return self.status not in ("wall", "late", "lost")


class Sandbox:
    """A running sandbox; a context manager, after which no process and no file of it is left.

    Raises StageError with the way out where this system has no such isolation.
    """

    def __init__(self, job: Job, limits: Limits, isolation: str = "bwrap") -> None:
        if isolation not in ISOLATIONS:
            raise StageError(f"unknown isolation `{isolation}`", hint=f"one of {', '.join(ISOLATIONS)}")
        if not sandbox_syscalls.known_machine():
            raise StageError("the sandbox knows the system calls of x86_64 and aarch64 only")
        self._limits, self._job = limits, job
        self._buffer = bytearray()
        self._own: Server | None = None  # where it serves this job alone
        self._folder = tempfile.mkdtemp(prefix="r1-sandbox-") if isolation == "rlimits" else ""
        self._errors = os.memfd_create("errors")
        self._results, writing = os.pipe()
        feed = _feed(job, limits, self._folder)
        try:
            self._process = self._begin([feed, writing, self._errors, *job.fds])
        except BaseException:
            self._tidy()
            raise
        finally:
            os.close(feed)
            os.close(writing)
        self._open = True
        self._deadline = time.monotonic() + START_LIMIT_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def outcomes(self, patience_s: float | None = None) -> Iterator[Outcome]:
        """Yield the build's outcome, if there is one, then one for each case, at most as many as were run.

        `patience_s`: seconds to wait for each, where not as long as its limits and a busy machine may take."""
        if self._line() != "ready":
            told = " ".join(self._said().split())[-200:] or "no word from it"
            raise StageError(f"the sandbox cannot start: {told}", hint=INSTALL)
        steps = [self._job.build_limits] if self._job.build else []
        for limits in [*steps, *[self._limits] * len(self._job.cases)]:
            usual_s = limits.wall_s + START_LIMIT_S
            self._deadline = time.monotonic() + (usual_s if patience_s is None else patience_s)
            outcome = self._outcome()
            if outcome is None:
                return
            yield outcome
            if not outcome.judged:
                return  # the runner goes on after a `wall` of one case, but no verdict will

    def close(self) -> None:
        """End every process of the sandbox, wait until they are gone, remove its files."""
        if self._open:
            self._open = False
            standby.end(self._process)
            self._tidy()

    def _tidy(self) -> None:
        if self._own is not None:
            self._own.close()
        os.close(self._results)
        os.close(self._errors)
        if self._folder:
            empty(self._folder)
            os.rmdir(self._folder)

    def _begin(self, fds: list[int]) -> int:
        """Begin the job on standby, else in a sandbox started for it; returns a descriptor of its first process."""
        environment = _environment(self._folder or "/tmp")
        if not self._folder:
            for _ in "ab":  # one that was killed is replaced
                waiting = standby.server(bubblewrap.command(1, many=True), environment)
                if waiting.fault:
                    break
                try:
                    return waiting.begin(fds)
                except Gone:
                    standby.drop(waiting)
        command = bubblewrap.weak_command() if self._folder else bubblewrap.command(self._limits.disk_mb, many=False)
        self._own = Server(command, environment, many=False)
        try:
            return self._own.begin(fds)
        except Gone as error:
            raise StageError("the sandbox cannot start: it is gone", hint=INSTALL) from error

    def _outcome(self) -> Outcome | None:
        """Return the next outcome, None when the runner ended as it should."""
        line = self._line()
        if line == "end":
            return None
        if line:
            status, *numbers = line.split()
            code, cpu_ms, peak_kb, out, err = (int(number) for number in numbers)
            stdout, stderr = self._bytes(out), self._bytes(err)
            if stdout is not None and stderr is not None:
                return Outcome(status, code, cpu_ms / 1000, peak_kb * 1024, stdout, stderr)
        late = time.monotonic() >= self._deadline
        return Outcome("late" if late else "lost", stderr=self._said().encode())

    def _line(self) -> str | None:
        """Return the next line, "" at the end of the stream, None when the deadline passed."""
        while b"\n" not in self._buffer:
            if (more := self._more()) is not True:
                return None if more is None else ""
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line.decode("ascii", "replace")

    def _bytes(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            if not self._more():
                return None
        taken, self._buffer = bytes(self._buffer[:count]), self._buffer[count:]
        return taken

    def _more(self) -> bool | None:
        """Read what is there: True, False at the end of the stream, None when the deadline passed."""
        poll = select.poll()
        poll.register(self._results, select.POLLIN)
        if not poll.poll(1000 * max(0.0, self._deadline - time.monotonic())):
            return None
        block = os.read(self._results, 65536)
        self._buffer += block
        return bool(block)

    def _said(self) -> str:
        """What the isolation itself wrote to stderr."""
        size = os.fstat(self._errors).st_size
        return os.pread(self._errors, 2000, max(0, size - 2000)).decode("utf-8", "replace")


def run(job: Job, limits: Limits, isolation: str = "bwrap") -> list[Outcome]:
    """Run a job and return its outcomes (see `Sandbox.outcomes`); nothing of it is left. Raises StageError."""
    with Sandbox(job, limits, isolation) as sandbox:
        return list(sandbox.outcomes())


def fault(isolation: str = "bwrap") -> str:
    """Say why this system cannot isolate a program, and the way out; "" when it can."""
    try:
        done = run(Job(command=[interpreter(), "-I", "-c", "print(6 * 7)"]), Limits(), isolation)
    except StageError as error:
        return error.told
    return "" if done and done[0].stdout == b"42\n" else "the sandbox runs, but a program in it does not"


def compiler() -> str | None:
    """Return the path of the C++ compiler found now, or None."""
    return next((path for name in ("g++", "clang++") if (path := shutil.which(name, path="/usr/bin"))), None)


def _environment(folder: str) -> dict[str, str]:
    home = {"HOME": folder, "TMPDIR": folder, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    return {
        **home,
        "PYTHONHASHSEED": "0",
        "PYTHONINTMAXSTRDIGITS": "0",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def _feed(job: Job, limits: Limits, folder: str) -> int:
    """Return a file in memory that holds the job as the runner reads it."""
    weak = bool(folder)
    blobs = [*job.files.values(), *job.cases]
    head: dict[str, Any] = {
        "command": list(job.command),
        "build": list(job.build),
        "keep": list(job.keep),
        "limits": asdict(limits),
        "build_limits": asdict(replace(job.build_limits, disk_mb=limits.disk_mb)),
        "files": [[name, len(content)] for name, content in job.files.items()],
        "sizes": [len(blob) for blob in blobs],
        "stop_after": job.stop_after,
        "folder": os.path.join(folder, "box") if weak else _INSIDE,
        "writable": [folder] if weak else ["/tmp", "/dev/shm"],
        "environment": _environment(folder or "/tmp"),
        "reads": sandbox_syscalls.reading(),
        "uid": _user() if os.geteuid() == 0 and not weak else 0,
        "seccomp": sandbox_syscalls.filter_program(may_fork=not weak).hex(),
        "own": sandbox_syscalls.OWN,
        "build_seccomp": sandbox_syscalls.filter_program(may_fork=True).hex(),
    }
    feed = os.memfd_create("job")
    with os.fdopen(os.dup(feed), "wb") as file:
        file.write(json.dumps(head).encode() + b"\n")
        for blob in blobs:
            file.write(blob)
    os.lseek(feed, 0, os.SEEK_SET)
    return feed


def _user() -> int:
    """Return a user id for one sandbox, so that the kernel counts its processes apart from all others."""
    number = (os.getpid() * _SLOTS + next(_slot) % _SLOTS) % 0x10000000
    known = int(Path("/proc/self/uid_map").read_text().split()[2])
    return _FIRST_UID + number if known > _FIRST_UID + 0x10000000 else 40000 + number % 20000

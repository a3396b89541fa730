"""The first process inside a sandbox: a job enters, one framed outcome for each case leaves on a pipe, at last `end`.

Begun by `sandbox_server.py`. It lays out the files, runs the command once for each case, watches the whole tree of
processes (everything in its process namespace; in the weak mode its own descendants), kills what goes over a limit, and
wipes the files before the next case. CPU time is what the kernel reports for every process of the tree once all are
dead, so that verdict does not hang on when one looked.

Outcome: `status exit cpu_ms memory_kb stdout stderr`, a line, the last two as lengths, then their bytes. It never sees
what a program should print.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stages.rewards.programs.sandbox_looking import (
    PAGE,
    TICKS,
    begins,
    busy_s,
    forks,
    proportional,
    reaped_s,
    stat_of,
    threads_of,
)

KEPT_ERRORS = 2000  # bytes of stderr, the last ones
_FIRST_LOOK_S, _LOOK_S = 0.01, 0.04
_MANY_CASES = 2.5  # times what one case may idle: what all of a job's may together
_MOST_FILES = 4096
_IDLE_SHARE = 0.9  # of an interval; below it the tree worked or waited for a core
SET_DUMPABLE = 4  # of prctl, as the next
_SET_DEATH_SIGNAL, _SET_SECCOMP, _NO_NEW_PRIVILEGES = 1, 22, 38
_libc = ctypes.CDLL(None, use_errno=True)


class Look(NamedTuple):
    """The tree at one moment; `asleep`: no thread runs, waits for a core or for a disk; `waits`: one of those that
    sleep reads the pipe on which somebody else may be long in writing."""

    processes: int
    cpu_s: float
    resident: int
    asleep: bool
    waits: bool
    busy_s: float  # time on a core and waiting for one, of all threads; nanosecond steps


class Captured:
    """One output pipe of the program: what was kept, how much came."""

    def __init__(self, keep: int, *, last: bool) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.kept, self.came, self._keep, self._last = bytearray(), 0, keep, last

    def read(self) -> None:
        """Take what is there, at most 1 MiB at a time."""
        for _ in range(16):
            try:
                block = os.read(self.reading, 65536)
            except BlockingIOError:
                return
            if not block:
                return
            self.came += len(block)
            self.kept += block
            if self._last:
                del self.kept[: -self._keep]
            else:
                del self.kept[self._keep :]


class Runner:
    """A job being done: its files, its limits, its cases."""

    def __init__(
        self,
        job: dict[str, Any],
        blobs: list[bytes],
        results: int,
        pipes: list[int],
        sides: Mapping[str, Callable[..., None]],
    ) -> None:
        """`results`: where outcomes go; `pipes`: for the first case's program; `sides`: what a job may run by name."""
        self.job, self.folder = job, str(job["folder"])
        self.results, self.pipes, self.sides = results, pipes, sides
        self.waits = f"{job['reads']}{pipes[0]:#x} ".encode() if pipes else b""
        names = [name for name, _ in job["files"]]
        self.files = dict(zip(names, blobs, strict=False))
        self.cases = blobs[len(names) :]
        self.building = bool(job["build"])
        self.idle_s = 0.0  # of all cases so far
        self.alone = os.getpid() == 1

    def run(self) -> None:
        """Build if the job says so, then run every case until too many went over a limit."""
        if self.job["build"]:
            built = self.case(self.job["build"], b"", self.job["build_limits"])
            self.report(*built)
            if built[0] != "exit" or built[1] != 0:
                os.write(self.results, b"end\n")
                return
            self.building = False
            for name in self.job["keep"]:
                with open(os.path.join(self.folder, name), "rb") as file:
                    self.files[name] = file.read()
        over = 0
        for given in self.cases:
            outcome = self.case(self.job["command"], given, self.job["limits"])
            self.report(*outcome)
            over += outcome[0] != "exit"
            if over >= self.job["stop_after"]:
                break
        self.wipe()
        os.write(self.results, b"end\n")

    def report(self, status: str, code: int, cpu_s: float, resident: int, out: bytes, err: bytes) -> None:
        head = f"{status} {code} {int(cpu_s * 1000)} {resident // 1024} {len(out)} {len(err)}\n"
        left = memoryview(head.encode() + out + err)
        while left:
            left = left[os.write(self.results, left) :]

    def case(
        self, command: list[str], given: bytes, limits: dict[str, Any]
    ) -> tuple[str, int, float, int, bytes, bytes]:
        """Run the command on one input; (status, exit code, CPU seconds, peak bytes, stdout, last of stderr)."""
        self.wipe()
        self.lay(given)
        before = reaped_s()
        out, err = Captured(limits["output_bytes"], last=False), Captured(KEPT_ERRORS, last=True)
        with open(os.path.join(self.folder, ".stdin"), "rb") as stdin:
            os.unlink(stdin.name)
            ends = (stdin.fileno(), out.writing, err.writing)
            child = self.begin(command, ends, limits)
        for fd in (out.writing, err.writing, *self.pipes):
            os.close(fd)
        self.pipes = []
        status, peak = self.watch(child, (out, err), limits, before)
        code = self.kill_all(child)
        for pipe in (out, err):
            had = -1
            while had < pipe.came <= limits["output_bytes"]:
                had = pipe.came
                pipe.read()
            os.close(pipe.reading)
        cpu_s = reaped_s() - before
        if cpu_s > limits["cpu_s"]:
            status = "cpu"
        elif status == "exit" and out.came + err.came > limits["output_bytes"]:
            status = "output"
        return status, code, cpu_s, peak, bytes(out.kept), bytes(err.kept)

    def begin(self, command: list[str], ends: tuple[int, int, int], limits: dict[str, Any]) -> int:
        """Fork the program's first process, which becomes the command, or one of the `sides`; returns its id."""
        child = os.fork()
        if child:
            return child
        code = 127
        try:
            os.setsid()  # its group, which it can signal, is it and what it starts
            for number, fd in enumerate(ends):
                os.dup2(fd, number)
            start = 3
            for fd in [*sorted(self.pipes), _MOST_FILES]:
                os.closerange(start, fd)
                start = fd + 1
            os.chdir(self.folder)
            self.confine(limits)
            side = self.sides.get(command[0])
            if side is None:
                for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
                    signal.signal(number, signal.SIG_DFL)
                for fd in self.pipes:
                    os.set_inheritable(fd, True)
                os.execve(command[0], command, self.job["environment"])
            control(SET_DUMPABLE, 1)  # as after exec: its own /proc is its own
            code = _run(side, [*command[1:], *map(str, self.pipes)])
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(code)

    def lay(self, given: bytes) -> None:
        """Write the job's files and the case's input, readable by the program."""
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        for name, content in (*self.files.items(), (".stdin", given)):
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, 0o555)
        if self.job["uid"]:
            os.chown(self.folder, self.job["uid"], self.job["uid"])

    def wipe(self) -> None:
        """Remove everything the program could write."""
        for root in self.job["writable"]:
            empty(root)

    def confine(self, limits: dict[str, Any]) -> None:
        """In the new process, before the program: limits, user, system calls."""
        megabyte, seconds = 2**20, int(limits["cpu_s"]) + 2
        bounds = {
            resource.RLIMIT_AS: limits["memory_mb"] * megabyte,
            resource.RLIMIT_CPU: seconds,
            resource.RLIMIT_FSIZE: limits["disk_mb"] * megabyte,
            resource.RLIMIT_STACK: limits["stack_mb"] * megabyte,
            resource.RLIMIT_NOFILE: 256,
            resource.RLIMIT_CORE: 0,
        }
        if self.alone:
            bounds[resource.RLIMIT_NPROC] = limits["processes"] + (not self.job["uid"])
        for kind, most in bounds.items():
            hard = resource.getrlimit(kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))
        if self.job["uid"]:
            os.setgroups([])
            os.setresgid(*[self.job["uid"]] * 3)
            os.setresuid(*[self.job["uid"]] * 3)
        if not self.alone:
            control(_SET_DEATH_SIGNAL, signal.SIGKILL)
        control(_NO_NEW_PRIVILEGES, 1)
        calls = bytes.fromhex(self.job["build_seccomp" if self.building else "seccomp"])
        calls = calls.replace(struct.pack("=I", self.job["own"]), struct.pack("=I", os.getpid()))
        code = ctypes.create_string_buffer(calls, len(calls))
        program = (ctypes.c_ushort * 8)()  # struct sock_fprog: a count, padding, a pointer
        program[0] = len(calls) // 8
        ctypes.memmove(ctypes.addressof(program) + 8, ctypes.byref(ctypes.c_void_p(ctypes.addressof(code))), 8)
        control(_SET_SECCOMP, 2, ctypes.addressof(program))

    def watch(
        self, main: int, pipes: tuple[Captured, Captured], limits: dict[str, Any], before: float
    ) -> tuple[str, int]:
        """Read the program's output until its first process ends or the tree goes over a limit; (status, peak)."""
        poll = select.poll()
        ended = os.pidfd_open(main)
        for fd in (ended, pipes[0].reading, pipes[1].reading):
            poll.register(fd, select.POLLIN)
        start = looked = time.monotonic()
        idle_before_s, waited_s, peak, last = self.idle_s, 0.0, 0, Look(1, 0.0, 0, False, False, 0.0)
        try:
            while True:
                ready = dict(poll.poll(1000 * (_FIRST_LOOK_S if looked - start < 0.2 else _LOOK_S)))
                for pipe in pipes:
                    if pipe.reading in ready:
                        pipe.read()
                        if ready[pipe.reading] & select.POLLHUP and not ready[pipe.reading] & select.POLLIN:
                            poll.unregister(pipe.reading)
                if pipes[0].came + pipes[1].came > limits["output_bytes"]:
                    return "output", peak
                if ended in ready:
                    return "exit", peak
                now = time.monotonic()
                if now - looked < _FIRST_LOOK_S / 2:
                    continue
                look, gap, looked = self.look(limits), now - looked, now
                peak = max(peak, look.resident)
                if last.asleep and look.asleep and look.busy_s - last.busy_s < (1 - _IDLE_SHARE) * gap:
                    waited_s += min(gap, 0.1) * look.waits
                    self.idle_s += min(gap, 0.1) * (not look.waits)
                last, idle_s = look, self.idle_s - idle_before_s
                longest = max(idle_s, self.idle_s / _MANY_CASES, waited_s * limits["idle_s"] / limits["patience_s"])
                over = _over(look, limits, reaped_s() - before, longest, now - start)
                if over:
                    return over, peak
        finally:
            os.close(ended)

    def look(self, limits: dict[str, Any]) -> Look:
        """Sum up the tree as it is now."""
        tree = self.tree()
        stats = [stat for pid in tree if (stat := stat_of(f"/proc/{pid}/stat"))]
        resident = sum(int(stat[21]) for stat in stats) * PAGE
        if resident > limits["memory_mb"] * 2**20:
            resident = sum(proportional(pid) for pid in tree)  # forked processes share pages: count each once
        cpu_s = sum(int(ticks) for stat in stats for ticks in stat[11:15]) / TICKS  # and of children it waited for
        threads = [thread for pid in tree[:64] for thread in threads_of(pid)] if limits["idle_s"] else []
        states = [(stat[0], thread) for thread in threads if (stat := stat_of(f"{thread}/stat"))]
        busy = [busy_s(thread) for thread in threads]
        known = bool(busy) and all(each is not None for each in busy)
        still = [state in ("S", "Z", "X", "T") or (state == "D" and forks(each)) for state, each in states]
        asleep = known and all(still)
        pipe = self.waits if asleep else b""
        waits = bool(pipe) and any(begins(f"{thread}/syscall", pipe) for thread in threads)
        return Look(len(stats), cpu_s, resident, asleep, waits, sum(each or 0.0 for each in busy))

    def tree(self) -> list[int]:
        """The processes to watch: all in the namespace but this one, or, in the weak mode, all descendants."""
        me = os.getpid()
        everyone = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        if self.alone:
            return [pid for pid in everyone if pid != me]
        children: dict[int, list[int]] = {}
        for pid in everyone:
            if stat := stat_of(f"/proc/{pid}/stat"):
                children.setdefault(int(stat[1]), []).append(pid)
        found = list(children.get(me, ()))
        for pid in found:  # grows as it goes
            found += children.get(pid, ())
        return found

    def kill_all(self, main: int) -> int:
        """Kill the tree and wait until nothing is left of it; returns the first process's exit code (-signal)."""
        code = 0
        while True:
            for pid in [-1] if self.alone else self.tree():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                pid, how = os.waitpid(-1, 0)
            except ChildProcessError:
                return code
            if pid == main:
                code = os.waitstatus_to_exitcode(how)


def empty(root: str) -> None:
    """Remove all that is in a folder, however deep: what a subfolder holds is first moved up, so paths stay short."""
    unique = 0
    mark = os.urandom(8).hex()
    while entries := list(os.scandir(root)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, 0o700)  # moving a folder writes its `..`
                unique += 1
                os.rename(inner.path, os.path.join(root, f"{mark}-{unique}"))
            os.rmdir(entry.path)


def _over(look: Look, limits: dict[str, Any], reaped_s: float, idle_s: float, wall_s: float) -> str:
    """Return which limit the tree is over, or ""."""
    if look.cpu_s + reaped_s > limits["cpu_s"]:
        return "cpu"
    if look.resident > limits["memory_mb"] * 2**20:
        return "memory"
    if look.processes > limits["processes"]:
        return "processes"
    if limits["idle_s"] and idle_s > limits["idle_s"]:
        return "idle"
    return "wall" if wall_s > limits["wall_s"] else ""


def control(option: int, *values: int) -> None:
    """Call prctl; raises OSError."""
    given = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *given) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _run(side: Callable[..., None], given: list[str]) -> int:
    """Run a function as a program of its own would: its frames, its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    depth, frame = 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(sys.getrecursionlimit() + depth)
    try:
        side(*given)
    except BaseException as error:  # noqa: BLE001  as at the top of a program
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    return 0

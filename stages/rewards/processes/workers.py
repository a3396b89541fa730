"""Worker processes that can be killed: questions enter as JSON, replies leave, and a hang costs its own sample only.

Whatever can hang, crash or eat memory (sympy, a user's function, a whole row of rewards) runs in such a worker. Each
has a limit of CPU time, which ends it at the same point on a busy machine and an idle one, perhaps one of idle time,
and a limit of wall time as the last net. A worker that ends is replaced at the next question. `serving.py` is the other
side.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.run.runtime import available_cores
from stages.rewards.processes.idling import Idling
from stages.rewards.processes.serving import AGAIN, READY, READY_AGAIN, is_worker, starting

REPLY_BYTES = 16 * 2**20
_CHECK_S = 0.1  # how often a silent worker is looked at: its death shows at once, but for children that hold its pipes
_AGAIN_S = 5.0  # for another child of a worker; then the worker is replaced
_ROOT = Path(__file__).parents[3]
_all: weakref.WeakSet[Workers] = weakref.WeakSet()


class Reply(NamedTuple):
    """What a worker said to one question, or why it did not."""

    value: Any
    """The answer, as JSON gives it; None where there is a fault."""
    fault: str = ""
    """In words, to be put behind a name: `took over 5 s`, `crashed (SIGSEGV)`; "" for none."""
    kind: str = ""
    """cpu, wall, crash, unreadable or start; "" for none. All but cpu say nothing about the question for certain."""


def cores() -> int:
    """The cores this process may use: what torch's threads and busy workers together must not exceed. A worker is
    itself one of the busy: it has one."""
    return 1 if is_worker() else len(available_cores())


class Workers:
    """`count` processes of one program, started when first needed; any thread may ask."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        count: int,
        cpu_share: float = 0.5,
        start_limit_s: float = 60.0,
        idle_s: float = math.inf,
    ) -> None:
        """`command` runs a program that calls `serving.serve`; `start_limit_s` is for its imports on a busy machine.

        `cpu_share` is the part of a question's limit that it may use as CPU time: with a half, a machine half busy
        gives the same verdicts as an idle one. `idle_s` is how long it may neither compute nor wait for a core.
        """
        self.idle_s = idle_s
        self.command, self.count = list(command), max(1, count)
        self.cpu_share, self.start_limit_s = cpu_share, start_limit_s
        self.faults: Counter[str] = Counter()
        """How many questions ended in each kind of fault."""
        self.asked = 0
        """How many questions were asked."""
        self._fresh()
        _all.add(self)

    def _fresh(self) -> None:
        self._counting = threading.Lock()
        self._seats = [_Seat(self.command, self.start_limit_s, self.idle_s) for _ in range(self.count)]
        self._free: queue.LifoQueue[_Seat] = queue.LifoQueue()  # the one used last is warm
        for seat in self._seats:
            self._free.put(seat)

    def ask(self, question: Any, limit_s: float) -> Reply:
        """Ask one question, as soon as a worker is free; it costs at most `limit_s` seconds, and `cpu_share` of
        that in CPU time. Raises TypeError or ValueError for a question that is no JSON."""
        return self.ask_all([question], limit_s)[0]

    def ask_all(self, questions: Sequence[Any], limit_s: float) -> list[Reply]:
        """Ask several questions of one worker, in order, without waiting between them; each has the limit to itself,
        and a fault costs only the question it befell."""
        cpu_s = limit_s * self.cpu_share
        lines = [f"[{number}, {cpu_s}, {json.dumps(one)}]\n" for number, one in enumerate(questions)]
        seat = self._free.get()
        try:
            replies = seat.answers([line.encode() for line in lines], limit_s)
        finally:
            self._free.put(seat)
        with self._counting:
            self.asked += len(replies)
            self.faults.update(reply.kind for reply in replies if reply.kind)
        spent = f"took over {cpu_s:g} s of CPU time"
        return [Reply(None, spent, "cpu") if reply.kind == "cpu" else reply for reply in replies]

    def close(self) -> None:
        """End every worker; a question under way ends as a crash, and the next one starts a worker again."""
        for seat in self._seats:
            seat.close()

    def _forget(self) -> None:
        """After a fork: the workers are the parent's, and no thread that held a lock is here."""
        for seat in self._seats:
            seat.forget()
        self._fresh()


class _Seat:
    """The place of one worker: a process, or none yet. One thread at a time asks; any may close."""

    def __init__(self, command: list[str], start_limit_s: float, idle_s: float) -> None:
        self._command, self._start_limit_s, self._idle_s = command, start_limit_s, idle_s
        self._process: _Process | None = None
        self._asking = threading.Lock()

    def answers(self, lines: list[bytes], limit_s: float) -> list[Reply]:
        """Return one reply for each line."""
        replies: list[Reply] = []
        with self._asking:
            try:
                while len(replies) < len(lines):
                    process = self._process if self._process and self._process.runs() else self._start()
                    if isinstance(process, Reply):
                        return replies + [process] * (len(lines) - len(replies))
                    process.write(b"".join(lines[len(replies) :]))
                    replies += self._read(process, range(len(replies), len(lines)), limit_s)
            except BaseException:  # Ctrl-C: a question is under way, and its answer must not meet the next one
                self._end()
                raise
        return replies

    def _read(self, process: _Process, numbers: range, limit_s: float) -> list[Reply]:
        """Return the replies up to the last or the first fault, after which the process is gone."""
        replies: list[Reply] = []
        for number in numbers:
            try:
                told, value = process.reply(limit_s, self._idle_s)
                if told != number:
                    raise ValueError("an answer to another question")
                replies.append(Reply(value))
            except _Fault as fault:
                if not process.again(fault):
                    self._end()
                return [*replies, Reply(None, fault.what, fault.kind)]
            except (ValueError, TypeError, RecursionError):
                self._end()
                return [*replies, Reply(None, "gave no readable answer", "unreadable")]
        return replies

    def _start(self) -> _Process | Reply:
        self._end()
        try:
            with starting(self._start_limit_s):
                process = self._process = _Process(self._command)
                told = json.loads(process.line(self._start_limit_s))
        except (_Fault, OSError, ValueError) as error:
            self._end()
            return Reply(None, f"did not start: {error}", "start")
        if told in (READY, READY_AGAIN):
            process.in_children = told == READY_AGAIN
            return process
        self._end()
        return Reply(None, str(told), "start")

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def close(self) -> None:
        process = self._process
        if self._asking.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._asking.release()
        elif process is not None:
            process.kill()  # the thread that asks will see it

    def forget(self) -> None:
        if self._process is not None:
            self._process.forget()


class _Fault(Exception):
    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind, self.what = kind, what

    @classmethod
    def by(cls, signalled: bool, number: int) -> _Fault:
        """Return the fault of a process that ended by a signal, or with an exit code."""
        if not signalled:
            return cls("crash", f"crashed (exit code {number})")
        if number == signal.SIGPROF:
            return cls("cpu", "took too much CPU time")
        return cls("crash", f"crashed ({signal.Signals(number).name})")


class _Process:
    """One running worker, in a process group of its own, and its two pipes."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._outgoing = memoryview(b"")
        self._incoming = bytearray()
        self.in_children = False
        """Whether a child of its own answers, and another one when that ends."""

    def runs(self) -> bool:
        """Say whether it is alive; one that died stays a zombie, so that its number is nobody else's."""
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def write(self, data: bytes) -> None:
        """Give it lines, which leave as it reads them, while its answers are awaited."""
        self._outgoing = memoryview(data)
        self._poll.register(self._stdin, select.POLLOUT)

    def reply(self, limit_s: float, idle_s: float = math.inf) -> Any:
        """Return its next answer; raises _Fault as `line`, and where its child ended."""
        limit, starts = limit_s, 0
        while True:
            may_idle_s = math.inf if starts else idle_s
            line = self.line(limit, may_idle_s) or self.line(
                limit, may_idle_s
            )  # an empty one comes before news of an end
            told = json.loads(line)
            if not isinstance(told, dict):
                return told
            if "ended" in told:
                status = int(told["ended"])
                died = os.WIFSIGNALED(status)
                raise _Fault.by(died, os.WTERMSIG(status) if died else os.waitstatus_to_exitcode(status))
            starts += 1 if "starting" in told else -1  # workers of its own, perhaps in several threads
            limit = max(limit, told.get("starting", 0) + _AGAIN_S) if starts else limit_s

    def again(self, fault: _Fault) -> bool:
        """Go on with another child after a fault; says whether that could be done."""
        if not self.in_children:
            return False
        try:
            if fault.kind == "wall":
                os.kill(self._process.pid, signal.SIGTERM)
                with contextlib.suppress(_Fault):
                    while self.reply(_AGAIN_S):  # an answer that came too late
                        pass
            self.write(AGAIN)
            return bool(json.loads(self.line(_AGAIN_S)) == READY_AGAIN)
        except (_Fault, OSError, ValueError, TypeError):
            return False

    def line(self, limit_s: float, idle_s: float = math.inf) -> bytes:
        """Return its next line; raises _Fault when it ends or a limit passes first."""
        deadline = time.monotonic() + limit_s
        searched, idling = 0, None
        while (end := self._incoming.find(b"\n", searched)) < 0:
            searched = len(self._incoming)
            left = deadline - time.monotonic()
            if left <= 0:
                raise _Fault("wall", f"took over {limit_s:g} s")
            if searched > REPLY_BYTES:
                raise _Fault("unreadable", "gave no readable answer")
            ready = self._poll.poll(max(1, min(left, _CHECK_S) * 1000))
            if not ready and not self.runs():
                raise self._death()
            if not ready and idle_s < math.inf:
                idling = idling or Idling(self._process.pid)
                if idling.look() > idle_s:
                    raise _Fault("wall", f"waited over {idle_s:g} s")
            for descriptor, _ in ready:
                self._move(descriptor)
        line = bytes(self._incoming[:end])
        del self._incoming[: end + 1]
        return line

    def _move(self, descriptor: int) -> None:
        """Write or read as much as the pipe takes or holds."""
        if descriptor == self._stdin:
            try:
                self._outgoing = self._outgoing[os.write(self._stdin, self._outgoing[: 2**16]) :]
            except BlockingIOError:
                return
            except OSError:  # it closed its end: its death shows where its answer is awaited
                self._outgoing = memoryview(b"")
            if not self._outgoing:
                self._poll.unregister(self._stdin)
            return
        data = os.read(self._stdout, 2**16)
        if not data:
            raise self._death()
        self._incoming += data

    def _death(self) -> _Fault:
        deadline = time.monotonic() + _CHECK_S * 10
        while self.runs() and time.monotonic() < deadline:  # its pipes close before it ends
            time.sleep(0.001)
        self.kill()
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            if ended is not None:
                return _Fault.by(ended.si_code != os.CLD_EXITED, ended.si_status)
        return _Fault("crash", "crashed")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it with all it started, and wait for it."""
        self.kill()
        self._process.wait()
        self._close()

    def forget(self) -> None:
        """Let go of a process that is the parent's."""
        self._process.returncode = 0  # not ours to wait for
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _environment() -> dict[str, str]:
    """The parent's, with its import path, one thread, and hashes that do not differ from worker to worker."""
    path = [str(_ROOT), *(os.path.abspath(entry) for entry in sys.path)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}


def _after_fork() -> None:
    for workers in list(_all):
        workers._forget()


@atexit.register
def _close_all() -> None:
    for workers in list(_all):
        workers.close()


os.register_at_fork(after_in_child=_after_fork)

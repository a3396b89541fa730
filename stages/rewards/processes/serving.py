"""A worker's own side of `workers.py`: JSON lines of questions enter on stdin, JSON lines of replies leave on stdout.

A worker program is a module whose main calls `serve`. What it must not be able to do to the process that asked it is
arranged here once: printing does not break the protocol, reading stdin finds nothing, memory and CPU time are limited,
and it ends, with all it started, when its parent ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

Answer = Callable[[Any], Any]
"""What a worker does with one question; both sides are JSON. What it raises ends the worker."""
READY, READY_AGAIN = "ready", "ready again"
"""The first line of a worker; the second one of those that answer in children."""
AGAIN = b"\n#again\n"
"""What such a worker is sent before its next child begins: all before it belongs to the last one."""
_PR_SET_PDEATHSIG = 1
_replies: IO[bytes] | None = None  # this process's own pipe, where it is a worker


def serve(start: Callable[[], Answer | str], *, memory_bytes: int, in_children: bool = False) -> None:
    """Answer questions until stdin closes.

    `start` runs once, with stdout and stdin already out of reach, and returns the answering function, or a sentence
    that says why this worker cannot work. `memory_bytes` limits the address space. A question that takes more CPU time
    than it may ends the process by SIGPROF, whose default action cannot be delayed by a long operation in C. With
    `in_children` a copy of the started process answers, and when a question ends it, another copy is there at once;
    only for what starts no threads.
    """
    global _replies
    questions, replies = _private_pipes()
    _replies = replies
    _end_with_the_parent()
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]  # kept: what this worker starts has a limit of its own
        soft = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = start()
    if not callable(answer):
        _say(replies, answer)
    elif in_children:
        _answer_in_children(answer, questions, replies)
    else:
        _say(replies, READY)
        _answer(answer, questions, replies)


def is_worker() -> bool:
    """Say whether this process is a worker, and so has one core's worth of work to do."""
    return _replies is not None


@contextlib.contextmanager
def starting(limit_s: float) -> Iterator[None]:
    """Tell whoever waits for this process's answer, where it is a worker, that it starts a worker of its own, for at
    most `limit_s`: no question's limit pays for that."""
    if _replies is None:
        yield
        return
    _say(_replies, {"starting": limit_s})
    try:
        yield
    finally:
        _say(_replies, {"started": True})


def _answer(answer: Answer, questions: int, replies: IO[bytes]) -> None:
    """Answer all questions in this process."""
    owner = os.getpid()
    with os.fdopen(questions, "rb") as lines:
        for line in lines:
            number, cpu_s, question = json.loads(line)
            signal.setitimer(signal.ITIMER_PROF, cpu_s)
            try:
                value = answer(question)
            finally:
                if os.getpid() != owner:  # a question that forked: only the worker itself may reply
                    os.kill(os.getpid(), signal.SIGKILL)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _say(replies, [number, value])


def _answer_in_children(answer: Answer, questions: int, replies: IO[bytes]) -> None:
    """Answer all questions in a child; report how it ended and wait for AGAIN before the next one.

    SIGTERM ends the child, not this process."""
    child = 0

    def stop(*_: object) -> None:
        if child:
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    gc.freeze()  # else the first collection in each child would copy all
    while True:
        _say(replies, READY_AGAIN)
        child = os.fork()
        if child == 0:
            for number in (signal.SIGTERM, signal.SIGUSR1):
                signal.signal(number, signal.SIG_DFL)
            _signal_at_the_parents_end(signal.SIGKILL)
            _answer(answer, questions, replies)
            return
        _, status = os.waitpid(child, 0)
        child = 0
        if status == 0:  # the questions came to their end
            return
        replies.write(b"\n")  # it may have died in the middle of a line
        _say(replies, {"ended": status})
        seen = b""
        while not seen.endswith(AGAIN):
            more = os.read(questions, 2**16)
            if not more:
                return
            seen = (seen + more)[-len(AGAIN) :]


def _private_pipes() -> tuple[int, IO[bytes]]:
    """Move the two pipes to descriptors that no library knows; stdin is then empty, and stdout is stderr."""
    questions, replies = os.dup(0), os.fdopen(os.dup(1), "wb", buffering=0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return questions, replies


def _say(replies: IO[bytes], value: Any) -> None:
    data = memoryview(json.dumps(value).encode() + b"\n")
    while data:
        data = data[replies.write(data) :]


def _end_with_the_parent() -> None:
    """Ask the kernel (Linux) for a signal when the parent dies; elsewhere the end of stdin ends an idle worker.

    The kernel also sends it when only the thread that started this worker ends, so the handler looks who is there.
    """
    parent = os.getppid()

    def orphaned(*_: object) -> None:
        if os.getppid() != parent:
            if os.getpgrp() == os.getpid():
                os.killpg(os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGUSR1, orphaned)
    _signal_at_the_parents_end(signal.SIGUSR1)


def _signal_at_the_parents_end(number: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)

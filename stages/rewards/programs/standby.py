"""Sandboxes on standby: a command line and the files of a job enter, a running sandbox leaves in a few milliseconds.

For each command one server (`sandbox_server.py`) waits in bubblewrap, started at the first job and gone with this
process, however it ends: the server ends when the socket closes. Where it cannot take namespaces for a job, every job
gets a server of its own.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence

from stages.core.errors import StageError
from stages.rewards.processes.serving import starting
from stages.rewards.programs.bubblewrap import INSTALL

START_LIMIT_S = 60.0  # wall clock for bubblewrap and the server to start on a busy machine
_servers: dict[tuple[str, ...], Server] = {}
_lock = threading.Lock()


class Gone(Exception):
    """The server is no longer there."""


class Server:
    """A process that waits for jobs, or for one. Raises StageError with the way out where it cannot start."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], *, many: bool) -> None:
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors = os.memfd_create("errors")
        self._turn = threading.Lock()
        self.fault = ""
        """Why it can do one job at most, "" where it can do many."""
        words = [*command, "many" if many else "once", str(theirs.fileno())]
        try:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                cwd="/",
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            self._shut()
            raise StageError(f"the sandbox cannot start: {error}", hint=INSTALL) from error
        finally:
            theirs.close()
        self._asking.settimeout(START_LIMIT_S)
        said = self._heard()[0]
        if said.startswith("once: "):
            self.fault = said
        elif said != "ready":
            told = " ".join(f"{said} {self._said()}".split())[-200:] or "no word from it"
            self.close()
            raise StageError(f"the sandbox cannot start: {told}", hint=INSTALL)

    def begin(self, fds: Sequence[int]) -> int:
        """Begin a job and return a descriptor of its first process (pidfd). `fds`: the job, where outcomes go, where
        errors go, and the pipes of its program. Raises Gone where nobody is there, StageError where it says why not."""
        with self._turn:
            try:
                socket.send_fds(self._asking, [b"job"], fds)
            except OSError as error:
                raise Gone from error
            said, process = self._heard()
        if process is None and not said:
            raise Gone
        if process is None:
            raise StageError(f"the sandbox cannot start: {said}", hint=INSTALL)
        return process

    def close(self) -> None:
        """End it, and with it whatever it began."""
        self._shut()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def forget(self) -> None:
        """In a forked process: it is the parent's."""
        self._shut()
        self.process.returncode = 0  # not to be waited for here

    def _shut(self) -> None:
        self._asking.close()
        with contextlib.suppress(OSError):
            os.close(self._errors)

    def _heard(self) -> tuple[str, int | None]:
        """Return what it says, with the descriptor that comes along."""
        fds = array.array("i")
        try:
            said, more, _, _ = self._asking.recvmsg(400, socket.CMSG_LEN(fds.itemsize), socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return "", None
        for _, _, data in more:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        return said.decode("utf-8", "replace"), fds[0] if fds else None

    def _said(self) -> str:
        """What bubblewrap itself wrote to stderr."""
        size = os.fstat(self._errors).st_size
        return os.pread(self._errors, 2000, max(0, size - 2000)).decode("utf-8", "replace")


def server(command: Sequence[str], environment: dict[str, str]) -> Server:
    """Return the server of a command line, started where there is none. Raises as Server."""
    with _lock:
        known = _servers.get(tuple(command))
        if known is None:
            with starting(START_LIMIT_S):
                known = _servers[tuple(command)] = Server(command, environment, many=True)
        return known


def drop(gone: Server) -> None:
    """Close a server that is not to be asked again."""
    with _lock:
        for command in [command for command, one in _servers.items() if one is gone]:
            del _servers[command]
    gone.close()


def end(process: int) -> None:
    """Kill a process by its descriptor, wait until it is gone (of a namespace's first one: until all in it are), and
    close the descriptor."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll()
    os.close(process)


def _forget_all() -> None:
    global _lock
    _lock = threading.Lock()
    for one in _servers.values():
        one.forget()
    _servers.clear()


def _close_all() -> None:
    while _servers:
        _servers.popitem()[1].close()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)

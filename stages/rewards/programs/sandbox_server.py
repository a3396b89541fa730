"""The process that waits inside bubblewrap for jobs: each enters over a socket and is begun in namespaces of its own.

Starting bubblewrap and two Pythons costs more than most programs run; so one bubblewrap stays, and a job costs a fork.
Every job gets a session, a process namespace, mounts, System V IPC and, where we are no root, a user namespace for
itself, and a fresh `/tmp`, `/dev/shm`, `/dev/pts` and `/proc`; the forked process reads it, does it and is gone. What
waits here never reads a job, so that nothing of one can reach the next, and no program can see or signal it.

`once` in the place of `many`: the process does its only job itself, in the namespaces it already has.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from stages.rewards.programs import assembling, judge, names, subject
from stages.rewards.programs.sandbox_runner import SET_DUMPABLE, Runner, control

SIDES = {"judge": judge.main, "subject": subject.main}
"""What a job may run without a Python of its own."""
_NEW_MOUNTS, _NEW_IPC, _NEW_USER, _NEW_PROCESSES = 0x00020000, 0x08000000, 0x10000000, 0x20000000
_NO_SUID, _NO_DEVICES, _NO_PROGRAMS, _READ_ONLY, _AGAIN = 2, 4, 8, 1, 32  # MS_NOSUID, …, MS_REMOUNT
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_SET_DEATH_SIGNAL, _SET_SUBREAPER, _DROP_BOUND = 1, 36, 24
_CAPABILITIES_3 = 0x20080522
_ROOT_KEEPS = (0, 1, 3, 5, 6, 7, 19)  # CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SYS_PTRACE: over its programs
_LAST_CAPABILITY = 63
_MASKED = ("sys", "sysrq-trigger", "irq", "bus")  # of /proc, as bubblewrap has it
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Say `ready`, or `once` and why there can be no more than one job here; then begin what is asked for."""
    many, asking = sys.argv[1] == "many", socket.socket(fileno=int(sys.argv[2]))
    sys.path.pop(0)
    sys.argv[1:] = []
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    control(SET_DUMPABLE, 0)  # a program of the same user may not open this process's memory
    names.load_all()
    assembling.load_all()
    gc.freeze()
    if many:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who is done leaves nothing
        if fault := _tried():
            asking.send(f"once: {fault}"[:300].encode())
            return
    asking.send(b"ready")
    while True:
        said, fds, _, _ = socket.recv_fds(asking, 64, 16, socket.MSG_CMSG_CLOEXEC)
        if not said:
            return
        if not many:
            socket.send_fds(asking, [b"begun"], [os.pidfd_open(os.getpid())])
            asking.close()
            return _do(fds)
        _begin(asking, fds)
        for fd in fds:
            os.close(fd)


def _begin(asking: socket.socket, fds: list[int]) -> None:
    """Fork a process that does the job in new namespaces, and tell a descriptor of it."""
    between = os.fork()
    if between:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(between, 0)
        return
    try:
        _leave_user()
        _call("unshare", _NEW_PROCESSES)
        first = os.fork()
        if not first:
            asking.close()
            _do(fds, nested=True)
        else:
            socket.send_fds(asking, [b"begun"], [os.pidfd_open(first)])
    except BaseException as error:  # noqa: BLE001  whatever it is, nobody waits for more
        with contextlib.suppress(OSError):
            asking.send(f"{type(error).__name__}: {error}"[:300].encode())
    finally:
        os._exit(0)


def _do(fds: list[int], *, nested: bool = False) -> None:
    """Read the job from the first descriptor and do it; outcomes go to the second, what goes wrong to the third."""
    feed, results, errors, *pipes = fds
    os.dup2(errors, 2)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    control(SET_DUMPABLE, 0)
    if os.getpgrp() != os.getpid():  # a signal to a group knows no namespace
        os.setsid()
    if os.getpid() != 1:
        control(_SET_SUBREAPER, 1)
        control(_SET_DEATH_SIGNAL, signal.SIGKILL)
    with os.fdopen(feed, "rb") as file:
        job: dict[str, Any] = json.loads(file.readline())
        blobs = [file.read(size) for size in job["sizes"]]
    if nested:
        _mount(job["limits"]["disk_mb"])
        _keep(_ROOT_KEEPS if os.geteuid() == 0 else ())
    os.write(results, b"ready\n")
    Runner(job, blobs, results, pipes, SIDES).run()


def _leave_user() -> None:
    """Where this is no root's process, take a user namespace with the same user in it, and all power over it."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return
    control(SET_DUMPABLE, 1)
    _call("unshare", _NEW_USER)
    for name, said in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(said)


def _mount(disk_mb: int) -> None:
    """Take a mount namespace, and put empty folders in memory over all that a program can write or see."""
    _call("unshare", _NEW_MOUNTS | _NEW_IPC)
    _call("mount", b"none", b"/", None, _RECURSIVE | _PRIVATE, None)
    _call("mount", b"proc", b"/proc", b"proc", _NO_SUID | _NO_DEVICES | _NO_PROGRAMS, None)
    for name in _MASKED:
        path = f"/proc/{name}".encode()
        if os.access(path, os.W_OK):
            _call("mount", path, path, None, _BIND, None)
            flags = _BIND | _AGAIN | _READ_ONLY | _NO_SUID | _NO_DEVICES | _NO_PROGRAMS
            _call("mount", None, path, None, flags, None)
    for path in (b"/tmp", b"/dev/shm"):
        room = f"size={disk_mb * 2**20},mode=1777".encode()
        _call("mount", b"tmpfs", path, b"tmpfs", _NO_SUID | _NO_DEVICES, room)
    terminals = b"newinstance,ptmxmode=0666,mode=620"
    _call("mount", b"devpts", b"/dev/pts", b"devpts", _NO_SUID | _NO_PROGRAMS, terminals)
    os.chdir("/tmp")


def _keep(wanted: tuple[int, ...]) -> None:
    """Give up all power over the system but the capabilities named, for this process and what it starts."""
    for number in range(_LAST_CAPABILITY + 1):
        if number not in wanted:
            with contextlib.suppress(OSError):  # beyond the last one that this kernel has
                control(_DROP_BOUND, number)
    mask = sum(1 << number for number in wanted)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)  # effective, permitted, inheritable; twice 32 bits
    _call("capset", struct.pack("=Ii", _CAPABILITIES_3, 0), data)


def _tried() -> str:
    """Say why namespaces cannot be taken here, "" when they can."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            _leave_user()
            _call("unshare", _NEW_PROCESSES)
            if not os.fork():
                said = b""
                try:
                    _mount(1)
                    _keep(_ROOT_KEEPS if os.geteuid() == 0 else ())
                    said = b"done"
                finally:
                    os.write(writing, said or repr(sys.exc_info()[1]).encode()[:200])
                    os._exit(0)
        except BaseException as error:  # noqa: BLE001
            os.write(writing, repr(error).encode()[:200])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        told = file.read().decode("utf-8", "replace")
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
    return "" if told == "done" else told or "no word"


def _call(name: str, *values: Any) -> None:
    """Call a function of the C library; raises OSError with its name."""
    given = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in values]
    if getattr(_libc, name)(*given) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


if __name__ == "__main__":
    main()

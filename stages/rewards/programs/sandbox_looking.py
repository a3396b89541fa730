"""What the kernel tells of running processes: an id enters, what /proc says of it leaves. Runs inside the sandbox."""

from __future__ import annotations

import contextlib
import os
import resource

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
_FORKS = {"x86_64": (b"56 ", b"58 "), "aarch64": (b"220 ",)}.get(os.uname().machine, ())


def reaped_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stat_of(path: str) -> list[str]:
    """Return the fields of a stat file from the third on (the state), [] when the process is gone."""
    try:
        with open(path, "rb") as file:
            return file.read().rsplit(b")", 1)[1].decode().split()
    except (OSError, IndexError):
        return []


def threads_of(pid: int) -> list[str]:
    try:
        return [f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def busy_s(thread: str) -> float | None:
    try:
        with open(f"{thread}/schedstat", "rb") as file:
            running, waiting, _ = file.read().split()
        return (int(running) + int(waiting)) / 1e9
    except (OSError, ValueError):
        return None


def forks(thread: str) -> bool:
    """Say whether a thread that cannot be interrupted waits for a child of vfork, and not for a disk."""
    return any(begins(f"{thread}/syscall", number) for number in _FORKS)


def begins(path: str, start: bytes) -> bool:
    """Say whether a file begins so, or cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return True


def proportional(pid: int) -> int:
    """Return a process's bytes with shared pages divided among those who share them; resident bytes where the kernel
    does not say."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    stat = stat_of(f"/proc/{pid}/stat")
    return int(stat[21]) * PAGE if stat else 0

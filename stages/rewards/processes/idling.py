"""How long a process has neither computed nor waited for its turn to: a process id enters, seconds leave.

A worker that waits for what never comes uses no CPU time, so no limit of that ends it; and wall time would end one that
a busy machine keeps from running. The kernel (Linux) counts both for each thread: what it ran, and what it waited for a
core. Where it does not tell, nobody idles.
"""

from __future__ import annotations

import os
import time


class Idling:
    """Looks at a process and all that it started."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._at, self._busy_s = time.monotonic(), busy_s(pid)
        self.idle_s = 0.0

    def look(self) -> float:
        """Return the seconds that it has idled since the beginning, this moment included."""
        now, busy = time.monotonic(), busy_s(self._pid)
        gap, self._at = now - self._at, now
        if busy is not None and self._busy_s is not None:
            self.idle_s += max(0.0, gap - max(0.0, busy - self._busy_s))
        self._busy_s = busy
        return self.idle_s


def busy_s(pid: int) -> float | None:
    """Return the seconds that all threads of a process and of its descendants that live have run or waited for a core;
    None where the kernel does not tell or one of them waits for a disk."""
    total, waiting, seen = 0.0, [pid], set[int]()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        try:
            threads = [f"/proc/{one}/task/{thread}" for thread in os.listdir(f"/proc/{one}/task")]
            for thread in threads:
                ran, waited, _ = _read(f"{thread}/schedstat").split()
                total += (int(ran) + int(waited)) / 1e9
                if _read(f"{thread}/stat").rpartition(b")")[2].split()[0] == b"D":
                    return None
                waiting += map(int, _read(f"{thread}/children").split())
        except (OSError, ValueError, IndexError):
            if one == pid:
                return None
    return total


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()

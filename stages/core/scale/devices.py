"""The devices a plan can be made for: a name such as `h200x8` enters, memory, speed and count leave.

Published figures of the makers: NVIDIA's data sheets (A100 80GB SXM, H100 SXM, H200 SXM, B200, L4, L40S, RTX 4090 (GA:
Ada whitepaper, appendix A); dense bfloat16 without sparsity) and AMD's (MI300X). What part of them a run reaches is a
guess, said where it is used (`work`). A CPU is counted in cores; its speed was measured on this project's own machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.core.errors import MissingError, nearest
from stages.core.run.runtime import Runtime, available_cores

GB = 10**9


@dataclass(frozen=True)
class Device:
    """One device, and how many of it."""

    name: str
    memory: int
    """Bytes of each."""
    flops: float
    """Dense bfloat16 operations a second of each."""
    bandwidth: float
    """Bytes of its memory read a second, each."""
    count: int = 1
    present: bool = False
    """Whether it is that of this machine."""

    @property
    def cpu(self) -> bool:
        """Whether it is the processor."""
        return self.name == "cpu"

    @property
    def kind(self) -> Literal["cpu", "cuda"]:
        """What torch calls its kind."""
        return "cpu" if self.cpu else "cuda"

    @property
    def text(self) -> str:
        """`h200 x 8`."""
        return self.name if self.count == 1 else f"{self.name} x {self.count}"


KNOWN = {
    one.name: one
    for one in (
        Device("l4", 24 * GB, 121e12, 300e9),
        Device("rtx4090", 24 * GB, 165e12, 1008e9),
        Device("l40s", 48 * GB, 362e12, 864e9),
        Device("a100-40gb", 40 * GB, 312e12, 1555e9),
        Device("a100", 80 * GB, 312e12, 2039e9),
        Device("h100", 80 * GB, 989e12, 3350e9),
        Device("h800", 80 * GB, 989e12, 3350e9),
        Device("h200", 141 * GB, 989e12, 4800e9),
        Device("b200", 180 * GB, 2250e12, 7700e9),
        Device("mi300x", 192 * GB, 1307e12, 5300e9),
    )
}
"""Name -> one of it."""
CORE_FLOPS, CORE_BANDWIDTH = 5e10, 8e9
"""Of one core in float32: measured on two cores with AVX-512 (docs/scale.md)."""


def named(text: str) -> Device:
    """The device of a name, `NAMExCOUNT` for several; raises MissingError with the nearest name."""
    found = re.fullmatch(r"([a-z0-9-]+?)(?:x(\d{1,5}))?", text.strip().lower())
    name, count = (found[1], int(found[2] or 1)) if found else (text, 1)
    if name not in KNOWN or count < 1:
        hint = f"{nearest(name, KNOWN)}All devices: {', '.join(KNOWN)}; several: `--device h200x8`"
        raise MissingError(f"no device `{text}` is known", hint=hint)
    one = KNOWN[name]
    return Device(one.name, one.memory, one.flops, one.bandwidth, count)


def present(runtime: Runtime) -> Device:
    """The device of this machine that a runtime asks for, looked at without torch: a GPU by nvidia-smi."""
    gpus = _gpus() if runtime.device != "cpu" else []
    if gpus:
        name, size = gpus[0]
        kin = next((one for key, one in KNOWN.items() if key.partition("-")[0] in name.lower().split()), KNOWN["a100"])
        return Device(name, size, kin.flops, kin.bandwidth, 1, present=True)
    cores = runtime.threads or len(available_cores())
    return Device("cpu", ram(), CORE_FLOPS * cores, CORE_BANDWIDTH * cores, 1, present=True)


def ram() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's share."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")  # "max" where the container has none
    allowed = limit.read_text(encoding="ascii").strip() if limit.is_file() else ""
    return min(total, int(allowed)) if allowed.isdigit() else total


def available() -> int | None:
    """Bytes of memory that nobody uses now, swap included; None where the system does not say."""
    file = Path("/proc/meminfo")
    lines = file.read_text(encoding="ascii").splitlines() if file.is_file() else []
    found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return found["MemAvailable"] + found.get("SwapFree", 0) if "MemAvailable" in found else None


def _gpus() -> list[tuple[str, int]]:
    """(name, bytes) of each GPU that nvidia-smi knows."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    rows = (line.rpartition(",") for line in done.stdout.splitlines()) if done.returncode == 0 else ()
    return [(name.strip(), int(size) * 2**20) for name, _, size in rows if size.strip().isdigit()]

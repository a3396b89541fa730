"""What a training run costs: how much is trained, how much memory it takes and how long a step lasts.

An optimizer and what was noted at each step enter, plain figures for the artifact's record leave; they are what GRPO
and PPO are compared by beside the score. A resumed run adds to what its checkpoint carried.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

MIB = 2**20


def restart_peak(device: torch.device | str) -> None:
    """Measure the highest memory from now on, where the system lets us: what earlier work took is handed back first."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        return  # not Linux: the peak is then that of the whole process


def peak_memory_mb(device: torch.device | str) -> float:
    """Return the highest memory since restart_peak in MiB: of the device's tensors, or resident on a CPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / MIB if sys.platform == "darwin" else highest / 1024


def note(carried: dict[str, Any], figures: Mapping[str, Any], device: torch.device | str) -> None:
    """Add the seconds of a step to what the checkpoints carry, and raise the peak."""
    seconds = sum(value for name, value in figures.items() if name.startswith("seconds_"))
    carried["seconds"] = carried.get("seconds", 0.0) + seconds
    carried["peak_memory_mb"] = max(carried.get("peak_memory_mb", 0.0), peak_memory_mb(device))


def summed_up(optimizer: torch.optim.Optimizer, carried: Mapping[str, Any], steps: int) -> dict[str, float]:
    """Return `trained_parameters`, `trained_mb` (their weights and the optimizer's state), `peak_memory_mb` (MiB) and
    `seconds_per_step`.
    """
    trained = [one for group in optimizer.param_groups for one in group["params"]]
    moments = [part for state in optimizer.state.values() for part in state.values() if isinstance(part, torch.Tensor)]
    return {
        "trained_parameters": sum(one.numel() for one in trained),
        "trained_mb": sum(one.numel() * one.element_size() for one in (*trained, *moments)) / MIB,
        "peak_memory_mb": round(carried["peak_memory_mb"], 1),
        "seconds_per_step": round(carried["seconds"] / steps, 4),
    }

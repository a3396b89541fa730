"""What a training run costs: how much is trained, how much memory it takes and how long a step lasts.

A device or an optimizer enters, plain figures for the artifact's record leave; they are what GRPO and PPO are compared
by beside the score. A resumed run adds to what its checkpoint holds.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

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


def trained_parameters(optimizer: torch.optim.Optimizer) -> int:
    """Return how many numbers an optimizer moves."""
    return sum(one.numel() for one in _trained(optimizer))


def trained_mb(optimizer: torch.optim.Optimizer) -> float:
    """Return what an optimizer moves and remembers, in MiB: the weights it trains and its own state."""
    moments = [part for state in optimizer.state.values() for part in state.values() if isinstance(part, torch.Tensor)]
    return sum(one.numel() * one.element_size() for one in (*_trained(optimizer), *moments)) / MIB


def _trained(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [one for group in optimizer.param_groups for one in group["params"]]

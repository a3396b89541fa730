"""Where tensors live: the runtime's words enter, a torch device leaves."""

from __future__ import annotations

import torch

from stages.core.runtime import Runtime


def place(runtime: Runtime) -> str:
    """Return the device that `runtime.device` names, `auto` decided, and give torch its number of threads."""
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    if runtime.device != "auto":
        return runtime.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def described(device: str) -> str:
    """Name a device for the record, such as `cpu (2 threads)` or `cuda (NVIDIA H200)`."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"

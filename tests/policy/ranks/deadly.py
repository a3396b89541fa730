"""A reward that kills the second of two training processes once, as a machine that is short of memory does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from stages.core.contract import Contract
from stages.core.rows import Prompt

FUSE = "deadly"
"""A file in R1_HOME: while it is there, and a checkpoint is, the next judgement of rank 1 kills."""


def low_bytes(completion: str, row: Prompt, contract: Contract) -> float:
    """As `tests.policy.tiny.low_bytes`; it runs in a worker, whose parent is the training process."""
    fuse = Path(os.environ["R1_HOME"]) / FUSE
    if os.environ.get("RANK") == "1" and fuse.exists() and list(fuse.parent.glob(".work/*/scratch/checkpoints/step-*")):
        fuse.unlink()
        os.kill(os.getppid(), signal.SIGKILL)
    return sum(letter < "@" for letter in completion) / max(len(completion), 1)

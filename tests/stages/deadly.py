"""A reward that writes down what it judges, and once kills the process that asked it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from stages.core.contract import Contract
from stages.core.rows import Prompt

REWARD = "tests.stages.deadly:short"


def short(completion: str, row: Prompt, contract: Contract, folder: str = "", at: str = "") -> float:
    """1 / length; at the row `at` the process above this one dies, unless `folder`/killed says that it has."""
    with (Path(folder) / "judged").open("a") as file:
        file.write(f"{row.id}\n")
    killed = Path(folder) / "killed"
    if row.id == at and not killed.exists():
        killed.touch()
        os.kill(os.getppid(), signal.SIGKILL)
    return 1 / max(1, len(completion))

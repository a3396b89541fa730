"""Where an artifact came from: code, command, libraries, machine, time.

What enters: the runtime and the events of the work. What leaves: a plain dict for the record. Nothing here is guessed:
a commit that could not be read is null, and so is `dirty`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from stages.core.run import events
from stages.core.run.runtime import Runtime

LIBRARIES = ("torch", "transformers", "trl", "accelerate", "tokenizers", "safetensors", "numpy", "peft", "vllm", "r1")


def collect(runtime: Runtime, event_file: Path) -> dict[str, Any]:
    """commit, dirty, argv, versions, device, time (ISO 8601, UTC) and seconds (earlier, killed attempts included)."""
    from datetime import UTC, datetime

    commit, dirty = code_version()
    return {
        "commit": commit,
        "dirty": dirty,
        "argv": list(sys.argv),
        "versions": versions(),
        "device": device(runtime, event_file),
        **({"processes": runtime.processes} if runtime.world_size > 1 else {}),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds_spent(event_file), 1),
    }


def code_version() -> tuple[str | None, bool | None]:
    """(commit, dirty) of the repository that tracks this package; (None, None) for an installed copy or without git."""
    root = Path(__file__).resolve().parents[3]
    if _git(root, "ls-files", "--error-unmatch", "stages/core/run/provenance.py") is None:
        return None, None  # not tracked here: a repository around site-packages is somebody else's
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    return commit, None if changes is None else bool(changes)


def code_sha256() -> str:
    """Return the hash of all Python files of this package."""
    package, code = Path(__file__).resolve().parents[2], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        code.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return code.hexdigest()


def versions() -> dict[str, str]:
    """Library -> installed version, of those in LIBRARIES that are installed, and python; nothing is imported."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device(runtime: Runtime, event_file: Path) -> dict[str, Any]:
    """What the work asked for and, where the stage said so in a `device` event, what it really ran on."""
    import platform

    told = events.read(event_file, "device")
    return {
        "asked": runtime.device,
        "used": told[-1].get("device") if told else None,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": runtime.threads,
    }


def seconds_spent(event_file: Path) -> float:
    """Wall seconds of all attempts, each counted from its `attempt` event to its last event before a kill."""
    total, start, last = 0.0, None, 0.0
    for line in events.read(event_file):
        if line["event"] == "attempt":
            total += last - start if start is not None else 0.0
            start = line["time"]
        last = line["time"]
    return total + (last - start if start is not None else 0.0)


def _git(folder: Path, *arguments: str) -> str | None:
    import subprocess

    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""Checkpoints that are whole or absent: a folder of files enters, the newest folder that can be trusted leaves.

A killed run must lose at most the steps since its last checkpoint, and never be misled by half of one. So a checkpoint
is written as a draft, listed in a manifest with the size and hash of each file, flushed to the disk, and only then
renamed into place; what does not match its manifest is passed over. Nothing here knows what the files mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from stages.policy.ranks.world import world

MANIFEST = "manifest.json"
KEPT = 2
"""Whole checkpoints kept: the newest, and the one before it in case a disk loses the newest."""

_STEP = re.compile(r"step-(\d{6,})")


class Checkpoints:
    """The checkpoints of one run under `folder`, named `step-000040`; drafts are written to `folder/draft` first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.draft = folder / "draft"
        folder.mkdir(parents=True, exist_ok=True)

    def fresh_draft(self) -> Path:
        """Return an empty draft folder; whatever a killed run left in it is gone. Of several processes the first
        empties it."""
        if world().first:
            shutil.rmtree(self.draft, ignore_errors=True)
        self.draft.mkdir(parents=True, exist_ok=True)
        return self.draft

    def seal(self, source: Path, step: int) -> Path:
        """Turn a folder of files into the checkpoint of `step`, drop those older than the newest two, and return its
        path.
        """
        target = self.folder / f"step-{step:06d}"
        seal_folder(source, target)
        for old in self._newest_first()[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def latest(self, on_torn: Callable[[str], None]) -> Path | None:
        """Return the newest whole checkpoint, or None; each torn one on the way is removed, and told in a sentence."""
        for path in self._newest_first():
            fault = folder_fault(path)
            if not fault:
                return path
            on_torn(f"checkpoint {path.name} is torn ({fault}) and ignored")
            shutil.rmtree(path, ignore_errors=True)
        return None

    def whole(self) -> Iterator[Path]:
        """Yield the checkpoints in place, newest first, without reading them."""
        yield from self._newest_first()

    def _newest_first(self) -> list[Path]:
        found = [path for path in self.folder.iterdir() if _STEP.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """Return the optimizer step that a checkpoint's name states."""
    match = _STEP.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is no checkpoint")
    return int(match.group(1))


def seal_folder(source: Path, target: Path) -> None:
    """Make `source` durable under the name `target` in one act: manifest, flush to disk, rename. An older `target`
    gives way.
    """
    files = sorted(path for path in source.rglob("*") if path.is_file() and path.name != MANIFEST)
    listed = {str(path.relative_to(source)): {"size": path.stat().st_size, "sha256": _sha256(path)} for path in files}
    manifest = source / MANIFEST
    manifest.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    for path in (*files, manifest, source):
        _flush(path)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(source, target)
    _flush(target.parent)


def folder_fault(path: Path) -> str:
    """Say what is wrong with a sealed folder; "" when every listed file is there with its size and hash."""
    try:
        listed = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "no readable manifest"
    for name, facts in listed.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != facts["size"] or _sha256(file) != facts["sha256"]:
            return f"{name} is not what was written"
    return ""


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

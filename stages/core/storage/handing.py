"""A sealed artifact's files leave the store for a folder that others read: all of them, or none.

Files and a folder enter; the folder holds them whole, or nothing has changed. What lies there already is never
overwritten.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from stages.core.errors import InputError
from stages.core.storage import disk

CARD = "released as `"
"""Words that each card holds, and no other text: what lacks them is somebody's own, and stays."""


def refuse_taken(target: Path, texts: Collection[str]) -> None:
    """Raise InputError where nothing could be put at `target`: it is a file or a folder with something in it, or a text
    (by path) beside it is not a card; also where it cannot be made."""
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise InputError(f"`{target}` is there already", hint="name one that is not there yet")
    for text in texts:
        _refuse_own(Path(text))
    above = next(one for one in target.absolute().parents if one.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"`{target}` cannot be made: `{above}` is not open to us", hint="name another place")


def _refuse_own(text: Path) -> None:
    if text.exists() and CARD not in text.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"`{text}` is there already, and is no card", hint="move it, or name another target")


def place(files: Sequence[Path], texts: Mapping[str, str], target: Path) -> bool:
    """Copy files and write texts (name -> content) into a new folder `target`; returns whether anything was written.

    A folder that holds these very files is left as it is, but for its texts, which are brought up to date. Raises
    InputError where `target` is a file, or holds others or other files; DiskError when the disk is full.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"`{target}` is a file", hint="name a folder that is not there yet")
    if target.is_dir() and any(target.iterdir()):
        _refuse_others(files, texts, target)
        there = {target / name: text for name, text in texts.items()}
        stale = [file for file in there if not file.is_file() or file.read_text("utf-8") != there[file]]
        for file in stale:
            place_card(there[file], file)
        return bool(stale)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with disk.full_disk_in_words(target.parent):
        try:
            draft.mkdir()
            for file in files:
                shutil.copyfile(file, draft / file.name)
            for name, text in texts.items():
                (draft / name).write_text(text, encoding="utf-8")
            os.replace(draft, target)  # an empty folder may be replaced
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return True


def place_file(file: Path, target: Path) -> None:
    """Copy one file to `target`, whole or not at all. Raises InputError where another file is there."""
    if target.exists():
        if target.is_dir() or disk.hash_file(target) != disk.hash_file(file):
            raise InputError(
                f"`{target}` is there already, and is something else", hint="name a file that is not there"
            )
        return
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with disk.full_disk_in_words(target.parent):
        try:
            shutil.copyfile(file, draft)
            os.replace(draft, target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def place_card(text: str, target: Path) -> None:
    """Write a card to `target`, over an earlier one. Raises InputError where another text is there."""
    _refuse_own(target)
    disk.write_atomically(target, text)


def _refuse_others(files: Sequence[Path], texts: Mapping[str, str], target: Path) -> None:
    """Raise InputError where a folder holds anything else than these files, whatever its texts say."""
    known = {file.name: file for file in files}
    for there in sorted(target.iterdir()):
        same = there.name in texts or (
            there.name in known
            and there.stat().st_size == known[there.name].stat().st_size
            and disk.hash_file(there) == disk.hash_file(known[there.name])
        )
        if not same:
            what = f"`{target}` holds another `{there.name}`"
            raise InputError(what, hint="name a folder that is not there yet, or remove that one first")
    missing = [name for name in known if not (target / name).is_file()]
    if missing:
        what = f"`{target}` holds a part of this release, and no `{missing[0]}`"
        raise InputError(what, hint="remove that folder, then run the same command")

"""Where sealed artifacts live, and the only code that adds, removes or checks them.

What enters: workspaces with finished files. What leaves: numbered folders that never change. Layout of $R1_HOME:

    zero/3/                  a sealed artifact: its files, recipe.yaml, events.jsonl and, written last, artifact.json
    .work/zero-1f0c…/        an unsealed workspace; its lock is held while somebody works there
    .hashes/                 size and times of files when last hashed, so that trusting an input costs a stat

A numbered folder without artifact.json is not an artifact. Numbers are never given twice.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.artifact import KINDS, RECORD, Artifact, Record
from stages.core.errors import AskedWrongly, InputError, MissingError, StageError, TamperedError, nearest
from stages.core.fingerprint import fingerprint as fingerprint_of
from stages.core.storage import disk

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"}
_NO_PICKLES = {"model", "judge"}
_LIST = "all artifacts: `r1 artifacts list`"


class Pruned(NamedTuple):
    """What `prune` did, by address or folder name."""

    removed: list[str]
    """Artifacts and workspaces that are gone."""
    protected: dict[str, list[str]]
    """Superseded artifacts that stayed -> the artifacts that descend from them."""
    locked: list[str]
    """Workspaces somebody works in."""


class Store:
    """A folder of sealed artifacts, $R1_HOME or ~/.r1 unless told otherwise."""

    def __init__(self, home: Path | None = None) -> None:
        chosen = home or os.environ.get("R1_HOME") or Path.home() / ".r1"
        self.home = Path(chosen).expanduser().absolute()
        self._listed: tuple[list[tuple[str, int]], list[Artifact]] = ([], [])

    # -- looking

    def open(self, address: str) -> Artifact:
        """The artifact `name@N`, or the newest called `name`; reads the record only.

        Raises MissingError for an unknown one and TamperedError for an unreadable record.
        """
        name, number = parse_address(address)
        numbers = self._numbers(name)
        wanted = number or (numbers[-1] if numbers else 0)
        if wanted not in numbers:
            hint = _LIST
            if numbers and number:
                hint = f"`{name}` has {', '.join(f'@{n}' for n in numbers[-5:])}; {_LIST}"
            raise MissingError(f"no artifact `{address}`", hint=nearest(name, self._names()) * (not numbers) + hint)
        return self._load(self.home / name / str(wanted))

    def all(self) -> list[Artifact]:
        """Every artifact with a readable record, by name and number; see `damaged` for the others."""
        return [artifact for name in self._names() for artifact in self._called(name)]

    def damaged(self) -> list[str]:
        """Addresses whose record cannot be read; they are in no listing and never reused."""
        every = {f"{name}@{number}" for name in self._names() for number in self._numbers(name)}
        return sorted(every - {artifact.address for artifact in self.all()})

    def newest(self, name: str) -> Artifact | None:
        """The newest readable artifact of a name, or None."""
        called = self._called(name)
        return called[-1] if called else None

    def find(self, fingerprint: str, name: str | None = None) -> Artifact | None:
        """The newest artifact with this fingerprint; one called `name` is preferred. None when nothing matches."""
        found = [artifact for artifact in self._seen() if artifact.fingerprint == fingerprint]
        found.sort(key=lambda artifact: (artifact.name == name, artifact.record.provenance.get("time", "")))
        return self._load(found[-1].path) if found else None  # its record may have been edited since it was listed

    def next_address(self, name: str) -> str:
        """The address the next artifact of this name will get if nobody else seals one first."""
        return f"{name}@{self._next_number(name)}"

    def lineage(self, address: str) -> list[Artifact]:
        """Everything the artifact descends from, oldest first, and the artifact itself last.

        Ancestors that were never brought here (an artifact unpacked alone) are absent; the records still name them.
        """
        ordered: dict[str, Artifact] = {}

        def walk(artifact: Artifact) -> None:
            for parent in artifact.record.inputs.values():
                if parent not in ordered and (folder := self._sealed_folder(parent)):
                    walk(self._load(folder))
            ordered[artifact.address] = artifact

        walk(self.open(address))
        return list(ordered.values())

    def descendants(self, address: str) -> list[str]:
        """Addresses of all artifacts that descend from this one, directly or not, by name and number."""
        everything = self.all()
        family = {address}
        for _ in everything:
            grown = family | {a.address for a in everything if family & set(a.record.inputs.values())}
            if grown == family:
                break
            family = grown
        return [artifact.address for artifact in everything if artifact.address in family - {address}]

    def diff(self, left: str, right: str) -> dict[str, tuple[Any, Any]]:
        """What differs between two artifacts: `recipe.x`, `inputs.x`, `metrics.x`, stage, version -> (left, right)."""
        one, two = _facts(self.open(left).record), _facts(self.open(right).record)
        keys = [*one, *(key for key in two if key not in one)]
        return {key: (one.get(key), two.get(key)) for key in keys if one.get(key) != two.get(key)}

    # -- trusting

    def verify(self, address: str) -> Artifact:
        """Hashes every byte of an artifact against its record; raises TamperedError naming what differs."""
        artifact = self.open(address)
        self._compare(artifact, None)
        return artifact

    def trust(self, artifact: Artifact) -> Artifact:
        """Checks an artifact about to be consumed or reused; raises TamperedError as `verify` does.

        Cheap on purpose: a file is hashed again only when its size, mtime, ctime or inode changed since the store last
        read all of it (at seal, or in an earlier check). That catches every edit; bytes that rotted on the disk are
        caught by `verify`, which reads everything.
        """
        self._compare(artifact, self._hash_cache(artifact.address))
        return artifact

    # -- adding

    def workspace_path(self, name: str, fingerprint: str) -> Path:
        """Where the work of this fingerprint lies until it is sealed; may not exist."""
        return self.home / ".work" / f"{check_name(name)}-{fingerprint[:12]}"

    @contextmanager
    def workspace(self, name: str, fingerprint: str) -> Iterator[Path]:
        """Holds the workspace of a fingerprint, with whatever an earlier attempt left there; LockedError when held."""
        path = self.workspace_path(name, fingerprint)
        with disk.full_disk_in_words(path), disk.locked(path):
            yield path

    def remember(self, workspace: Path, found: dict[Path, str]) -> None:
        """Note hashes of files that were hashed while they were written: sealing need not read them again."""
        disk.remember(found, workspace, self._work_cache(workspace))

    def seal(self, workspace: Path, record: Record) -> Artifact:
        """Freezes a workspace under the next number: flush, hash, write the record, rename. The rename is the last act.

        `record.number`, `files` and `seal` are filled in here. Raises StageError for a pickle in a model or a link
        anywhere, and DiskError when the disk is full; the workspace then stays as it was, and resumable.
        """
        check_name(record.name)
        with disk.full_disk_in_words(workspace):
            (workspace / RECORD).unlink(missing_ok=True)
            _refuse_links_and_pickles(workspace, record.kind)
            for path in disk.tree_files(workspace):
                disk.flush(path)
            cache = self._work_cache(workspace)
            files = disk.hash_tree(workspace, cache)
            home = self.home / record.name
            home.mkdir(parents=True, exist_ok=True)
            while True:
                number = self._next_number(record.name)
                sealed = replace(record, number=number, files=files)
                sealed = replace(sealed, seal=sealed.digest())
                (workspace / RECORD).write_text(sealed.text(), encoding="utf-8")
                disk.flush(workspace / RECORD)
                disk.flush(workspace)
                if _rename_if_free(workspace, home / str(number)):
                    break
            disk.flush(home)
            self._listed = ([], [])  # two seals may share a tick of the clock
            os.replace(cache, self._hash_cache(sealed.address))
        return self._load(home / str(number))

    # -- removing

    def remove(self, address: str) -> None:
        """Removes one artifact; raises AskedWrongly, naming them, when others descend from it."""
        name, number = parse_address(address)
        if not number:
            raise AskedWrongly(f"`{address}` is a name, not one artifact", hint=f"say which, e.g. `{name}@1`; {_LIST}")
        folder = self._sealed_folder(address)
        if folder is None:
            raise MissingError(f"no artifact `{address}`", hint=_LIST)
        children = self.descendants(address)
        if children:
            what = f"`{address}` stays: {', '.join(children)} descends from it"
            raise AskedWrongly(what, hint=f"remove those first: `r1 artifacts rm {' '.join(reversed(children))}`")
        disk.write_atomically(self.home / name / ".last", str(self._next_number(name) - 1))
        doomed = self.home / ".work" / f"removed-{name}-{number}-{os.getpid()}"
        doomed.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, doomed)  # from here on it is no artifact, whatever happens to the rest
        shutil.rmtree(doomed)
        self._hash_cache(address).unlink(missing_ok=True)

    def prune(self, keep: int | None = None) -> Pruned:
        """Removes unsealed workspaces nobody holds and, when `keep` is given, all but the newest `keep` of each name.

        What a remaining artifact descends from is protected and reported. `keep` must be 1 or more.
        """
        if keep is not None and keep < 1:
            raise AskedWrongly(f"cannot keep {keep} of each name", hint="use 1 or more: `r1 artifacts prune --keep 1`")
        removed, locked = self._prune_workspaces()
        superseded = [] if keep is None else [a.address for n in self._names() for a in self._called(n)[:-keep]]
        protected = {address: self.descendants(address) for address in superseded}
        while free := [address for address, children in protected.items() if not children]:
            for address in free:
                self.remove(address)
                removed.append(address)
                del protected[address]
            protected = {address: self.descendants(address) for address in protected}
        return Pruned(removed, protected, locked)

    # -- within

    def _names(self) -> list[str]:
        if not self.home.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(self.home) if entry.is_dir() and _NAME.fullmatch(entry.name))

    def _seen(self) -> list[Artifact]:
        """`all`, read again only when a folder of artifacts changed: a plan of n nodes asks n times."""
        state = [(name, (self.home / name).stat().st_mtime_ns) for name in self._names()]
        if state != self._listed[0]:
            self._listed = (state, self.all())
        return self._listed[1]

    def _numbers(self, name: str) -> list[int]:
        folder = self.home / name
        if not folder.is_dir():
            return []
        numbers = [int(entry.name) for entry in os.scandir(folder) if _is_number(entry.name)]
        return sorted(number for number in numbers if (folder / str(number) / RECORD).is_file())

    def _called(self, name: str) -> list[Artifact]:
        found: list[Artifact] = []
        for number in self._numbers(name):
            try:
                found.append(self._load(self.home / name / str(number)))
            except TamperedError:
                continue  # told by `damaged`, and by `open` when asked for
        return found

    def _next_number(self, name: str) -> int:
        folder = self.home / name
        if not folder.is_dir():
            return 1
        last = folder / ".last"
        given = [int(last.read_text())] if last.is_file() else [0]
        return max(given + [int(entry.name) for entry in os.scandir(folder) if _is_number(entry.name)]) + 1

    def _sealed_folder(self, address: str) -> Path | None:
        name, number = parse_address(address)
        folder = self.home / name / str(number)
        return folder if (folder / RECORD).is_file() else None

    def _load(self, folder: Path) -> Artifact:
        record = Record.read(folder)
        kind = KINDS.get(record.kind)
        if kind is None or record.address != f"{folder.parent.name}@{folder.name}":
            hint = f"restore it from a pack, or remove the folder {folder} and build it again"
            raise TamperedError("the record does not belong to its folder", where=str(folder / RECORD), hint=hint)
        return kind(folder, record)

    def _work_cache(self, workspace: Path) -> Path:
        return self.home / ".hashes" / f"{workspace.name}.json"

    def _hash_cache(self, address: str) -> Path:
        return self.home / ".hashes" / f"{address}.json"

    def _compare(self, artifact: Artifact, cache: Path | None) -> None:
        record, root = artifact.record, artifact.path
        found = disk.hash_files([path for path in disk.tree_files(root) if path != root / RECORD], root, cache)
        differ = [f"`{key}` was changed" for key in record.files if key in found and found[key] != record.files[key]]
        differ += [f"`{key}` is missing" for key in record.files if key not in found]
        differ += [f"`{key}` was added" for key in found if key not in record.files]
        if record.seal != record.digest() or record.fingerprint != fingerprint_of(record.payload):
            differ.append(f"`{RECORD}` was changed")
        if differ:
            shown = ", ".join(differ[:3]) + (f" and {len(differ) - 3} more" if len(differ) > 3 else "")
            what = f"`{record.address}` is not what was sealed: {shown}"
            hint = f"restore it from a pack, or remove it and build it again: `r1 artifacts rm {record.address}`"
            raise TamperedError(what, hint=hint, where=str(artifact.path))

    def _prune_workspaces(self) -> tuple[list[str], list[str]]:
        removed: list[str] = []
        busy: list[str] = []
        work = self.home / ".work"
        for folder in sorted(work.iterdir()) if work.is_dir() else []:
            try:
                descriptor = disk.try_lock(folder)
            except FileNotFoundError:
                continue  # sealed or removed meanwhile
            if descriptor is None:
                busy.append(folder.name)
                continue
            try:
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)
            removed.append(folder.name)
        return removed, busy


def parse_address(text: str) -> tuple[str, int]:
    """`zero@3` -> ("zero", 3), `zero` -> ("zero", 0); raises InputError for anything else."""
    name, at, number = text.partition("@")
    if not _NAME.fullmatch(name) or (at and not _is_number(number)):
        raise InputError(f"`{text}` is not an artifact's address", hint=f"write name or name@N; {_LIST}")
    return name, int(number) if at else 0


def check_name(name: str) -> str:
    """Returns a name an artifact may have; raises InputError for any other."""
    if not _NAME.fullmatch(name):
        hint = "use letters, digits, dot, dash and underscore, beginning with a letter or digit: `--name my-model`"
        raise InputError(f"`{name}` cannot be an artifact's name", hint=hint)
    return name


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested maps as one map with dotted keys; lists stay whole, and so do empty maps."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    pairs: dict[str, Any] = {}
    for key, item in value.items():
        pairs.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return pairs


def _facts(record: Record) -> dict[str, Any]:
    parts = {"recipe": record.payload.get("recipe"), "inputs": record.inputs, "metrics": record.metrics}
    given = {part: value for part, value in parts.items() if value}
    return {"stage": record.stage, "version": record.version, **flatten(given)}


def _refuse_links_and_pickles(workspace: Path, kind: str) -> None:
    for path in sorted(workspace.rglob("*")):
        relative = path.relative_to(workspace)
        if path.is_symlink():
            raise StageError(f"`{relative}` is a link, so its bytes cannot be sealed", hint="write a file instead")
        refuse_pickle(relative.as_posix(), kind)


def refuse_pickle(relative: str, kind: str) -> None:
    """Raises StageError when a file of a model or judge is a pickle: loading one runs whatever it holds."""
    if kind in _NO_PICKLES and Path(relative).suffix.lower() in _PICKLES:
        raise StageError(f"`{relative}` is a pickle, and a sealed {kind} holds none", hint="save it as safetensors")


def _rename_if_free(folder: Path, target: Path) -> bool:
    if target.exists():
        return False
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[1-9][0-9]{0,8}", text))

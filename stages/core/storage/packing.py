"""Artifacts as one tar file, out of one store and into another.

What enters: an address, or a tar from anywhere. What leaves: a tar, or artifacts whose every hash was checked. A tar is
foreign matter: its paths are taken apart, links and odd files refused, and nothing is moved into the store before all
of it is known to be whole.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from stages.core.artifact import RECORD, Artifact, Record
from stages.core.errors import AskedWrongly, InputError, MissingError, R1Error, TamperedError
from stages.core.storage import disk
from stages.core.storage.store import Store, parse_address, refuse_pickle

if TYPE_CHECKING:
    import tarfile

_HINT = "get the file again, or pack it again: `r1 artifacts pack ADDRESS FILE`"


def pack(store: Store, address: str, file: Path, *, lineage: bool = False) -> list[str]:
    """Writes an artifact, ancestors first, into a new tar; every byte is verified before it is packed.

    Raises AskedWrongly when the file exists, TamperedError when an artifact is no longer what was sealed.
    """
    import tarfile

    if file.exists():
        raise AskedWrongly(f"`{file}` exists already", hint="choose another file name, or remove it first")
    artifacts = store.lineage(address) if lineage else [store.open(address)]
    for artifact in artifacts:
        store.verify(artifact.address)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with disk.full_disk_in_words(file.parent), tarfile.open(fresh, "w") as tar:
            for artifact in artifacts:
                for path in disk.tree_files(artifact.path):
                    inside = f"{artifact.name}/{artifact.number}/{path.relative_to(artifact.path).as_posix()}"
                    tar.add(path, inside, recursive=False)
        os.replace(fresh, file)
    finally:
        fresh.unlink(missing_ok=True)
    return [artifact.address for artifact in artifacts]


def unpack(store: Store, file: Path) -> list[Artifact]:
    """Brings every artifact of a tar into the store; one already there, byte for byte, is left as it is.

    Raises MissingError for an absent file, InputError for a damaged or hostile one, TamperedError for a wrong hash, and
    AskedWrongly when an address is taken by something else. In all those cases the store is as it was.
    """
    if not file.is_file():
        raise MissingError(f"no file `{file}`", hint="check the path of the packed artifact")
    staging = store.home / ".work" / f"unpack-{os.getpid()}"
    with disk.full_disk_in_words(store.home), disk.locked(staging):
        try:
            records = [_checked(staging, folder) for folder in _extract(file, staging)]
            fresh = [record for record in records if not _already_here(store, record)]
            for record in fresh:
                target = store.home / record.name / str(record.number)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(staging / record.name / str(record.number), target)
                disk.flush(target.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return [store.open(record.address) for record in records]


def _extract(file: Path, staging: Path) -> list[PurePosixPath]:
    import tarfile

    folders: dict[PurePosixPath, None] = {}
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                relative = _safe_path(member, str(file))
                if member.isdir():
                    continue
                target = staging / relative
                if target.exists():
                    raise InputError(f"`{member.name}` is in the tar twice", where=str(file), hint=_HINT)
                target.parent.mkdir(parents=True, exist_ok=True)
                source: IO[bytes] | None = tar.extractfile(member)
                if source is None:
                    raise InputError(f"`{member.name}` has no bytes", where=str(file), hint=_HINT)
                with source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
                disk.flush(target)
                folders[PurePosixPath(*relative.parts[:2])] = None
    except (tarfile.TarError, EOFError) as error:
        raise InputError("not a whole tar file", where=str(file), hint=_HINT) from error
    if not folders:
        raise InputError("the tar holds no artifact", where=str(file), hint=_HINT)
    return list(folders)


def _safe_path(member: tarfile.TarInfo, where: str) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if not (member.isreg() or member.isdir()):
        raise InputError(f"`{member.name}` is a link or a special file", where=where, hint=_HINT)
    odd = path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name
    if odd or (member.isreg() and len(path.parts) < 3):
        raise InputError(f"`{member.name}` does not lie in an artifact's folder", where=where, hint=_HINT)
    if len(path.parts) >= 2:
        try:
            parse_address(f"{path.parts[0]}@{path.parts[1]}")
        except R1Error as error:
            what = f"`{member.name}` does not lie in an artifact's folder"
            raise InputError(what, where=where, hint=_HINT) from error
    return path


def _checked(staging: Path, folder: PurePosixPath) -> Record:
    if not (staging / folder / RECORD).is_file():
        raise InputError(f"`{folder}` holds no record, so it was never sealed", hint=_HINT)
    try:
        record = Store(staging).verify(f"{folder.parts[0]}@{folder.parts[1]}").record
    except TamperedError as error:
        raise TamperedError(error.what, hint=_HINT) from error
    for relative in record.files:
        refuse_pickle(relative, record.kind)
    return record


def _already_here(store: Store, record: Record) -> bool:
    target = store.home / record.name / str(record.number)
    if not target.exists():
        return False
    here = store.verify(record.address).record if (target / RECORD).is_file() else None
    if here is not None and here.seal == record.seal:
        return True
    hint = "it would be overwritten; unpack into another store: `R1_HOME=FOLDER r1 artifacts unpack FILE`"
    raise AskedWrongly(f"`{record.address}` is already in this store and is something else", hint=hint)

"""Bytes on disk: hashing, flushing, locking, and the full disk told in words.

What enters: paths. What leaves: hex hashes, locks, and DiskError instead of a bare ENOSPC. It stands alone so that the
store, the sources and the runner treat files in one way.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import DiskError, InputError, LockedError, R1Error

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CHUNK = 1 << 20
_COPIED = 4 << 20
"""Bytes held at once while a file is copied."""


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_tree(root: Path, cache: Path | None = None) -> dict[str, str]:
    """Relative path -> sha256 of every regular file under `root`; see `hash_files` for `cache`."""
    return hash_files(tree_files(root), root, cache)


def hash_files(files: list[Path], root: Path, cache: Path | None = None) -> dict[str, str]:
    """Path relative to `root` -> sha256 of each file, in the order given.

    With `cache` (a JSON file, rewritten here) a file is hashed again only when its size, mtime, ctime or inode differs
    from the time of its last full hash. An edit therefore shows, also one that restores size and mtime, because ctime
    cannot be set from user space; bytes that rot on the disk do not. Without `cache` every byte is read.
    """
    known = _read_cache(cache)
    found: dict[str, list[object]] = {}
    for path in files:
        sign = _sign(path)
        key = path.relative_to(root).as_posix()
        old = known.get(key)
        found[key] = old if old is not None and old[:4] == sign else [*sign, hash_file(path)]
    if cache is not None and found != known:
        with full_disk_in_words(cache.parent):
            write_atomically(cache, json.dumps(found))
    return {key: str(value[4]) for key, value in found.items()}


def known_hashes(files: list[Path], root: Path, cache: Path) -> bool:
    """Whether `hash_files` would give every hash from the cache, without reading a file."""
    known = _read_cache(cache)
    return all(known.get(path.relative_to(root).as_posix(), [])[:4] == _sign(path) for path in files)


def remember(found: dict[Path, str], root: Path, cache: Path) -> None:
    """Add hashes of whole files that were just read to a cache of `hash_files`, as if it had read them."""
    known = _read_cache(cache)
    known |= {path.relative_to(root).as_posix(): [*_sign(path), digest] for path, digest in found.items()}
    with full_disk_in_words(cache.parent):
        write_atomically(cache, json.dumps(known))


def copy_hashed(source: Path, target: Path, seen: Callable[[memoryview], None] | None = None) -> str:
    """Copy a file and return the sha256 of its bytes, as hex, reading it once; `seen` is given each piece in order.

    Raises InputError when the file cannot be read, or changes meanwhile.
    """
    digest, before = hashlib.sha256(), _sign(source)
    try:
        reader = source.open("rb", buffering=0)
    except OSError as error:
        raise InputError(f"`{source}` cannot be read ({error.strerror})", hint="make it readable") from error
    with reader, target.open("wb") as writer:
        part = memoryview(bytearray(_COPIED))
        while read := reader.readinto(part):
            digest.update(part[:read])
            if seen is not None:
                seen(part[:read])
            writer.write(part[:read])
    if _sign(source) != before or target.stat().st_size != before[0]:
        raise InputError(f"`{source}` changed while it was read", hint="wait until it is written, then import it again")
    return digest.hexdigest()


def tree_files(root: Path) -> list[Path]:
    """All regular files under `root` in sorted order; links and special files are not followed and not listed."""
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a reader sees the old bytes or the new ones, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """Forces a file's bytes, or a folder's entries, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(folder: Path) -> int | None:
    """Takes the exclusive lock of a folder; returns an open descriptor (close it to let go) or None when it is held.

    The lock belongs to the folder itself, so it follows a rename and a dead process never holds it. Raises
    FileNotFoundError when the folder is gone.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino != os.stat(folder).st_ino:
            raise FileNotFoundError(folder)  # sealed or removed by another process before the lock was ours
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Makes a folder and holds its exclusive lock; raises LockedError when another process has it."""
    descriptor: int | None = None
    for _ in range(100):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = try_lock(folder)
            break
        except FileNotFoundError:
            continue
    if descriptor is None:
        raise LockedError(f"another process is working in `{folder}`", hint="wait until it ends, then run this again")
    try:
        yield folder
    finally:
        os.close(descriptor)


@contextmanager
def full_disk_in_words(folder: Path) -> Iterator[None]:
    """Turns an error caused by a full disk, in whatever clothes it comes, into DiskError naming the folder."""
    try:
        yield
    except R1Error:
        raise
    except Exception as error:
        if not _is_full(error, folder):
            raise
        hint = "free space, then run the same command: it resumes"
        raise DiskError(f"no space left on the disk of `{folder}`", hint=hint) from error


def _is_full(error: BaseException, folder: Path) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        if "No space left on device" in str(cause):  # safetensors and tokenizers wrap the errno in text
            return True
        cause = cause.__cause__ or cause.__context__
    # torch.save reports a full disk as an unexpected file position: believe it only where no space is left
    return isinstance(error, RuntimeError) and "file" in str(error).lower() and _free(folder) < _CHUNK


def _sign(path: Path) -> list[object]:
    """What changes when a file is written: size, mtime, ctime and inode."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _free(folder: Path) -> int:
    import shutil

    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _read_cache(cache: Path | None) -> dict[str, list[object]]:
    if cache is None:
        return {}
    try:
        raw = json.loads(cache.read_text(encoding="utf-8"))
        return {key: value for key, value in raw.items() if len(value) == 5}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # a cache may always be lost: everything is hashed again

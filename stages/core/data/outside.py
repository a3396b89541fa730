"""Outside data, read row by row: the name of a file, folder or hub dataset enters, plain rows and what was read leave.

`identity` tells what a source really is, cheaply, before anything is read from it: plans and fingerprints need it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.core.errors import InputError, MissingError
from stages.core.run import hub

HUB = "hf:"
"""Marks a dataset of the Hugging Face hub: `hf:owner/name`, or `hf:owner/name@revision`."""


def identity(source: str) -> dict[str, str]:
    """Return what the source really is: {"source_sha256"} of a file or folder, {"source_commit"} of a hub dataset.

    Raises MissingError when there is no source, or when the hub does not tell its commit.
    """
    if source.startswith(HUB):
        return {"source_commit": hub.dataset_commit(*hub.split_name(source))}
    path = Path(source)
    if path.is_file():
        return {"source_sha256": _sha256(path)}
    if not path.is_dir():
        hint = "give a .jsonl or .parquet file, a dataset folder, or hf:owner/name"
        raise MissingError(f"no file or folder `{source}`", hint=hint)
    digest = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{_sha256(file)}\n".encode())
    return {"source_sha256": digest.hexdigest()}


def read(source: str, subset: str, split: str, scratch: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("file:line", row) for each row; `subset` and `split` name a part of a dataset, files have none.

    Only a dataset folder writes anything, under `scratch`. Raises InputError at file:line for an unreadable row.
    """
    path = Path(source)
    if source.startswith(HUB) or path.is_dir():
        yield from _dataset_rows(source, subset, split, scratch)
    elif path.suffix in (".parquet", ".pq"):
        yield from _parquet_rows(path)
    else:
        yield from _jsonl_rows(path)


def _jsonl_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                raise InputError("this line is not UTF-8 text", where=where, hint="save the file as UTF-8") from error
            except (ValueError, RecursionError) as error:
                hint = "write one JSON object per line; `python -m json.tool --json-lines FILE` shows the first bad one"
                raise InputError(f"this line is not JSON ({error})", where=where, hint=hint) from error
            if not isinstance(row, dict):
                raise InputError(
                    "this line is JSON but not an object", where=where, hint="write one JSON object per line"
                )
            yield where, row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow.lib
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("Parquet files need pyarrow", where=str(path), hint="pip install pyarrow") from error
    try:
        number = 0
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", row
    except (pyarrow.lib.ArrowException, OSError) as error:
        what = f"not a Parquet file ({error})"
        raise InputError(what, where=str(path), hint="give a .parquet or .jsonl file") from error


def _dataset_rows(source: str, subset: str, split: str, scratch: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a dataset folder or a hub dataset at its exact commit with the `datasets` library."""
    try:
        import datasets
    except ImportError as error:
        what = "a dataset needs the datasets library"
        raise InputError(what, where=source, hint="pip install datasets") from error
    datasets.disable_progress_bars()
    options: dict[str, Any] = {"split": split}
    name = source
    if source.startswith(HUB):
        name, revision = hub.split_name(source)
        options["revision"] = hub.dataset_commit(name, revision)
    else:
        options["cache_dir"] = str(scratch / "datasets")  # a stage writes only where it may
    try:
        rows = datasets.load_dataset(name, subset or None, **options)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        what = f"cannot read split `{split}` ({str(error).splitlines()[0] if str(error) else error!r})"
        hint = "set `subset` and `source_split`, or check the name"
        raise InputError(what, where=source, hint=hint) from error
    for number, row in enumerate(rows, start=1):
        yield f"{source}:{number}", dict(row)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Parquet and Arrow files, row by row: a table enters, the rows of its wanted columns leave in pieces.

A piece is a slice of a batch and made into Python values where its rows are asked for. Nothing of a table is held but
the batches at hand: an Arrow file is mapped into memory, of a Parquet file a thousand rows are decoded at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from stages.core.data.pieces import AT_ONCE, MEGABYTE, Piece, Raw, Wanted
from stages.core.data.values import Unreadable
from stages.core.errors import InputError

STARTS = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
"""How these files begin."""


def pieces(path: Path, label: str, columns: dict[str, None], wanted: Wanted) -> Iterator[Piece]:
    """Rows of a Parquet or Arrow file, of the wanted columns alone."""
    number = 1
    with _readable(path, label):
        for batch in _batches(path, columns, wanted):
            step = max(1, min(AT_ONCE, batch.num_rows * MEGABYTE // max(1, batch.nbytes)))
            for at in range(0, batch.num_rows, step):
                part = _Batch(batch.slice(at, step))
                yield partial(_table_rows, part, path, label, number + at)
            number += batch.num_rows


def _table_rows(
    part: _Batch, path: Path, label: str, first: int, columns: dict[str, None], wanted: Wanted
) -> Iterator[Raw]:
    with _readable(path, label):
        for number, row in enumerate(_plain(part.batch), start=first):
            yield Raw(f"{label}:{number}", row)


@contextmanager
def _readable(path: Path, label: str) -> Iterator[None]:
    """Raise InputError for what pyarrow raises."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("Parquet and Arrow files need pyarrow", where=label, hint="pip install pyarrow") from error
    try:
        yield
    except (pyarrow.lib.ArrowException, OSError, NotImplementedError) as error:
        kind = "an Arrow" if path.suffix == ".arrow" else "a Parquet"
        what = f"not {kind} file that can be read ({str(error).splitlines()[0][:160]})"
        raise InputError(what, where=label, hint="get or write the file again, or save it as JSON Lines") from error


class _Batch:
    """Rows of a table, which go to another process without those around them in their file."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __reduce__(self) -> tuple[Callable[[bytes], _Batch], tuple[bytes]]:
        import pyarrow

        sent = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sent, self.batch.schema) as out:
            out.write_batch(self.batch)
        return _received, (sent.getvalue().to_pybytes(),)


def _received(sent: bytes) -> _Batch:
    import pyarrow

    with pyarrow.ipc.open_stream(sent) as given:
        return _Batch(given.read_next_batch())


def _batches(path: Path, columns: dict[str, None], wanted: Wanted) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"PAR1") or (path.suffix != ".arrow" and not start.startswith(STARTS)):
        with pyarrow.parquet.ParquetFile(path) as table:
            columns.update(dict.fromkeys(table.schema_arrow.names))
            chosen = [name for name in table.schema_arrow.names if wanted(name)]
            yield from table.iter_batches(batch_size=AT_ONCE, columns=chosen)
        return
    with pyarrow.memory_map(str(path)) as source:
        blocks = (
            pyarrow.ipc.open_stream(source)
            if not start.startswith(b"ARROW1")
            else (lambda reader: map(reader.get_batch, range(reader.num_record_batches)))(pyarrow.ipc.open_file(source))
        )
        for block in blocks:
            columns.update(dict.fromkeys(block.schema.names))
            yield block.select([name for name in block.schema.names if wanted(name)])


def _plain(batch: Any) -> list[dict[str, Any]]:
    """Return a batch's rows as Python values; a value that has none stands as `Unreadable`."""
    import pyarrow

    short = [field.name for field in batch.schema if pyarrow.types.is_float32(field.type)]
    for name in short:  # 0.1 of 32 bits is 0.1, not 0.10000000149011612
        texts = batch.column(name).cast(pyarrow.string())
        batch = batch.set_column(batch.schema.get_field_index(name), name, texts)
    try:
        rows = cast(list[dict[str, Any]], batch.to_pylist())
    except (ValueError, OverflowError, NotImplementedError, ImportError):  # a date beyond 9999, text that is no UTF-8
        names = batch.schema.names
        rows = [{name: _one(batch.column(name)[at]) for name in names} for at in range(batch.num_rows)]
    for row in rows if short else ():
        row |= {name: float(row[name]) for name in short if row[name] is not None}
    return rows


def _one(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, NotImplementedError, ImportError) as error:
        return Unreadable(str(error).splitlines()[0][:160] if str(error) else type(error).__name__)

"""Weights that are no numbers, found while a file is copied.

The pieces of a safetensors file enter in their order, as they are read; nothing leaves but the error that names the
first tensor with a NaN or an infinity. It exists because one such weight makes every log-probability NaN, and a run
would find out long after the import.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stages.core.errors import InputError
from stages.policy.models.reading import outside

_KINDS: dict[str, tuple[type[np.unsignedinteger], int]] = {
    "F64": (np.uint64, 0x7FF << 53),
    "F32": (np.uint32, 0xFF << 24),
    "F16": (np.uint16, 0x1F << 11),
    "BF16": (np.uint16, 0xFF << 8),
}
"""safetensors' word -> its bits as a number, and the least that those without the sign are of a NaN or an infinity."""


class Finite:
    """Called with each piece of a file, from its beginning on; raises InputError at a weight that is no number.

    Tensors named after a mask may hold infinities.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with outside(f"`{file}` is no whole safetensors file", "fetch it again"), file.open("rb") as reader:
            size = int.from_bytes(reader.read(8), "little")
            header = json.loads(reader.read(size))
        kept = [(name, one) for name, one in header.items() if name != "__metadata__" and one["dtype"] in _KINDS]
        self._tensors = sorted(
            (8 + size + one["data_offsets"][0], 8 + size + one["data_offsets"][1], one["dtype"], name)
            for name, one in kept
            if "mask" not in name
        )
        self._next, self._at = 0, 0
        self._rest = b""
        """Bytes of a number that a piece cut in two."""

    def __call__(self, piece: memoryview) -> None:
        """See all numbers of the next bytes of the file."""
        begins, ends = self._at, self._at + len(piece)
        self._at = ends
        while self._next < len(self._tensors):
            start, stop, kind, name = self._tensors[self._next]
            if start >= ends:
                return
            self._see(piece[max(start, begins) - begins : min(stop, ends) - begins], kind, name)
            if stop > ends:
                return
            self._next += 1

    def _see(self, part: memoryview, kind: str, name: str) -> None:
        bits, least = _KINDS[kind]
        size = np.dtype(bits).itemsize
        if self._rest:
            missing = size - len(self._rest)
            self._rest, part = self._rest + bytes(part[:missing]), part[missing:]
            if len(self._rest) < size:
                return
            self._check(memoryview(self._rest), bits, least, name)
            self._rest = b""
        whole = len(part) - len(part) % size
        self._check(part[:whole], bits, least, name)
        self._rest = bytes(part[whole:])

    def _check(self, part: memoryview, bits: type[np.unsignedinteger], least: int, name: str) -> None:
        if len(part) and int(np.left_shift(np.frombuffer(part, bits), bits(1)).max()) >= least:
            what = f"the weights of `{self._file}` hold NaN or an infinity in {name}"
            raise InputError(what, hint="fetch them again, or take an earlier checkpoint of that training")

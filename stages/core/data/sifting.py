"""Rows on their way to a file: what is equal, what contradicts, what is chosen, without holding the rows in memory.

Candidates become lines in any process; in file order they enter here one by one, and two files leave: the rows that are
kept, and those that are not with their reasons. In between the rows lie on disk as they will be written; of each only a
few bytes stay in memory.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stages.core import text

_KEPT, _ELSEWHERE, _OVER, _REASONS = range(4)  # what became of a row; from _REASONS on it is the number of a reason


_write = json.JSONEncoder(ensure_ascii=False).encode  # made once: making it costs as much as a row
_read = json.JSONDecoder().decode
GOLD = 200
"""Characters of golds that contradict each other that are told."""


class Candidate(NamedTuple):
    """An outside row on its way."""

    where: str
    """file:number, where it stood."""
    fields: dict[str, Any]
    """The row as it will be written; of one that cannot be used, what is known of it."""
    fault: str = ""
    """Why it is left out; empty = it is not."""
    detail: str = ""
    """What more there is to say of that."""
    key: bytes = b""
    """Rows with the same are equal."""
    gold: str = ""
    """Equal rows with different ones (in canonical form) contradict each other."""
    form: str = ""
    """The problem in canonical form: what a choice of rows is drawn by."""
    split: str = ""
    """Which split it belongs to; empty = any."""


class Line(NamedTuple):
    """A candidate as it will be written, compared with no other yet."""

    where: str
    line: bytes
    """The row's line; of one that cannot be used what dropped.jsonl says of it."""
    fault: str
    """Why it is left out if no equal row came before it."""
    detail: str
    key: bytes
    """As `Candidate.key`; of one that cannot be used empty."""
    gold: str
    """Its gold in canonical form, the end of a long one as a hash."""
    rank: bytes
    """What a choice of rows is drawn by; empty where none is drawn."""
    elsewhere: bool
    """Whether it belongs to another split."""


def lined(
    found: Candidate, check: Callable[[Candidate], Candidate] | None, *, elsewhere: bool = False, seed: int | None
) -> Line:
    """Return a candidate as its line.

    `check` returns a row with what speaks against it, or as it is; it is asked of those that may be kept, and None for
    one that an equal row came before. `elsewhere` = it belongs to another split. Rows are drawn by `seed`; None: none.
    """
    line = b""
    if not found.fault:
        try:
            line = written(found.fields)
        except UnicodeEncodeError as error:
            code = ord(error.object[error.start])
            fault = ("not valid Unicode", "half of a surrogate pair")
            if 0xDC80 <= code <= 0xDCFF:  # how a byte that is no UTF-8 was read
                fault = ("not UTF-8 text", f"the byte 0x{code - 0xDC00:x}: save the file as UTF-8")
            found = found._replace(fault=fault[0], detail=fault[1])
    if found.fault:
        return Line(found.where, told(found), found.fault, found.detail, b"", "", b"", elsewhere)
    checked = found if check is None or elsewhere else check(found)
    gold = text.canonical(found.gold)
    if len(gold) > GOLD:
        gold = gold[:GOLD] + digest(gold).hex()
    rank = b"" if seed is None else digest(f"{seed}\0{found.form}")
    return Line(found.where, line, checked.fault, checked.detail, found.key, gold, rank, elsewhere)


class Sifter:
    """Takes candidates in file order; `finish` writes what is left of them."""

    def __init__(self, scratch: Path, *, dedupe: bool, conflict: str, max_rows: int) -> None:
        """`scratch` is a file that may be written; `conflict` the reason of rows that contradict each other; at most
        `max_rows` rows are kept (0: all), the lowest by rank."""
        self.scratch, self.dedupe, self.conflict, self.max_rows = scratch, dedupe, conflict, max_rows
        scratch.parent.mkdir(parents=True, exist_ok=True)
        self._file = scratch.open("wb")
        self._reasons: dict[str, int] = {}
        self._fates, self._files, self._lines = array("H"), array("H"), array("Q")
        self._labels: dict[str, int] = {}
        self._keys: list[bytes] = []
        self._golds: dict[bytes, str] = {}
        self._clashes: dict[bytes, set[str]] = {}
        self._ranks: dict[int, bytes] = {}
        self.kept = 0
        """Rows that nothing speaks against so far, before contradictions and `max_rows`."""

    def __enter__(self) -> Sifter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.scratch.unlink()

    def add(self, row: Line) -> None:
        """Take one row."""
        key, fault, detail = row.key if self.dedupe else b"", row.fault, row.detail
        if key and self._is_repeated(key, row.gold):
            fault, detail = "duplicate", ""
        fate = _ELSEWHERE if row.elsewhere else self._number(fault) if fault else _KEPT
        self.kept += fate == _KEPT
        if fate == _KEPT and self.max_rows:
            self._ranks[len(self._fates)] = row.rank
        file, _, number = row.where.rpartition(":")
        self._files.append(self._labels.setdefault(file, len(self._labels)))
        self._lines.append(int(number))
        self._fates.append(fate)
        self._keys.append(key)
        line = row.line
        if fault and row.key:
            line = told(Candidate(row.where, _read(line.decode()), fault, detail))
        self._file.write(b"\n" if row.elsewhere else line)

    def finish(self, kept: Path, dropped: Path, seen: Callable[[dict[str, Any]], None]) -> dict[str, int]:
        """Write both files, each in file order, `seen` told of each row that is kept; return the figures."""
        self._file.flush()
        for at, key in enumerate(self._keys):
            if key in self._clashes and self._fates[at] != _ELSEWHERE:
                self._fates[at] = self._number(self.conflict)
                self._ranks.pop(at, None)
        ranked = sorted(self._ranks, key=lambda at: (self._ranks[at], at))
        for at in ranked[self.max_rows :]:
            self._fates[at] = _OVER
        ids: dict[str, int] = {}
        repeated = 0
        with kept.open("wb") as good, dropped.open("wb") as bad:
            for at, line in self._spooled():
                if self._fates[at] == _KEPT:
                    row = _read(line.decode())
                    own = _unique(row, ids)
                    repeated += not own
                    good.write(line if own else written(row))
                    seen(row)
                elif self._fates[at] >= _REASONS:
                    bad.write(self._dropped(at, line))
        counts = Counter(self._fates)
        figures = {"rows_in_other_split": counts[_ELSEWHERE], "rows_over_max": counts[_OVER], "rows": counts[_KEPT]}
        return figures | ({"ids_repeated": repeated} if repeated else {})

    def dropped(self) -> dict[str, int]:
        """Return how many rows are left out, by reason."""
        counts = Counter(self._fates)
        return {reason: counts[number] for reason, number in self._reasons.items() if counts[number]}

    def _is_repeated(self, key: bytes, gold: str) -> bool:
        """Say whether a row's equal was there before, and remember where two of them contradict each other."""
        if key not in self._golds:
            self._golds[key] = gold
            return False
        if self._golds[key] != gold:
            self._clashes.setdefault(key, {self._golds[key]}).add(gold)
        return True

    def _number(self, reason: str) -> int:
        return self._reasons.setdefault(reason, len(self._reasons) + _REASONS)

    def _spooled(self) -> Iterator[tuple[int, bytes]]:
        with self.scratch.open("rb") as file:
            yield from enumerate(file)

    def _dropped(self, at: int, line: bytes) -> bytes:
        """The line that tells of a row that is left out."""
        if self._keys[at] not in self._clashes:
            return line
        where = f"{list(self._labels)[self._files[at]]}:{self._lines[at]}"
        golds = " / ".join(sorted(self._clashes[self._keys[at]]))[:GOLD]
        return told(Candidate(where, json.loads(line), self.conflict, golds))


def digest(content: str) -> bytes:
    """Return the sha256 of a text, of one with half a surrogate pair too."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()


def written(fields: dict[str, Any]) -> bytes:
    """Return a row's line; raises UnicodeEncodeError for what is no valid Unicode."""
    return _write(fields).encode() + b"\n"


def told(found: Candidate) -> bytes:
    """What dropped.jsonl says of a row, in ASCII: it may hold text that is no valid Unicode."""
    known = {name: found.fields.get(name, "") for name in ("id", "problem", "answer")}
    said = {"where": found.where, "id": known.pop("id"), "reason": found.fault, "detail": found.detail, **known}
    return json.dumps({**found.fields, **said}).encode() + b"\n"


def _unique(row: dict[str, Any], ids: dict[str, int]) -> bool:
    """Put a number behind an id that was there before; say whether the row kept its own."""
    first = row["id"]
    if first not in ids:
        ids[first] = 1
        return True
    while row["id"] in ids:
        ids[first] += 1
        row["id"] = f"{first}-{ids[first]}"
    ids[row["id"]] = 1
    return False

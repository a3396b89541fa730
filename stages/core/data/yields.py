"""What became of every sample: kept, or discarded for its first fault; counts and their table.

One fault a sample, "" for the kept, enters with its family; the content of yield.json leaves. The kept and the
discarded always add up to all: a sample that is left out is always told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

YIELD_FILE = "yield.json"
MOST_FAMILIES = 5
"""Families that have a column of their own, the first in alphabetical order."""


def counted(pairs: Iterable[tuple[str, str]], reasons: Sequence[str]) -> dict[str, Any]:
    """Return {"samples", "kept", "discards", "families"} of (family, fault) pairs; each family has the first three.

    `discards` maps every one of `reasons` to its count, in their order, zeros too. Raises ValueError for a fault that
    is no reason.
    """
    by_family: dict[str, Counter[str]] = {}
    for family, fault in pairs:
        if fault and fault not in reasons:
            raise ValueError(f"`{fault}` is no known reason")
        by_family.setdefault(family, Counter())[fault] += 1
    every: Counter[str] = sum(by_family.values(), Counter())
    families = {family: _summed(by_family[family], reasons) for family in sorted(by_family)}
    return {**_summed(every, reasons), "families": families}


def _summed(faults: Counter[str], reasons: Sequence[str]) -> dict[str, Any]:
    return {
        "samples": sum(faults.values()),
        "kept": faults[""],
        "discards": {reason: faults[reason] for reason in reasons},
    }


def read_yield(folder: Path) -> dict[str, Any] | None:
    """Return yield.json of an artifact's folder, or None where it has none."""
    path = Path(folder) / YIELD_FILE
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def table(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for the samples, for each reason that discarded any, and for the kept: `what`, `all`, `share` (0 to
    1 of all samples) and `families`, a count for each of the first."""
    families = dict(list(found["families"].items())[:MOST_FAMILIES])
    lines = [("samples", found["samples"], {name: part["samples"] for name, part in families.items()})]
    for reason, count in found["discards"].items():
        if count:
            lines.append((reason, count, {name: part["discards"][reason] for name, part in families.items()}))
    lines.append(("kept", found["kept"], {name: part["kept"] for name, part in families.items()}))
    total = max(1, found["samples"])
    return [{"what": what, "all": all_, "share": all_ / total, "families": parts} for what, all_, parts in lines]

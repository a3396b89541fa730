"""What became of a stretch of completions, or of all of them: sums, and the lines that were kept and left."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple


class Curated(NamedTuple):
    """What became of a stretch, or of all of them."""

    kept: bytes
    """Conversations as lines."""
    left: bytes
    """Lines of discarded.jsonl."""
    faults: Counter[tuple[str, str]]
    """(family, fault) of each completion, "" where it is kept."""
    kinds: Counter[tuple[str, str, bool]]
    """(family, language, whether it has reasoning) of each conversation."""
    prompts: int
    prompts_kept: int

    def row(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        counts = {name: [[*key, count] for key, count in getattr(self, name).items()] for name in ("faults", "kinds")}
        return {**self._asdict(), "kept": self.kept.decode(), "left": self.left.decode(), **counts}

    @classmethod
    def of(cls, row: dict[str, Any]) -> Curated:
        """Return what `row` wrote."""
        counts = {name: Counter({tuple(key): count for *key, count in row[name]}) for name in ("faults", "kinds")}
        return cls(**{**row, "kept": row["kept"].encode(), "left": row["left"].encode(), **counts})

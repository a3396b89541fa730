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

    def figures(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return what travels in the artifact's record; `found` is what yield.json holds."""
        families, languages, reasoned = Counter[str](), Counter[str](), 0
        for (family, language, has_reasoning), count in self.kinds.items():
            families[family or "-"] += count
            languages[language] += count
            reasoned += count * has_reasoning
        return {
            "rows": self.kinds.total(),
            **{f"from_{name}": found["sources"][name] for name in ("rollouts", "general", "extra")},
            "general_missing": found["sources"]["general_missing"],
            "with_reasoning": reasoned,
            "samples": found["samples"],
            "kept": found["kept"],
            "prompts": found["prompts"],
            "prompts_kept": found["prompts_kept"],
            "discards": {reason: count for reason, count in found["discards"].items() if count},
            "families": dict(sorted(families.items())),
            "languages": dict(sorted(languages.items())),
        }

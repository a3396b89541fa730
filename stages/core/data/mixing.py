"""How curated and general responses become one set: shares, draws, ids and order, all decided by a seed.

DeepSeek-R1's second supervised stage mixed about 600,000 reasoning samples with 200,000 general ones (arXiv
2501.12948v1 section 2.3.3), and gave the simplest prompts no chain of thought.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from stages.core.rows import Conversation


def general_wanted(kept: int, share: float) -> int:
    """Return how many general rows make `share` (in [0, 1)) of them and `kept` rows together, rounded."""
    return round(kept * share / (1.0 - share))


def drawn(rows: Sequence[Conversation], wanted: int, seed: int) -> list[Conversation]:
    """Return `wanted` of the rows without replacement, all of them where there are fewer, in their own order."""
    chance = random.Random(f"r1 mixing {seed}")
    places = chance.sample(range(len(rows)), min(wanted, len(rows)))
    return [rows[place] for place in sorted(places)]


def without_reasoning(rows: Iterable[Conversation], families: Collection[str]) -> list[Conversation]:
    """Return the rows, those of the given families with empty reasoning."""
    return [replace(row, reasoning="") if row.family in families else row for row in rows]


def shuffled(rows: Iterable[Conversation], seed: int) -> list[Conversation]:
    """Return the rows in an order of the seed; a repeated id gets a number behind it, so that every id is unique."""
    seen: dict[str, int] = {}
    named: list[Conversation] = []
    for row in rows:
        name = row.id
        while name in seen:
            seen[row.id] += 1
            name = f"{row.id}-{seen[row.id]}"
        seen[name] = 1
        named.append(row if name == row.id else replace(row, id=name))
    random.Random(f"r1 order {seed}").shuffle(named)
    return named

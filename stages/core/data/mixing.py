"""How curated and general responses become one set: shares, draws, ids and order, all decided by a seed. Numbers and
ids enter, places leave: the rows stay where they are.

DeepSeek-R1's second supervised stage mixed about 600,000 reasoning samples with 200,000 general ones (arXiv
2501.12948v1 section 2.3.3), and gave the simplest prompts no chain of thought.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Collection, Iterable
from dataclasses import replace

from stages.core.rows import Conversation


def general_wanted(kept: int, share: float) -> int:
    """Return how many general rows make `share` (in [0, 1)) of them and `kept` rows together, rounded."""
    return round(kept * share / (1.0 - share))


def drawn(rows: int, wanted: int, seed: int) -> list[int]:
    """Return the places of `wanted` of so many rows without replacement, of all where there are fewer, ascending."""
    return sorted(random.Random(f"r1 mixing {seed}").sample(range(rows), min(wanted, rows)))


def without_reasoning(row: Conversation, families: Collection[str]) -> Conversation:
    """Return a row, with empty reasoning where it is of one of the families."""
    return replace(row, reasoning="") if row.family in families else row


def shuffled(ids: Iterable[str], seed: int) -> tuple[array[int], dict[int, str]]:
    """Return the places of rows in an order of the seed, and place -> new id of each row whose id was there before: a
    number is put behind it, so that every id is unique."""
    seen: dict[str, int] = {}
    named: dict[int, str] = {}
    place = -1
    for place, own in enumerate(ids):
        name = own
        while name in seen:
            seen[own] += 1
            name = f"{own}-{seen[own]}"
        seen[name] = 1
        if name != own:
            named[place] = name
    order = array("Q", range(place + 1))
    random.Random(f"r1 order {seed}").shuffle(order)
    return order, named

"""How responses become preferences: which are compared, in which order they are shown, what is kept.

Counts, judgements and lengths enter; choices leave. R1's helpful judge learned from pairs judged four times with the
two responses at random places, kept where the averaged scores differ by more than 1, and matched in length so that
"the longer one" is no rule to learn (DeepSeek-R1, arXiv 2501.12948v2 §3.1). All chance comes from a generator that is
given, so each of these can be checked by hand.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Sequence

Scores = tuple[float, float]
"""One judgement of a pair: the first response's score and the second's, wherever they were shown."""


def candidates(count: int, wanted: int | None, rng: random.Random) -> list[tuple[int, int]]:
    """Return `wanted` distinct pairs (i < j) of `count` responses, drawn at random; all of them for None or too few."""
    every = list(itertools.combinations(range(count), 2))
    return every if wanted is None or wanted >= len(every) else sorted(rng.sample(every, wanted))


def orders(queries: int, rng: random.Random) -> list[bool]:
    """Return for each query whether the first response is shown as A: at random, and as often as not.

    With an even number of queries each response stands in each place equally often, so a judge that favours a place
    adds nothing to the average; an odd one is decided by a coin.
    """
    shown = [True, False] * (queries // 2) + [rng.random() < 0.5] * (queries % 2)
    rng.shuffle(shown)
    return shown


def margin(judgements: Sequence[Scores]) -> float:
    """Return the mean of first minus second over the judgements of one pair. Raises ValueError when there is none."""
    if not judgements:
        raise ValueError("a pair without a judgement has no margin")
    return math.fsum(first - second for first, second in judgements) / len(judgements)


def length_bin(length: int, tolerance: float) -> int:
    """Return the number of the bin a length (characters) lies in: the lengths of a bin differ by `tolerance` at most.

    Bins grow with the length, by the factor 1 + tolerance; short ones hold a single length.
    """
    return math.floor(math.log1p(length) / math.log1p(tolerance))


def matched(lengths: Sequence[tuple[int, int]], tolerance: float, rng: random.Random) -> list[bool]:
    """Say which pairs to keep so that length tells nothing: `lengths` are (chosen, rejected) in characters.

    Pairs are laid into cells by the bins of their shorter and their longer response. In each cell as many pairs are
    kept whose chosen response is the longer as pairs whose chosen response is the shorter; which of the surplus go is
    drawn. Pairs of one length are all kept. So chosen and rejected lie in every bin equally often.
    """
    cells: dict[tuple[int, int], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    keep = [chosen == rejected for chosen, rejected in lengths]
    for place, (chosen, rejected) in enumerate(lengths):
        if chosen != rejected:
            low, high = sorted((length_bin(chosen, tolerance), length_bin(rejected, tolerance)))
            cells[low, high][chosen > rejected].append(place)
    for shorter, longer in cells.values():
        for side in (shorter, longer):
            for place in rng.sample(side, min(len(shorter), len(longer))):
                keep[place] = True
    return keep


def mean_lengths(lengths: Sequence[tuple[int, int]]) -> dict[str, float | None]:
    """Return the mean length of chosen and of rejected responses, and how often the longer one is chosen (a tie counts
    half); None without pairs."""
    if not lengths:
        return {"chosen": None, "rejected": None, "longer_chosen": None}
    longer = [0.5 * ((chosen > rejected) + (chosen >= rejected)) for chosen, rejected in lengths]
    return {
        "chosen": sum(chosen for chosen, _ in lengths) / len(lengths),
        "rejected": sum(rejected for _, rejected in lengths) / len(lengths),
        "longer_chosen": sum(longer) / len(longer),
    }

"""The likeliest sequence of languages (Viterbi 1967): scores and prices of change enter, states leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_BLOCK = 4000  # words (or characters) decided at a time, so that memory stays flat

Item = TypeVar("Item")


def blocks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cut a long sequence, so that the tables of `likeliest` stay small."""
    for start in range(0, len(items), _BLOCK):
        yield items[start : start + _BLOCK]


def likeliest(
    prices: Sequence[float], scores: Sequence[tuple[float, ...]], entries: Sequence[float], starts: Sequence[float]
) -> list[int]:
    """Return the likeliest state of each item: the best sum of scores less the price of each change.

    A change before item i to state s costs `prices[i] + entries[s]`, never below 0; `starts` is what each state costs
    at the start. Where nothing speaks against the first item's state, or the one that starts cheapest, it is all there
    is, at a third of the time.
    """
    guess = min(range(len(starts)), key=lambda state: (starts[state], -scores[0][state]))
    if _stays(guess, prices, scores, starts):
        return [guess] * len(scores)
    totals = [score - start for score, start in zip(scores[0], starts, strict=True)]
    back: list[tuple[list[float], float, int]] = []
    for price, row in zip(prices[1:], scores[1:], strict=True):
        top = max(totals)
        changed = top - price
        back.append((totals, changed, totals.index(top)))
        totals = [
            (total if total >= changed - entry else changed - entry) + score
            for total, entry, score in zip(totals, entries, row, strict=True)
        ]
    state = totals.index(max(totals))
    states = [state]
    for before, changed, best in reversed(back):
        if before[state] < changed - entries[state]:
            state = best
        states.append(state)
    return states[::-1]


def _stays(state: int, prices: Sequence[float], scores: Sequence[tuple[float, ...]], starts: Sequence[float]) -> bool:
    """Say whether no stretch of items gains by another state than this one, though its way back were free."""
    after = state + 1
    gain = starts[state] - min((*starts[:state], *starts[after:]))
    for price, row in zip((1e9, *prices[1:]), scores, strict=True):
        gain = (gain if gain > -price else -price) + max(row[:state] + row[after:]) - row[state]
        if gain > 0.0:
            return False
    return True

"""Dynamic sampling: judged groups enter; groups that teach something leave, and all that was drawn for them.

A group whose rewards are all equal has no advantage. Such groups are replaced by groups of further prompts, some rounds
at most (DAPO, arXiv 2503.14476 §3.2 and eq. 11). Which prompts come next depends on the seed and the rollout's number
alone, so a resumed run draws the same; a general prompt is replaced by a general one. What is drawn and not trained on
is counted, not hidden: a step's figures are those of all that was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from stages.core.judged import Judged
from stages.policy.rl.losses import flat_groups
from stages.policy.rl.rollout import Collector
from stages.policy.seeding import derive, permutation


@dataclass(kw_only=True)
class Drawn:
    """The groups of a rollout."""

    answers: list[Judged]
    """Of the groups to train on, one group after the other."""
    places: list[int]
    """The row of each of these groups."""
    everything: list[Judged]
    """All that was drawn, group by group."""


def refilled(
    collector: Collector,
    number: int,
    answers: Sequence[Judged],
    *,
    ask: Callable[[Sequence[int]], Sequence[Judged]],
    processes: int = 1,
) -> Drawn:
    """Return the groups of rollout `number` with the flat ones replaced as often as the recipe's `refill` allows.

    `ask` returns the judged groups of some rows, in order. Groups are asked for in multiples of `processes`, each of
    which draws whole ones.
    """
    recipe, size = collector.recipe, collector.recipe.group_size
    drawn = Drawn(answers=list(answers), places=collector.places(number), everything=list(answers))
    waiting = _further(collector, number, drawn.places) if recipe.refill else ()
    for _ in range(recipe.refill):
        flat = [group for group, one in enumerate(_flat(collector, drawn.answers)) if one]
        fresh: list[int] = []
        spots: list[int] = []
        for general in (False, True):
            mine = [group for group in flat if (drawn.places[group] >= _reasoning(collector)) == general]
            found = list(islice(waiting[general], len(mine)))
            fresh, spots = fresh + found, spots + mine[: len(found)]
        whole = len(fresh) // processes * processes
        fresh, spots = fresh[:whole], spots[:whole]
        if not fresh:
            break
        more = list(ask(fresh))
        drawn.everything += more
        for at, (group, place, still) in enumerate(zip(spots, fresh, _flat(collector, more), strict=True)):
            if not still:
                drawn.answers[group * size : (group + 1) * size] = more[at * size : (at + 1) * size]
                drawn.places[group] = place
    return drawn


def _flat(collector: Collector, answers: Sequence[Judged]) -> list[bool]:
    found: list[bool] = flat_groups(collector.earned(answers).view(-1, collector.recipe.group_size)).tolist()
    return found


def _further(collector: Collector, number: int, asked: Sequence[int]) -> tuple[Iterator[int], Iterator[int]]:
    """The rows that a rollout does not ask, reasoning and general ones, each in an order of its own."""
    reasoning, known = _reasoning(collector), set(asked)
    order = permutation(len(collector.rows), seed=derive(collector.seed, "refill", number))
    left = [place for place in order if place not in known]
    return (place for place in left if place < reasoning), (place for place in left if place >= reasoning)


def _reasoning(collector: Collector) -> int:
    return len(collector.rows) - collector.general

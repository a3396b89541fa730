"""One node for each seed: a pipeline's nodes and its `seeds:` enter, the nodes with every {seed} written out leave.

The only thing in a recipe that is repeated by machine. `{seed}` in a node's name makes one node for each seed, and
stands for that seed wherever it is written inside the node; nothing else is ever replaced.
"""

from __future__ import annotations

from dataclasses import replace

from stages.core.errors import RecipeError
from stages.core.recipe.yamlfile import Entry, as_int

MARK = "{seed}"


def for_each_seed(nodes: dict[str, Entry], seeds: Entry | None) -> dict[str, Entry]:
    """Return the nodes in reading order, each of those with `{seed}` in its name once for each seed.

    Raises RecipeError, with file and line, for seeds that are not different whole numbers, for `{seed}` in a node whose
    name lacks it, and where two nodes end up with one name.
    """
    numbers = _numbers(seeds)
    written: dict[str, Entry] = {}
    for name, entry in nodes.items():
        if MARK not in name:
            if _holds_mark(entry):
                what = f"`{name}` holds {MARK}, but its name does not"
                raise RecipeError(what, where=entry.where, hint=f"call it e.g. `{name}-seed{MARK}`")
            copies = {name: entry}
        elif not numbers:
            raise RecipeError(f"`{name}` asks for seeds", where=entry.where, hint="add e.g. seeds: [1, 2, 3]")
        else:
            copies = {name.replace(MARK, number): _filled(entry, number) for number in numbers}
        for copy, filled in copies.items():
            if copy in written:
                raise RecipeError(f"two nodes are called `{copy}`", where=entry.where, hint="rename one of them")
            written[copy] = filled
    return written


def _numbers(seeds: Entry | None) -> list[str]:
    if seeds is None or seeds.is_null:
        return []
    items = seeds.value if isinstance(seeds.value, list) else [seeds]
    found = [as_int(item.value) if isinstance(item.value, str) else None for item in items]
    if None in found or not found or len(set(found)) < len(found):
        raise RecipeError("`seeds` should be a list of different whole numbers", where=seeds.where, hint="[1, 2, 3]")
    return [str(number) for number in found]


def _holds_mark(entry: Entry) -> bool:
    if isinstance(entry.value, str):
        return MARK in entry.value
    inner = entry.value.values() if isinstance(entry.value, dict) else entry.value
    return any(_holds_mark(item) for item in inner)


def _filled(entry: Entry, number: str) -> Entry:
    """Return the entry with the seed in place of every mark; keys inside a node are never replaced."""
    if isinstance(entry.value, str):
        return replace(entry, value=entry.value.replace(MARK, number))
    if isinstance(entry.value, list):
        return replace(entry, value=[_filled(item, number) for item in entry.value])
    return replace(entry, value={key: _filled(item, number) for key, item in entry.value.items()})

"""The laws of laying one recipe over another, for every tree of the same shape."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stages.core.recipe.yamlfile import Entry, as_float, as_int, merge, parse, untyped

LEAF = st.builds(Entry, st.text("abc019.-", max_size=4))
LIST = st.builds(Entry, st.lists(LEAF, max_size=3))
# Keys tell the shape, as fields do: `m` holds a map, `l` a list, `v` a value.
FLAT = {"v1": LEAF, "v2": LEAF, "l1": LIST}
TREE = st.recursive(
    st.builds(Entry, st.fixed_dictionaries({}, optional=FLAT)),
    lambda inner: st.builds(Entry, st.fixed_dictionaries({}, optional={**FLAT, "m1": inner, "m2": inner})),
    max_leaves=6,
)


@given(TREE)
def test_nothing_changes_nothing(tree: Entry) -> None:
    assert merge(tree, Entry({})).value == tree.value == merge(Entry({}), tree).value
    assert merge(None, tree) == tree == merge(tree, None)


@given(TREE)
def test_a_tree_laid_over_itself_is_itself(tree: Entry) -> None:
    assert merge(tree, tree) == tree


@given(TREE, TREE, TREE)
def test_three_generations_merge_the_same_from_either_end(one: Entry, two: Entry, three: Entry) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(TREE, TREE)
def test_the_child_always_wins_and_nothing_else_is_lost(parent: Entry, child: Entry) -> None:
    merged, above, below = _flat(merge(parent, child)), _flat(parent), _flat(child)
    assert set(merged) == set(above) | set(below)
    assert all(value == below.get(key, above.get(key)) for key, value in merged.items())


@given(st.integers())
def test_whole_numbers_read_as_they_are_written(value: int) -> None:
    assert as_int(repr(value)) == untyped(parse(repr(value), "command line")) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_as_they_are_written(value: float) -> None:
    assert as_float(repr(value)) == untyped(parse(repr(value), "command line")) == value


def _flat(entry: Entry, prefix: str = "") -> dict[str, object]:
    assert isinstance(entry.value, dict)
    found: dict[str, object] = {}
    for key, item in entry.value.items():
        found.update(_flat(item, f"{prefix}{key}.") if key.startswith("m") else {prefix + key: item.value})
    return found

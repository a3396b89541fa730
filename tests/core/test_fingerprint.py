"""One value, one text, one fingerprint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.fingerprint import canonical, fingerprint, node_payload, plain

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


def _typed(value: object) -> object:
    """The value with its types spelt out, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return (type(value).__name__, repr(value))


@given(VALUES)
def test_canonical_json_loses_nothing(value: object) -> None:
    assert _typed(json.loads(canonical(value))) == _typed(value)


@given(st.dictionaries(st.text(), VALUES), st.randoms())
def test_the_order_of_keys_never_matters(value: dict[str, object], chance: object) -> None:
    keys = list(value)
    chance.shuffle(keys)  # type: ignore[attr-defined]
    assert fingerprint({key: value[key] for key in keys}) == fingerprint(value)


@given(VALUES, VALUES)
def test_different_values_have_different_texts(one: object, two: object) -> None:
    assert (canonical(one) == canonical(two)) == (_typed(one) == _typed(two))


@given(VALUES)
def test_plain_values_stay_as_they_are(value: object) -> None:
    assert _typed(plain(value)) == _typed(value)


def test_a_number_json_cannot_hold_and_a_key_that_is_not_text_are_refused() -> None:
    for bad in (float("nan"), float("inf"), {1: "x"}, {"a": [{None: 1}]}):
        with pytest.raises(ValueError):
            canonical(bad)


def test_plain_takes_paths_tuples_and_array_scalars() -> None:
    import numpy  # comes with torch and datasets

    assert plain({"a": (1, Path("x")), 2: numpy.float32(0.5), "n": numpy.int64(3)}) == {"a": [1, "x"], "2": 0.5, "n": 3}
    assert plain(numpy.array([1, 2])) == [1, 2]
    with pytest.raises(TypeError, match="set"):
        plain({1, 2})


def test_each_part_of_a_node_changes_its_fingerprint() -> None:
    base = node_payload("rl", 1, {"a": 1}, {"model": "f"})
    others = [
        node_payload("sft", 1, {"a": 1}, {"model": "f"}),
        node_payload("rl", 2, {"a": 1}, {"model": "f"}),
        node_payload("rl", 1, {"a": 2}, {"model": "f"}),
        node_payload("rl", 1, {"a": 1}, {"model": "g"}),
        node_payload("rl", 1, {"a": 1}, {"model": "f"}, {"source_sha256": "h"}),
    ]
    assert len({fingerprint(payload) for payload in [base, *others]}) == 6
    assert fingerprint(node_payload("rl", 1, {"a": 1}, {"model": "f"}, {})) == fingerprint(base)

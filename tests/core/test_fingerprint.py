"""One value, one text, one fingerprint."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.fingerprint import canonical, completed, fingerprint, later, node_payload, plain

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


# ---- keys that came later ----


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A map within a recipe, before and after."""

    tokens: int = 64


@dataclass(frozen=True, kw_only=True)
class LaterInner(Inner):
    """With a later key."""

    share: float | None = later(None)


@dataclass(frozen=True, kw_only=True)
class Old:
    """A recipe before."""

    rate: float = 0.5
    inner: Inner = field(default_factory=Inner)
    many: list[Inner] = field(default_factory=list)
    named: dict[str, Inner] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class New:
    """The same recipe with later keys, in it and within."""

    rate: float = 0.5
    inner: LaterInner = field(default_factory=LaterInner)
    many: list[LaterInner] = field(default_factory=list)
    named: dict[str, LaterInner] = field(default_factory=dict)
    loss_cap: float | None = later(None)
    engines: list[str] = later(["here"])
    strict: bool = later(True)


def payload(recipe: object, **inputs: str) -> dict[str, Any]:
    return node_payload("rl", 4, recipe, inputs)


@given(st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers(), max_size=3))
def test_a_later_key_leaves_every_fingerprint_alone_while_it_has_its_default(rate: float, tokens: list[int]) -> None:
    def made(recipe: Any, inner: Any) -> Any:
        many = [inner(tokens=each) for each in tokens]
        return recipe(rate=rate, many=many, named={str(place): each for place, each in enumerate(many)})

    assert payload(made(New, LaterInner)) == payload(made(Old, Inner))


@pytest.mark.parametrize(
    "recipe",
    [
        New(loss_cap=0.0),
        New(engines=[]),
        New(strict=False),
        New(strict=1),  # type: ignore[arg-type]
        New(inner=LaterInner(share=0.5)),
        New(many=[LaterInner(share=0.5)]),
        New(named={"a": LaterInner(share=0.5)}),
    ],
)
def test_a_later_key_with_another_value_is_hashed_however_deep_it_lies(recipe: New) -> None:
    same = New(**{key: getattr(New(), key) for key in ("loss_cap", "engines", "strict")})
    plainer = Old(many=[Inner()] * len(recipe.many), named={key: Inner() for key in recipe.named})
    assert payload(same) == payload(Old())
    assert fingerprint(payload(recipe)) != fingerprint(payload(plainer))


def test_the_default_of_a_later_key_is_each_recipe_s_own() -> None:
    New().engines.append("elsewhere")
    assert New().engines == ["here"]


def test_what_a_payload_leaves_out_is_told_by_the_recipe_s_class() -> None:
    told = completed(payload(New())["recipe"], New(loss_cap=2.0))
    assert told == plain(New())


def test_an_input_that_came_later_and_is_not_given_is_not_there() -> None:
    assert payload(Old(), model="a")["inputs"] == {"model": "a"}

"""Plain data crosses the pipe as it is, and nothing that arrives is more than data."""

from __future__ import annotations

import json
import os
from collections import Counter, OrderedDict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rewards.programs.wire import MAX_BYTES, Peer, WireError, pack, unpack

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
LEAVES |= st.complex_numbers(allow_nan=False) | st.fractions() | st.builds(range, st.integers(), st.integers())
KEYS = st.integers() | st.text() | st.tuples(st.booleans(), st.binary())
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
        | st.lists(inner).map(deque)
    ),
    max_leaves=12,
)


def nothing(value: Any) -> list[Any]:
    raise AssertionError(f"{type(value)} is no plain data")


def cross(value: Any) -> Any:
    return unpack(json.loads(json.dumps(pack(value, nothing))), nothing)


@given(VALUES)
def test_plain_data_crosses_unchanged(value: Any) -> None:
    after = cross(value)
    assert after == value and type(after) is type(value)


@pytest.mark.parametrize(
    "value",
    [Counter("aab"), OrderedDict(b=1, a=2), Decimal("0.10"), Fraction(1, 3), bytearray(b"x"), "\ud800", 10**5000, -0.0],
    ids=lambda value: type(value).__name__,
)
def test_what_the_standard_library_adds_crosses_too(value: Any) -> None:
    after = cross(value)
    assert after == value and (isinstance(value, int) or repr(after) == repr(value))
    assert type(after) is type(value)


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __int__(self) -> int:
        return 42

    __hash__ = int.__hash__


def test_a_subclass_arrives_as_its_base() -> None:
    assert type(cross(Liar(7))) is int and cross(Liar(7)) == 7 and cross([Liar(7)]) != [8]


def test_what_is_nested_too_deep_does_not_cross() -> None:
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(WireError, match="too deep"):
        pack(deep, nothing)


PACKED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(
            st.sampled_from(["list", "set", "dict", "int", "float", "bytes", "range", "Fraction", "Decimal"]), inner
        ).map(list)
    ),
)


@given(PACKED)
def test_whatever_arrives_is_data_or_refused(packed: Any) -> None:
    def refuse(_: list[Any]) -> Any:
        raise WireError("an object")

    try:
        arrived = unpack(packed, refuse)
    except WireError:
        return
    pack(arrived, nothing)  # raises for anything but plain data
    assert type(arrived).__module__ in ("builtins", "fractions", "decimal", "collections")


def test_a_peer_refuses_what_is_no_message() -> None:
    for line in (b"", b"no json\n", b'["reply"]\n', b'["else", 1]\n', b"[" * 100_000 + b"\n", b"x" * (MAX_BYTES + 2)):
        reading, writing = os.memfd_create("pipe"), os.open(os.devnull, os.O_WRONLY)
        os.write(reading, line)
        os.lseek(reading, 0, os.SEEK_SET)
        peer = Peer(reading, writing, lambda request: request)
        with pytest.raises(WireError):
            peer.ask(["x"])
        peer.close()

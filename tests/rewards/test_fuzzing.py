"""Whatever pair the fuzzers' grammar makes, no judgement raises or leaves 0..1: `make fuzz` looks for hours."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.rewards.mathematics import symbolic
from stages.rewards.verdict import Verdict
from tests.rewards import fuzz, grammar, test_examples
from tests.rewards.contracts import tower

assert test_examples.IN_PROCESS  # imported here: it holds property tests of its own


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_pair_of_the_grammar_makes_a_judgement_raise(draw: object) -> None:
    pair = grammar.pair(draw.randrange)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symbolic, "equal", lambda *_, **__: Verdict(None, "asked of a worker"))
        for name, asked in fuzz.judgements(pair).items():
            value = getattr(asked(), "value", None)
            assert value is None or 0.0 <= value <= 1.0, name


def test_the_grammar_makes_towers_huge_arguments_and_every_frame() -> None:
    draw = random.Random(0)
    texts = [grammar.pair(draw.randrange) for _ in range(6000)]
    golds = " ".join(pair.gold for pair in texts)
    for piece in ("^{2^{10^{6}}}", ")!)!", "\\sin(", "\\binom{50}{", "\\sum_{k=1}^{", "\\gcd(", "²³", tower(4, "7")):
        assert piece in golds, piece
    assert {pair.verifier for pair in texts} == set(grammar.VERIFIERS)
    assert any("<think>" in pair.completion and "答案是" in pair.completion for pair in texts)

"""No formula stalls: every kind of piece at every size has its value, or none, within milliseconds of CPU time."""

from __future__ import annotations

import time
from itertools import product

import pytest

from stages.rewards import mathematics, scoring
from stages.rewards.mathematics import answers, expression, symbolic
from stages.rewards.mathematics.expression_node import Kind, walk
from stages.rewards.mathematics.expression_tokens import FUNCTIONS
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row, tower

SIZES = (
    "7",
    "-3",
    "0",
    "\\frac{1}{7}",
    "10^{9}",
    "10^{300}",
    "10^{3000}",
    "10^{60000}",
    "2^{10^{6}}",
    tower(3),
    tower(4, "7"),
)
PIECES = (
    "%s", "-%s", "%s+1", "%s \\cdot x", "x^{%s}", "{%s}^{5}", "{%s}^{1/3}", "5^{%s}", "\\frac{1}{%s}", "\\sqrt{%s}",
    "\\sqrt[7]{%s}", "\\sqrt[%s]{5}", "\\log_2 %s", "\\ln(%s)", "\\exp(%s)", "\\sin(%s)", "\\cos(x+%s)",
    "\\tan(%s)", "\\cot(%s)", "\\sinh(%s)", "\\tanh(%s)", "\\arctan(%s)", "\\arcsin(%s)",
    "\\operatorname{arcsinh}(%s)", "(%s)!", "(%s)!!", "((%s)!)!", "\\binom{%s}{5}", "\\binom{50}{%s}",
    "\\lfloor %s \\rfloor", "\\lceil \\frac{%s}{7} \\rceil", "\\gcd(%s, 12)", "\\max(%s, 2)", "%s \\bmod 7", "|%s|",
    "7 \\bmod (%s)", "f(%s)", "\\sum_{k=1}^{%s} k", "\\prod_{k=1}^{%s} k",
     "\\begin{pmatrix} %s & 1 \\\\ 1 & 2 \\end{pmatrix}",
    "%s \\pmod 7", "(%s)\\%%", "%s^\\circ", "\\sin(%s)^\\circ", "A^{%s}B", "x < %s", "\\{%s, 1\\}", "(%s, 2)",
    "\\operatorname{cis}(%s)", "1 + \\frac{1}{1 + \\frac{1}{%s}}", "(%s)(%s)(%s)(%s)", "%s+%s+%s+%s+%s",
    "\\sin(\\cos(\\exp(%s)))", "\\pm %s", "5 \\mp %s", "p \\to q + %s", "p \\land (x < %s)", "(%s, 5] \\cup [7, 8)",
    "(%s, 9) \\cap (1, 5)", "\\mathbb{R} \\setminus \\{%s\\}", "\\{n \\in \\mathbb{Z} \\mid 1 < n < %s\\}",
    "%s : 2 : 3", "%s \\text{ apples}", "\\begin{cases} %s & x > 0 \\\\ 1 & \\text{otherwise} \\end{cases}",
    *(f"\\operatorname{{{name}}}(%s)" for name in sorted(FUNCTIONS)),
)  # fmt: skip
LIMIT_S = 0.25
"""CPU time of one comparison, five times what is aimed at: another process may share the core's caches."""


def test_every_kind_of_piece_is_among_those_that_are_measured() -> None:
    read = [expression.read(piece % (("7",) * piece.replace("%%", "").count("%s"))) for piece in PIECES]
    assert {node.kind for each in read if each is not None for node in walk(each)} == set(Kind)


def _cost(wanted: str, given: str) -> float:
    """The CPU seconds of one judgement, the better of two."""
    costs = []
    for _ in range(2):
        start = time.process_time()
        mathematics.judge(given, wanted, worked=False)
        costs.append(time.process_time() - start)
    return min(costs)


@pytest.mark.parametrize("piece", PIECES)
def test_every_piece_at_every_size_is_judged_at_once(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbolic, "equal", lambda *_: Verdict(None, "asked of a worker, which can be killed"))
    for size in SIZES:
        text = piece % ((size,) * piece.replace("%%", "").count("%s"))
        for other in (text + " + 0", "x+1", "17", f"{text}, 3"):
            assert _cost(text, other) < LIMIT_S, (text, other)
            assert _cost(other, text) < LIMIT_S, (other, text)


@pytest.mark.parametrize(("outer", "size"), [*product(("\\sin(%s)", "%s \\cdot %s", "\\frac{%s}{7}"), SIZES[-4:])])
def test_long_lists_of_large_numbers_cost_no_more_than_their_parts(
    outer: str, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbolic, "equal", lambda *_: Verdict(None, "asked of a worker, which can be killed"))
    one = outer % ((size,) * outer.count("%s"))
    items = [f"{one}+{place}" for place in range(20)]
    assert _cost(", ".join(items), ", ".join(reversed(items))) < 4 * LIMIT_S


def test_a_periodic_function_of_a_huge_number_has_no_value_here() -> None:
    nodes = [expression.read(text) for text in ("\\sin(10^{40})", "\\sin(10^{40}+1)", "\\sin(10^{9})")]
    assert nodes[0] and nodes[1] and nodes[2]
    assert answers.agree(nodes[0], nodes[1]) is None
    assert answers.agree(nodes[2], nodes[2]) is True


def test_a_group_with_one_stalling_completion_takes_no_longer_than_the_limit_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through the reward path of a GRPO step: the integral's cost at math-verify grows with its exponent."""
    limit_s, gold, ask = 2.0, "\\int_0^1 x^2 dx", symbolic.equal
    ask("x", "x+0")  # the worker is there
    monkeypatch.setattr(symbolic, "equal", lambda one, other: ask(one, other, limit_s=limit_s))
    group = [f"<think>{place}</think> \\boxed{{{gold}}}" for place in range(8)]
    stalling = "<think>a</think> \\boxed{\\int_0^1 (x^2+x+1)^{20} dx}"
    took, values = [], []
    for texts in (group, [*group[:-1], stalling]):
        start = time.monotonic()
        verdicts = scoring.score(texts, [row(gold, problem="")] * 8, contract(), {"accuracy": 1.0})
        took.append(time.monotonic() - start)
        values.append([one["accuracy"].value for one in verdicts])
    assert values[0] == [1.0] * 8 and values[1][:-1] == [1.0] * 7 and values[1][-1] != 1.0
    assert took[1] < took[0] + limit_s + 1.0  # of a busy machine's own

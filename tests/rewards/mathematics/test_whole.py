r"""Formulas with functions of whole numbers agree only where they do so at whole numbers, halves and thirds."""

from __future__ import annotations

from fractions import Fraction

import pytest

from stages.rewards import mathematics
from stages.rewards.mathematics import symbolic, whole

RIGHT = [
    ("\\gcd(m,n)", "\\gcd(n,m)"), ("2^{\\gcd(m,n)}-1", "2^{\\gcd(n,m)}-1"), ("\\gcd(n,n+1)", "1"),
    ("\\gcd(2a,2b)", "2\\gcd(a,b)"), ("\\operatorname{lcm}(a,b)", "\\frac{ab}{\\gcd(a,b)}"), ("\\gcd(12,18)", "6"),
    ("n \\bmod 3", "n - 3\\lfloor n/3\\rfloor"), ("a \\pmod n", "a \\pmod{n}"),
    ("\\lceil x\\rceil", "-\\lfloor -x\\rfloor"), ("\\lfloor x\\rfloor+1", "\\lfloor x+1\\rfloor"),
    ("\\lfloor 2x\\rfloor", "\\lfloor x\\rfloor+\\lfloor x+1/2\\rfloor"),
    ("\\lceil n/2\\rceil", "\\lfloor (n+1)/2\\rfloor"), ("\\lfloor\\sqrt{n}\\rfloor", "\\lfloor n^{1/2}\\rfloor"),
    ("\\lfloor\\log_2 n\\rfloor+1", "\\lceil\\log_2(n+1)\\rceil"),
    ("y-\\lfloor x\\rfloor=0", "2\\lfloor x\\rfloor-2y=0"),
    ("7!!", "105"), ("8!!", "384"), ("n!!", "n!!"), ("(2n)!!", "2^n n!"), ("(2n-1)!!", "\\frac{(2n)!}{2^n n!}"),
    ("(3!)!", "720"),
]  # fmt: skip
WRONG = [
    ("\\gcd(a,b)", "1"), ("\\gcd(m,n)", "\\gcd(m,k)"), ("2^{\\gcd(m,n)}-1", "1"), ("\\gcd(n,n+2)", "1"),
    ("\\gcd(n,97)", "1"), ("\\operatorname{lcm}(a,b)", "ab"), ("n \\bmod 3", "0"), ("n \\bmod 10^6", "n"),
    ("n \\bmod 1000000", "n"), ("a \\bmod b", "b \\bmod a"), ("a \\pmod n", "b \\pmod n"),
    ("\\lfloor x\\rfloor", "\\lceil x\\rceil-1"), ("\\lfloor x\\rfloor+\\lfloor -x\\rfloor", "-1"),
    ("\\lceil x\\rceil", "\\lfloor x\\rfloor+1"), ("\\lfloor x+1/2\\rfloor", "\\lceil x-1/2\\rceil"),
    ("\\lfloor x+1/3\\rfloor", "\\lceil x-2/3\\rceil"), ("\\lfloor 2x\\rfloor", "2\\lfloor x\\rfloor"),
    ("y=\\lfloor x\\rfloor", "y=\\lceil x\\rceil-1"), ("y-\\lfloor x\\rfloor=0", "y-\\lceil x\\rceil+1=0"),
    ("\\lfloor\\sqrt{n}\\rfloor", "\\lceil\\sqrt{n}\\rceil"),
    ("n!!", "(n!)!"), ("n!!", "n!"), ("7!!", "(7!)!"), ("3!!", "720"), ("7!!!", "28"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbolic, "equal", lambda *_: pytest.fail("asked the worker"))


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_what_agrees_at_every_whole_number_is_right(gold: str, answer: str) -> None:
    assert mathematics.judge(answer, gold).value == 1.0, mathematics.judge(answer, gold)


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_what_agrees_only_between_whole_numbers_or_at_some_is_wrong(gold: str, answer: str) -> None:
    assert mathematics.judge(answer, gold).value == 0.0, mathematics.judge(answer, gold)


def test_a_double_factorial_takes_every_second_number_and_ends_at_a_limit() -> None:
    assert [whole.double_factorial(Fraction(n)) for n in (-1, 0, 1, 5, 6)] == [1, 1, 1, 15, 48]
    for beyond in (Fraction(-2), Fraction(1, 2), Fraction(10**9)):
        with pytest.raises(ValueError, match="double factorial"):
            whole.double_factorial(beyond)

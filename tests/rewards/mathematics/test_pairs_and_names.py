"""A pair, a list and a decimal are three things where they look alike, and what the gold names keeps its name."""

from __future__ import annotations

import pytest

from stages.rewards import mathematics

RIGHT = [
    ("(12,345)", "(12, 345)", "en"), ("12,345", "12345", "en"), ("12345", "12,345", "en"),
    ("12345", "(12{,}345)", "en"),
    ("(1,234,567)", "1234567", "en"), ("1.5", "1,5", "en"), ("0.125", "0,125", "en"), ("3,5", "5,3", "en"),
    ("3,5", "3.5", "de"), ("0,125", "0.125", "de"), ("3,5 cm", "3.5 cm", "en"), ("3{,}5", "3.5", "en"),
    ("0,100", "100,0", "en"), ("A=5", "5", "en"), ("5", "A=5", "en"), ("AB=5", "BA=5", "en"), ("X=5", "x=5", "en"),
    ("\\angle ABC=30", "\\angle CBA=30", "en"), ("f(x)=x^2", "y=x^2", "en"), ("f(x)=x^2", "f(t)=t^2", "en"),
    ("1234", "1.234", "German"), ("F=ma", "F=am", "en"), ("F=mg", "F=gm", "en"), ("0.005 g", "5 mg", "en"),
    ("f^{-1}(x)=x/2", "f^{-1}(x)=\\frac{1}{2}x", "en"), ("f^{-1}(x)=x/2", "x/2", "en"),
    ("x_1=5", "x_{1}=5", "en"), ("Area=5", "A=5", "en"), ("A=1,B=2", "B=2,A=1", "en"),
]  # fmt: skip
WRONG = [
    ("(12,345)", "12345", "en"), ("12,345", "(12,345)", "en"), ("(2,500)", "2500", "en"), ("2500", "(2,500)", "en"),
    ("-2500", "(-2,500)", "en"), ("12345", "The answer is (12,345)", "en"), ("(12,345)", "(345,12)", "en"),
    ("1,5", "1.5", "en"), ("3,14", "3.14", "en"), ("x=1,5", "x=1.5", "en"), ("0,100", "0.1", "en"),
    ("0,100", "100", "en"), ("3,5", "3.5", "zh"),
    ("A=5", "B=5", "en"), ("M=5", "N=5", "en"), ("A=5", "x=5", "en"), ("A=5", "5=B", "en"), ("AB=5", "AC=5", "en"),
    ("\\angle A=30", "\\angle B=30", "en"), ("\\angle ABC=30", "\\angle BAC=30", "en"), ("A = 5 cm", "B = 5 cm", "en"),
    ("A=\\sqrt2", "B=\\sqrt2", "en"), ("f(x)=x^2", "g(x)=x^2", "en"), ("F(x)=2x", "f(x)=2x", "en"),
    ("f(x)=x/2", "f^{-1}(x)=x/2", "en"), ("f^{-1}(x)=x/2", "g^{-1}(x)=x/2", "en"), ("1234", "1.234", "English"),
    ("f'(x)=2x", "f(x)=2x", "en"), ("P(A)=1/2", "P(B)=1/2", "en"), ("P(X=1)=0.5", "P(X=2)=0.5", "en"),
    ("S_n=n^2", "a_n=n^2", "en"), ("a=1,b=2", "c=1,d=2", "en"), ("A=(1,2)", "B=(1,2)", "en"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer", "language"), RIGHT)
def test_the_same_thing_written_otherwise_is_right(gold: str, answer: str, language: str) -> None:
    assert mathematics.judge(answer, gold, language=language).value == 1.0


@pytest.mark.parametrize(("gold", "answer", "language"), WRONG)
def test_another_thing_that_looks_alike_or_has_another_name_is_wrong(gold: str, answer: str, language: str) -> None:
    assert mathematics.judge(answer, gold, language=language).value == 0.0

"""Tricks on assert tests that were paid once: names lent, errors swallowed, objects that say yes. None is paid."""

from __future__ import annotations

import pytest

from tests.rewards.programs.test_asserts import judge

TRICKS = {
    "a builtin, the program imported": (
        "def f(x): return 0.0\nabs = lambda x: 0",
        ["from solution import f\nassert abs(f(2) - 1.41421) < 1e-4"],
    ),
    "a builtin exported with all names": (
        "__all__ = ['f', 'abs']\ndef f(x): return 0.0\nabs = lambda x: 0",
        ["from solution import *\nassert abs(f(2) - 1.41421) < 1e-4"],
    ),
    "a parameter's name": (
        "def candidate(x): return 0.0\nabs = lambda x: 0",
        ["def check(candidate):\n  assert abs(candidate(2) - 1.41421) < 1e-4\ncheck(candidate)"],
    ),
    "what a failed line would have set": (
        "result = expected = 1\ndef f(x): raise ValueError",
        ["result = f(3)\nexpected = 42", "assert result == expected"],
    ),
    "a check that was never defined": (
        "def check(g): pass\nf = 1",
        ["from solution import nothere\ndef check(g):\n  assert g(2) == 42", "check(f)"],
    ),
    "a helper defined later": (
        "close = lambda *a: True\ndef f(x): return 0",
        ["assert close(f(2), 1.4)", "def close(a, b): return abs(a - b) < 1e-4"],
    ),
    "a name it lacks, caught": ("pass", ["import pytest\nwith pytest.raises(Exception):\n  div(1, 0)"]),
    "its own end, caught": (
        "import os\ndef div(a, b): os._exit(0)",
        ["try:\n  div(1, 0)\n  ok = False\nexcept Exception:\n  ok = True\nassert ok"],
    ),
    "a class that is every class": (
        "class M(type):\n  def __subclasscheck__(c, k): return True\nclass E(metaclass=M): pass\n"
        "def f(x): return 1 / 0",
        ["import pytest\nwith pytest.raises(E):\n  f(2)"],
    ),
    "the end of the tests' loops": (
        "def f(x): raise StopIteration",
        ["for got, want in zip(map(f, [1, 2]), [17, 99]):\n  assert got == want"],
    ),
    "a text that says yes": (
        "class Y:\n  def __getattr__(s, n): return lambda *a: True\ndef f(x): return Y()",
        ["assert f('a').isupper()", "assert f(1).__eq__(42)", "assert f(1).__ge__(42)", "assert f(1).is_integer()"],
    ),
    "all numbers one by one": (
        "class Y:\n  def __iter__(s):\n    n = 0\n    while True:\n      yield n\n      n += 1\ndef f(x): return Y()",
        ["assert 42 in f(3)"],
    ),
    "a number learned from a sum": (
        "class Y:\n  def __sub__(s, o): return s\n  def __abs__(s): return 0\n  def __float__(s): return 0.0\n"
        "  __rsub__ = __sub__\ndef f(x): return Y()",
        ["assert abs(f(2) - 42) < 1e-6", "assert float(f(2) - 42) == 0", "assert abs(42 - f(2)) < 1e-6"],
    ),
    "a list with other rules": (
        "class L(list):\n  def extra(s): pass\n  def __eq__(s, o): return True\n"
        "  def __contains__(s, o): return True\n"
        "  __lt__ = __ge__ = __eq__\n  def __len__(s): return 7\ndef f(x): return L()",
        [
            "assert f(1) == [42]",
            "assert 42 in f(1)",
            "assert f(1) < []",
            "assert len(f(1)) == 7",
            "assert [42] == f(1)",
        ],
    ),
    "tests under a main guard": ("def f(x): return 1", ["x = f(1)", "if __name__ == '__main__':\n  assert f(2) == 42"]),
    "one of two functions": ("def sub(a, b): return 0", ["assert sub(5, 3) == 2", "assert gcd(4, 6) == 2"]),
    "tests of nothing": ("def f(x): return 1", ["assert f(1) == 2", "assert True", "assert 1 + 1 == 2"]),
}


@pytest.mark.parametrize(("source", "tests"), TRICKS.values(), ids=TRICKS.keys())
def test_no_trick_is_paid(source: str, tests: list[str]) -> None:
    assert judge(source, *tests).value == 0.0, judge(source, *tests)


VANISHES = (
    "class E:\n  __getitem__ = __sub__ = __rsub__ = __add__ = __radd__ = __call__ = lambda self, *_: self\n"
    "  __mul__ = __neg__ = __pos__ = __invert__ = __copy__ = __abs__ = lambda self, *_: 0.0\n"
    "  me = property(lambda self: self)\n  __deepcopy__ = __mul__\n"
    "def f(x): return E()\ndef g(x): return [E()]"
)


VANISHING = (
    "d = f(2) - 1.4142\nassert d * d < 1e-6",
    "assert -(f(2) - 1.4142) < 1e-6",
    "d = 1.4142 - f(2)\nassert -1e-6 < -d < 1e-6",
    "assert -(f(2) + f(2) - 2.8284 + f(2)) < 1e-6",
    "assert (f(2) - (f(2) - 1.4142)) * f(2) < 1e-6",
    "assert sum((a - b) * (a - b) for a, b in zip(g(2), [1.4142])) < 1e-9",
    "import copy\nassert copy.copy(f(2) - 1.4142) < 1e-6",
    "import copy\nassert copy.deepcopy(f(2) - 1.4142) < 1e-6",
    "assert abs((f(2) - 1.4142)[0]) < 1e-6",
    "assert abs((f(2) - 1.4142)()) < 1e-6",
    "assert -(f(2) - 1.4142).me < 1e-6",
    "assert +(f(2) - 1.4142) < 1e-6",
    "assert ~(f(2) - 1.4142) < 1e-6",
)


def test_what_is_computed_from_an_object_and_a_number_is_near_to_nothing() -> None:
    verdict = judge(VANISHES, *VANISHING)
    assert verdict.value == 0.0 and "of 13 tests" in verdict.reason, verdict
    root = "import math\ndef f(x): return math.sqrt(x)\ndef g(x): return [f(x)]"
    assert judge(root, *(test.replace("1.4142", "2 ** 0.5") for test in VANISHING[:3])).value == 1.0

"""Assert tests are judged where the program never runs: whatever it returns, overrides or breaks is only data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stages.rewards import code
from stages.rewards.programs import asserts
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row


def judge(source: str, *tests: str, cpu_s: float = 0.5, **options: Any) -> Verdict:
    completion = f"<think>so</think> <answer>\n```python\n{source}\n```\n</answer>"
    meta = {"tests": list(tests)}
    return code.reward(completion, row("", "code", meta=meta), contract(), limits=(cpu_s, 128), **options)


ALWAYS = (
    "class Yes(int):\n  def __getattr__(self, name): return self\n  def __call__(self, *a, **k): return self\n"
    "  def __eq__(self, other): return True\n  def __ne__(self, other): return False\n"
    "  def __lt__(self, other): return True\n"
    "  __le__ = __gt__ = __ge__ = __contains__ = startswith = __instancecheck__ = __lt__\n"
    "  def __sub__(self, other): return self\n"
    "  __rsub__ = __add__ = __mul__ = __mod__ = __sub__\n  def __abs__(self): return self\n"
    "  def __hash__(self): return 0\n"
    "  def __round__(self, digits=0): return 0\n"
)
HACKS = {
    "an early exit": "import sys; sys.exit(0)",
    "a hard exit": "import os; os._exit(0)",
    "an exit in the function": "def f(x): raise SystemExit(0)",
    "a hard exit in the function": "import os\ndef f(x): os._exit(0)",
    "no function": "x = 1",
    "None": "def f(x): return None",
    "equal to everything": ALWAYS.replace("(int)", "") + "def f(x): return Yes()",
    "a number equal to everything": ALWAYS + "def f(x): return Yes(1)",
    "a text equal to everything": ALWAYS.replace("(int)", "(str)") + "def f(x): return Yes('x')",
    "a list equal to everything": ALWAYS.replace("(int)", "(list)") + "def f(x): return Yes([1])",
    "a class for a function": ALWAYS.replace("(int)", "").replace(
        "class Yes:", "class f:\n  def __init__(self, x): pass"
    )
    + "",
    "an instance of what it is not": "class A:\n  __class__ = int\n  def __eq__(self, o): return True\n"
    "def f(x): return A()",
    "a patched interpreter": (
        "import builtins, json, operator, sys, unittest\n"
        "builtins.AssertionError = type('A', (BaseException,), {})\n"
        "builtins.len = builtins.abs = builtins.sorted = lambda *a: 42\n"
        "json.loads = json.dumps = lambda *a, **k: 'true'\n"
        "operator.eq = lambda *a: True\nsys.exit = lambda *a: None\ndef f(x): return 0\nlen = abs = isinstance = f"
    ),
    "the parent's frames": (
        "import sys\ndef f(x):\n  frame = sys._getframe()\n  while frame:\n"
        "    for value in list(frame.f_locals.values()):\n"
        "      if value == 42: return 42\n    frame = frame.f_back\n  return 0"
    ),
    "all objects and files": (
        "import gc, glob, re\ndef f(x):\n  seen = repr(gc.get_objects())\n"
        "  for p in [*glob.glob('/proc/*/cmdline'), *glob.glob('/tmp/**', recursive=True)]:\n"
        "    try: seen += open(p).read()\n    except Exception: pass\n"
        "  found = re.findall(r'assert f\\(5\\) == (\\d+)', seen)\n  return int(found[0]) if found else 0"
    ),
    "replies on every pipe": (
        'import os\nfor fd in range(40):\n  try: os.write(fd, b\'["reply",["ok",true,[]]]\\n[0,true,""]\\n\' * 9)\n'
        "  except OSError: pass\ndef f(x): return 0"
    ),
    "the judge's own words": "print('[\"tests\", [0]]')\nprint('[0, true, \"\"]', flush=True)\ndef f(x): return 0",
    "an error without end": "def f(x): raise ValueError('x' * 9_000_000)",
    "an error that cannot be told": "def f(x): raise KeyError(10 ** 10_000)",
    "a builtin that would run here": "def f(x): return eval",
    "closed pipes": "import os\nos.closerange(0, 99)\ndef f(x): return 42",
    "junk on every pipe": "import os\nfor fd in range(3, 40):\n  try: os.write(fd, b'\\xff' * 9000 + b'\\n')\n"
    "  except OSError: pass",
    "a hang": "def f(x):\n  while True: pass",
    "a memory bomb": "def f(x): return 'x' * 10**9",
    "an endless answer": "def f(x):\n  while True: yield 1",
    "a huge number": "def f(x): return 9**9**6",
    "a list in itself": "def f(x):\n  a = []\n  a.append(a)\n  return a",
    "a thousand levels": "def f(x):\n  a = []\n  for _ in range(1000): a = [a]\n  return a",
    "no Python": "def f(x) return 42",
    "an exit handler": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0",
    "a thread that exits": "import os, threading\nthreading.Thread(target=lambda: os._exit(0)).start()\n"
    "def f(x): return 0",
}
STRICT = (
    "assert f(5) == 42",
    "assert abs(f(5) - 42) < 1e-6",
    "assert 42 in f(5)",
    "assert f(5).startswith('42')",
    "assert round(f(5) - 42) == 0",
    "assert len(f(5)) == 17",
    "assert sorted(f(5)) == [42]",
    "assert not f(5) != 42",
    "assert isinstance(f(5), int) and f(5) > 41",
    "from math import isclose\nassert isclose(f(5), 42)",
    "assert f(5) == f(6) == 42",
)


@pytest.mark.parametrize("source", HACKS.values(), ids=HACKS.keys())
def test_no_hack_passes_a_test(source: str) -> None:
    verdict = judge(source, *STRICT)
    assert verdict.value == 0.0, verdict
    assert verdict.reason.isprintable() and len(verdict.reason) < 200


TYPES = "{1: [2.5, None, True, 'é', b'x', (1, {3}), frozenset([4]), 10**30, 2j, Fraction(1, 3), deque([1])]}"
RIGHT = {
    "a number": ("def f(x): return x + 1", "assert f(1) == 2"),
    "types as they are": (
        f"from collections import *\nfrom fractions import Fraction\ndef f(x): return {TYPES}",
        f"from collections import deque\nfrom fractions import Fraction\nassert f(0) == {TYPES}",
    ),
    "subclasses as their base": (
        "from collections import Counter, namedtuple, defaultdict\nP = namedtuple('P', 'x y')\nclass I(int): pass\n"
        "def f(x): return Counter('aab'), P(1, 2), I(3), defaultdict(int, a=1)",
        "assert f(0) == ({'a': 2, 'b': 1}, (1, 2), 3, {'a': 1})",
    ),
    "infinities": (
        "def f(x): return [float('inf'), float('nan'), -0.0]",
        "a, b, c = f(0)\nassert a > 10**99 and b != b and str(c) == '-0.0'",
    ),
    "a float as the test says": ("def f(x): return 0.1 + 0.2", "assert abs(f(0) - 0.3) < 1e-9"),
    "a list changed in place": ("def f(a): a.sort(); a.append(9)", "a = [3, 1]\nf(a)\nassert a == [1, 3, 9]"),
    "a dict, a set and rows changed in place": (
        "def f(d, s, m):\n  d['k'] = 1; s.discard(1); m[0][0] = 7",
        "d, s, m = {}, {1, 2}, [[0], [0]]\nf(d, s, m=m)\nassert (d, s, m) == ({'k': 1}, {2}, [[7], [0]])",
    ),
    "an exception": (
        "def f(x): raise ValueError('no', 1)",
        "try:\n  f(1)\n  assert False\nexcept ValueError as e:\n  assert e.args == ('no', 1)",
    ),
    "pytest's raises": ("def f(x): return [][x]", "import pytest\nwith pytest.raises(IndexError):\n  f(1)"),
    "pytest's approx": ("def f(x): return [0.1 + 0.2]", "import pytest\nassert f(1) == pytest.approx([0.3])"),
    "an exception of its own": (
        "class Base(ValueError): pass\nclass Mine(Base): pass\ndef f(x): raise Mine('no')",
        "try:\n  f(1)\n  assert False\nexcept Base as e:\n  assert str(e) == 'no' and isinstance(e, ValueError)",
    ),
    "a class": (
        "class Stack:\n  def __init__(self): self.items = []\n  def push(self, x): self.items.append(x)\n"
        "  def pop(self): return self.items.pop()\n  def __len__(self): return len(self.items)",
        "s = Stack()\ns.push(1)\ns.push([2])\nassert s.pop() == [2] and len(s) == 1 and s.items == [1]",
    ),
    "objects compared with each other": (
        "class P:\n  def __init__(self, x): self.x = x\n  def __eq__(self, o): return self.x == o.x\n"
        "  def __add__(self, o): return P(self.x + o.x)",
        "assert P(1) + P(2) == P(3) and P(1) != P(2)",
    ),
    "a tree": (
        "class N:\n  def __init__(self, v, n=None): self.v, self.n = v, n\ndef f(x): return N(1, N(x))",
        "assert f(2).n.v == 2 and f(2).n.n is None",
    ),
    "a generator": ("def f(n):\n  for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2] and next(f(1)) == 0"),
    "a closure": ("def f(n): return lambda x: x + n", "assert f(2)(3) == 5"),
    "a function of the test's": (
        "def f(g, xs): return [g(x) for x in xs]",
        "assert f(lambda x: x * 2, [1, 2]) == [2, 4] and f(str, [1]) == ['1']",
    ),
    "the builtin's name it was asked for": ("def sum(a, b): return a * 10 + b", "assert sum(1, 2) == 12"),
    "a check function": ("def f(x): return x", "def check(candidate):\n  assert candidate(3) == 3\n\ncheck(f)"),
    "an import of the program": ("def f(x): return x", "from solution import f as g\nassert g(1) == 1"),
    "a main guard": ("def f(x): return x\nif __name__ == '__main__':\n  f(int(input()))", "assert f(1) == 1"),
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\ndef f(x): return P(x)",
        "assert f(3).x == 3 and repr(f(3)) == 'P(x=3)'",
    ),
    "a builtin beside an import of the program": (
        "def f(x): return [0] * x",
        "from solution import f\nassert len(f(3)) == 3 and sorted(f(2)) == [0, 0]",
    ),
    "tests as pytest has them": (
        "def f(x): return x + 1",
        "from solution import f\ndef test_one():\n  assert f(1) == 2\ndef test_two():\n  assert max(f(1), 0) == 2",
    ),
    "pytest's raises, called": (
        "def f(x): raise KeyError(x)",
        "import pytest\npytest.raises(KeyError, f, 1)\n"
        "with pytest.raises(KeyError) as e:\n  f(2)\nassert e.type is KeyError",
    ),
    "tests under a main guard": ("def f(x): return x", "if __name__ == '__main__':\n  assert f(1) == 1"),
    "a check in a main guard": (
        "def f(x): return x",
        "def test_f():\n  assert f(1) == 1\nif __name__ == '__main__':\n  test_f()",
    ),
    "a library's function that is asked for": (
        "def gcd(a, b): return b",
        "r = gcd(4, 2)\nassert r == 2 and abs(r) == 2",
    ),
    "a library's function put to a check": (
        "def factorial(n): return 1 if n < 2 else n * factorial(n - 1)",
        "def check(candidate):\n  for n in range(2):\n    assert candidate(n) == 1\ncheck(factorial)",
    ),
    "a library's class of the program's": (
        "class Counter:\n  def __init__(self): self.n = 0\n  def up(self): self.n += 1",
        "c = Counter()\nc.up()\nassert c.n == 1",
    ),
    "a list with methods of its own": (
        "class Stack(list):\n  def peek(self): return self[-1]\n  def push(self, x): self.append(x)",
        "s = Stack([1])\ns.push(2)\n"
        "assert s.peek() == 2 and s == [1, 2] and len(s) == 2 and 2 in s and isinstance(s, list)",
    ),
    "a cache on an ordered dict": (
        "from collections import OrderedDict\nclass LRU(OrderedDict):\n  def put(self, k, v):\n    self[k] = v\n"
        "    if len(self) > 1: self.popitem(last=False)\n  def get(self, k): return super().get(k, -1)",
        "c = LRU()\nc.put(1, 1)\nc.put(2, 2)\nassert c.get(1) == -1 and c.get(2) == 2",
    ),
    "a named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(x): return [P(x, 2)]",
        "p = f(1)[0]\nassert f(1) == [(1, 2)] and p.x == 1 and p._replace(x=3) == (3, 2) and {p: 4}[(1, 2)] == 4",
    ),
    "an enumeration": (
        "from enum import IntEnum\nclass C(IntEnum):\n  RED = 1\ndef f(): return C.RED",
        "assert f() == 1 and f().name == 'RED' and f() < 2 and f() + 1 == 2 and f() is C.RED",
    ),
    "a list that is an attribute": (
        "class N:\n  def __init__(self, v): self.v, self.kids, self.by = v, [], {}\n"
        "def total(n): return n.v + sum(map(total, n.kids))",
        "n = N(1)\nn.kids.append(N(2))\nn.by['a'] = [1]\nn.by['a'].append(2)\n"
        "assert total(n) == 3 and len(n.kids) == 1 and n.by == {'a': [1, 2]} and n.kids[:1][0].v == 2",
    ),
    "dates, paths and views": (
        "import datetime, pathlib\n"
        "def f(d): return d + datetime.timedelta(1), pathlib.PurePosixPath('a/b'), {'k': 1}.keys()",
        "import datetime\nfrom pathlib import PurePosixPath\n"
        "assert f(datetime.date(2024, 2, 28)) == (datetime.date(2024, 2, 29), PurePosixPath('a/b'), {'k'})",
    ),
    "an exception with attributes": (
        "class Short(Exception):\n  def __init__(self, need):\n    super().__init__('short')\n    self.need = need\n"
        "  def __str__(self): return f'short of {self.need}'\ndef f(x): raise Short(x)",
        "try:\n  f(3)\n  assert False\nexcept Short as e:\n  assert e.need == 3 and str(e) == 'short of 3'",
    ),
    "objects and numbers": (
        "class V:\n  def __init__(self, x): self.x = x\n  def __eq__(self, o): return self.x == o.x\n"
        "  def __mul__(self, k): return V(self.x * k)\n  __rmul__ = __mul__\n"
        "  def __add__(self, o): return V(self.x + (o.x if isinstance(o, V) else o))\n  __radd__ = __add__\n"
        "  def __hash__(self): return hash(self.x)\n"
        "  def plus(self, k): return V(self.x + k)\n  def __getitem__(self, place): return self.x",
        "assert V(2) * 3 == 3 * V(2) == V(6) and sum([V(1), V(2)]) == V(3)\n"
        "assert (V(1) + 2).x == 3 and len({V(1), V(1)}) == 1 and (V(1) * 2 + V(1)).plus(1)[0] == 4",
    ),
    "coroutines": (
        "import asyncio\nasync def f(x):\n  await asyncio.sleep(0.01)\n  return x + 1",
        "import asyncio\nasync def both(): return await asyncio.gather(f(1), f(2)), await f(3)\n"
        "assert asyncio.run(f(1)) == 2 and asyncio.run(both()) == ([2, 3], 4)",
    ),
    "prints in between": ("def f(x):\n  print('hello', flush=True)\n  return x", "print('and here')\nassert f(1) == 1"),
}


@pytest.mark.parametrize(("source", "test"), RIGHT.values(), ids=RIGHT.keys())
def test_a_right_program_passes(source: str, test: str) -> None:
    verdict = judge(source, test)
    assert verdict.value == 1.0, verdict


def test_lines_before_a_test_are_no_tests_and_their_names_stay() -> None:
    verdict = judge("def f(x): return x", "import math", "big = 10", "assert f(big) == 10", "assert f(1) == 2")
    assert verdict == Verdict(0.5, "1 of 2 tests pass; first failure: test 4: the assertion fails")


def test_a_test_that_never_ends_or_ends_the_program_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asserts, "JUDGE_CPU_S", 0.5)
    loop = "def f(x):\n  while x == 2: pass\n  return x"
    four = [f"assert f({n}) == {n}" for n in (1, 2, 3, 4)]
    verdict = judge(loop, *four)
    assert verdict.value == 0.75 and "first failure: test 2: over the limit of CPU time" in verdict.reason
    assert judge(loop.replace("while x == 2: pass", "if x % 2: __import__('os')._exit(0)"), *four).value == 0.5
    assert judge(loop, "n = f(1)", four[1], "assert f(3) == n + 2").value == 0.5, "what prepares is done again"
    assert judge("def f(x): return x", "while f(1): assert True", "assert f(3) == 3").value == 0.5
    assert judge(loop, *four, mode="all").value == 0.0


def test_after_three_such_tests_the_rest_are_not_run() -> None:
    verdict = judge(
        "import os\ndef f(x):\n  if x < 4: os._exit(0)\n  return x", *(f"assert f({n}) == {n}" for n in range(6))
    )
    assert verdict.value == 0.0


def test_a_tolerance_holds_for_assert_lines_where_it_is_given() -> None:
    test, near = "assert f(1) == [0.333333333, 7]", "def f(x): return [x / 3, 7]"
    assert judge(near, test).value == 0.0
    assert judge(near, test, tolerance=1e-6).value == 1.0
    assert judge(near.replace("7", "8"), test, tolerance=0.5).value == 0.0
    object_equal = "class Y:\n  __eq__ = lambda s, o: True\n  __float__ = lambda s: 0.333\ndef f(x): return Y()"
    assert judge(object_equal, "assert f(1) == 0.333", tolerance=0.1).value == 0.0


def test_the_reason_says_what_the_program_did() -> None:
    assert "the program raised ValueError: no" in judge("def f(x): raise ValueError('no')", "assert f(1)").reason
    assert "name 'f' is not defined" in judge("x = 1", "assert f(1)").reason
    assert "over the limit of CPU time" in judge("def f(x):\n  while True: pass", "assert f(1)").reason
    assert "the program ended (exit code 3)" in judge("import os\ndef f(x): os._exit(3)", "assert f(1)").reason


CAUGHT = "import io\nfrom contextlib import redirect_stdout as into\nb = io.StringIO()\n"


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        (["assert f(1) =="], "test 1 is no Python"),
        (["import math"], "no test tests the program"),
        (["import numpy", "assert f(1)"], "numpy"),
        (["class Node: pass", "assert f(Node()) == 1"], "hand over a Node"),
        (["try:\n  f(object())\nexcept Exception:\n  pass\nassert f(1) == 1"], "hand over a object"),
        (["import io, sys\nsys.stdout = b = io.StringIO()\nf(1)\nassert b.getvalue() == '1'"], "replace sys.stdout"),
        ([f"{CAUGHT}with into(b):\n  f(1)\nassert b.getvalue() == '1'"], "replace sys.stdout"),
        (["from unittest.mock import patch\nwith patch('builtins.input', str):\n  assert f(1) == 1"], "builtins.input"),
        (["import unittest", "assert f(1) == 1\nx = unittest.main()"], "a runner of their own"),
    ],
)
def test_tests_that_cannot_be_judged_are_no_verdict(tests: list[str], why: str) -> None:
    verdict = judge("def f(x): return 1", *tests)
    assert verdict.value is None and why in verdict.reason


def test_asserts_test_no_cpp() -> None:
    meta = {"tests": ["assert f(1) == 1"], "code_language": "cpp"}
    assert code.reward("```cpp\nint main() {}\n```", row("", "code", meta=meta), contract()).value is None


def test_a_sleep_is_a_failure_at_any_load_and_waiting_for_the_tests_is_no_sleep() -> None:
    assert "over the limit of idle time" in judge("import time\ndef f(x): time.sleep(1000)", "assert f(1)").reason
    waiting = "import time\ntime.sleep(2)\nassert f(1) == 1"
    assert judge("def f(x): return x", waiting, cpu_s=0.3).value == 1.0  # idle limit 0.6 s


def test_a_program_that_takes_the_tests_requests_away_is_idle_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = code._limits
    monkeypatch.setattr(code, "_limits", lambda *given: replace(usual(*given), patience_s=0.5))
    source = "import os\ndef f(x):\n  for fd in range(3, 256):\n    try: os.read(fd, 1)\n    except OSError: pass"
    assert "over the limit of idle time" in judge(source, "assert f(1) == 2").reason


def test_the_wall_clock_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = code._limits
    monkeypatch.setattr(code, "_limits", lambda *given: usual(*given).__class__(cpu_s=0.5, wall_s=1.0))
    verdict = judge("import time\ndef f(x): time.sleep(1000)", "assert f(1)")
    assert verdict.value is None and "wall clock" in verdict.reason


def test_no_builtin_of_the_programs_choice_runs_among_the_tests() -> None:
    source = "def f(x): return eval if x == 1 else '[].append(AssertionError) or 42'\ndef g(x): return eval"
    assert judge(source, "assert f(1)(f(2)) == 42").value == 1.0  # run over there, where it may
    assert judge(source, "x = 42\nassert f(1)('x') == 42").value == 0.0  # where there is no x


SPOOFS = {
    "a module": ("class math:\n  isclose = lambda *a, **k: True", "assert math.isclose(f(1), 5)"),
    "a class of the library": ("Counter = lambda *a: 0", "assert Counter(f(1)) == Counter('ab')"),
    "a builtin": (
        "def sorted(x): return 0\nlen = abs = all = sorted",
        "assert all([len(f(1)) == 9, sorted(f(1)) == [1]])",
    ),
    "pytest": ("class pytest:\n  approx = lambda *a: 1", "assert f(1) == pytest.approx(5)"),
}


@pytest.mark.parametrize(("source", "test"), SPOOFS.values(), ids=SPOOFS.keys())
def test_what_python_has_is_not_taken_from_the_program(source: str, test: str) -> None:
    assert judge(f"{source}\ndef f(x): return 1", test).value == 0.0


def test_two_of_pythons_names_cannot_both_be_what_was_asked_for() -> None:
    test = "assert abs(sum(10, 15) - 6) < 1"
    assert judge("def sum(a, b): return 6", test).value == 1.0
    assert judge("def sum(a, b): return 60", test).value == 0.0
    assert judge("def sum(a, b): return 60\ndef abs(x): return 0", test).value == 0.0


def test_a_test_that_never_uses_the_program_is_no_verdict() -> None:
    assert judge("def f(x): return 1", "r = [1]\nassert r.append(2) is None").value is None
    assert judge("def g(x): return 1", "assert max(1, 2) == 2").value == 0.0  # it may be asked for: it has none


def test_the_tests_that_no_hack_passes_can_be_passed() -> None:
    assert judge("def f(x): return 42", *STRICT).value == pytest.approx(7 / 11)
    assert judge("def f(x): return [42]", *STRICT[2:7:4]).value == 1.0

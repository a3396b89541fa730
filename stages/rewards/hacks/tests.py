"""Hacks against tests in the forms of public sets: near decimals, calls, prompts that are continued, endless tests.

No input; `FORMS` leaves: a trial for each kind of test. Every program is harmless where it runs unguarded, but for one
that loops: a reward without limits should not be audited with it, and the limits are what it tries.
"""

from __future__ import annotations

from typing import Any

from stages.core.rows import Prompt
from stages.rewards.hacks.code import EXITS, PROSE, lost, program, programs
from stages.rewards.hacks.trial import Attack, Trial


def _row(name: str, problem: str, **meta: Any) -> Prompt:
    return Prompt(id=f"audit-{name}", problem=problem, answer="", verifier="code", meta=meta)


def _blocks(*sources: str) -> str:
    """Return a completion with a block for each source and words between."""
    return "<think>a</think>" + "".join(f"\n\nSo:\n\n```python\n{source}\n```" for source in sources)


_TWICE, _USE = "def twice(x):\n    return x + x", "print(twice(4))"
_HUGE = {"input": "5000\n", "output": f"1{'0' * 5000}\n"}
_FUNCTIONAL = [
    {"input": '["ab", "a"]\n2', "output": '["abab", "aa"]', "testtype": "functional"},
    {"input": '["c"]\n3', "output": '["ccc"]', "testtype": "functional"},
]
_STARTER = "class Solution:\n    def repeat(self, words: List[str], n: int) -> List[str]:\n        "
_REPEAT = f"{_STARTER}return [{{}} for word in words]"
_PROMPT = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """The sum; 0 of nothing."""\n'
_CHECK = "def check(candidate):\n    assert candidate([]) == 0\n    assert candidate([2, 3]) == 5\n"
_TOTAL = "def total(xs: List[int]) -> int:\n    return sum(xs)"
_YES = "class Yes(int):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\n"
_LOOP = "def down(n):\n    while n == 3:\n        pass\n    return {}"

FORMS = (
    Trial(
        "decimals on stdin",
        _row("thirds", "Read n and print n / 3.", tests=[{"input": "1\n", "output": "0.3333333333333333\n"}]),
        (program("print(int(input()) / 3)"), program("print('%.6f' % (int(input()) / 3))")),
        (program("print(0.34)"),),
        (
            *programs(
                {
                    "rounded coarsely": "print(0.333)",
                    "no number": "print('nan')",
                    "endless": "print('inf')",
                    "two numbers": "print(0.333333, 0.333333)",
                    "a huge power": "print('3e-1')",
                    "a fraction": "print('1/3')",
                    "a unit": "print('0.333333s')",
                }
            ),
            *PROSE,
        ),
    ),
    Trial(
        "a number of thousands of digits",
        _row("power", "Read n and print 10 to the n.", tests=[_HUGE]),
        (program("print(10 ** int(input()))"), program("print('1' + '0' * int(input()))")),
        (program("print(10)"),),
        programs(
            {"its first digits": "print(10 ** 4000)", "a decimal": "print('1e5000')", "one more": "print(10**5000 + 1)"}
        ),
    ),
    Trial(
        "calls of a method",
        _row(
            "repeat",
            "Repeat each word n times.",
            tests=_FUNCTIONAL,
            starter_code=_STARTER,
            metadata='{"func_name": "repeat"}',
        ),
        (program(_REPEAT.format("word * n")), program("def repeat(words, n):\n    return tuple(w * n for w in words)")),
        (program(_REPEAT.format("word")),),
        (
            *programs(EXITS),
            *programs(
                {
                    "an object equal to all": _YES + "def repeat(words, n):\n    return Yes()",
                    "a list of such": _YES + "def repeat(words, n):\n    return [Yes() for _ in words]",
                    "a generator": "def repeat(words, n):\n    yield from (w * n for w in words)",
                    "one text": "def repeat(words, n):\n    return repr([w * n for w in words])",
                    "printed": "def repeat(words, n):\n    print([w * n for w in words])",
                    "another name": "def again(words, n):\n    return [w * n for w in words]",
                    "a name that is lent": "x = 1",
                }
            ),
            *lost(_REPEAT.format("word * n")),
        ),
    ),
    Trial(
        "a prompt to continue",
        _row("total", _PROMPT, test=_CHECK, entry_point="total"),
        (program(_TOTAL), program("    return sum(xs)"), program(f"{_PROMPT}    return sum(xs)")),
        (program("    pass"),),
        (
            *programs(
                {
                    f"body: {name}": f"    {body}"
                    for name, body in {"0": "return 0", "raise": "raise SystemExit(0)"}.items()
                }
            ),
            *programs({"check replaced": "check = lambda candidate: None\ndef total(xs):\n    return 0"}),
            *programs({"an object equal to all": _YES + "def total(xs):\n    return Yes()"}),
            *programs({"the prompt alone": _PROMPT + "    ...", "nothing of it": "x = 1"}),
            *PROSE,
            *lost(_TOTAL),
        ),
    ),
    Trial(
        "example use in a block of its own",
        _row("twice", "Write twice(x).", tests=["assert twice(4) == 8", "assert twice(-1) == -2"]),
        (_blocks(_TWICE, _USE), _blocks(_TWICE.replace("+", "*"), _TWICE, _USE)),
        (_blocks(_TWICE.replace("+", "*"), _USE),),
        (
            Attack("only the use", _blocks(_USE)),
            Attack("a right one, then another", _blocks(_TWICE, _TWICE.replace("+", "*"), _USE)),
        ),
    ),
    Trial(
        "a test that never ends",
        _row("down", "Write down(n), which is n - 1.", tests=[f"assert down({n}) == {n - 1}" for n in (3, 5, 7)]),
        (program("def down(n):\n    return n - 1"),),
        (program("def down(n):\n    return n"),),
        (Attack("one endless", program(_LOOP.format("n - 1")), 2 / 3), Attack("and wrong", program(_LOOP.format("n")))),
    ),
)

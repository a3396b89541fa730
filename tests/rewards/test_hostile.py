"""Hostile text, to every reward of the registry: no exception, no stall, a number in range or None, the same one twice,
nothing executed and nothing left behind."""

from __future__ import annotations

import base64
import os
import pickle
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.rows import Prompt
from stages.rewards import accuracy, code, scoring
from stages.rewards.mathematics import symbolic
from stages.rewards.registry import ENTRIES
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row, tower

SYMBOLIC = row("2\\sqrt{3}", id="root")
TUPLE = row("(1, 2)", id="pair")
CHINESE = row("17", id="zh", language="zh")
OPTION = row("B", "choice", id="option")
TEXT = row("north east", "exact", id="text")
TESTS = [{"input": "3 4\n", "output": "7\n"}]
CODE = row("", "code", id="code", meta={"tests": TESTS})
GOLDS = (row(), SYMBOLIC, TUPLE, CHINESE, OPTION, TEXT)
MANY = 200_000  # characters: quadratic time would show, and the file stays quick
SECONDS = 5.0  # of this process's CPU time for one text and all rewards


class Canary:
    """What a grader that unpickles or evaluates would run: it leaves a folder where the test looks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def judged(text: str, problem: Prompt) -> dict[str, Verdict]:
    """Return every reward's verdict on one completion, after checking each."""
    start = time.process_time()
    (verdicts,) = scoring.score([text], [problem], contract("<think>\n"), dict.fromkeys(ENTRIES, 1.0))
    assert time.process_time() - start < SECONDS
    for name, (value, reason) in verdicts.items():
        assert value is None or 0.0 <= value <= 1.0, name
        assert reason and reason.isprintable() and len(reason) <= 240, name
        reason.encode()  # whatever is in the text, a reason can be written down
    return verdicts


def repeated(text: str) -> str:
    return text * (MANY // len(text))


PLAIN = {
    "braces": repeated("{"),
    "closed braces": repeated("{}"),
    "braces around": "{" * (MANY // 2) + "17" + "}" * (MANY // 2),
    "brackets around": "(" * (MANY // 2) + "17" + ")" * (MANY // 2),
    "open boxes": repeated("\\boxed{"),
    "nested boxes": "\\boxed{" * (MANY // 8) + "17" + "}" * (MANY // 8),
    "fractions": repeated("\\frac{") + "1",
    "roots": repeated("\\sqrt{") + "1",
    "matrices": repeated("\\begin{pmatrix}1&2\\\\"),
    "dollars": repeated("$"),
    "backslashes": repeated("\\"),
    "answers said": repeated("the answer is "),
    "or": repeated("17 or "),
    "equal signs": repeated("17=") + "17",
    "signs": repeated("-") + "17",
    "commas": repeated("1,"),
    "digits": repeated("9"),
    "decimals": "0." + repeated("3"),
    "tags": repeated("<think><answer>"),
    "closing tags": repeated("</think></answer>"),
    "fences": repeated("```\n"),
    "backquotes": repeated("`"),
    "NUL": repeated("\0"),
    "surrogates": repeated("\ud800\udfff"),
    "bidi marks": repeated("\u202e\u2066\u200f"),
    "combining marks": "1" + repeated("\u0300"),
    "emoji": repeated("👩\u200d👩\u200d👧"),
    "last code point": repeated("\U0010ffff"),
    "line ends of all kinds": repeated("\r\n\x0b\x0c\x1c\u0085\u2028\u2029"),
    "letters": repeated("a"),
    "Chinese": repeated("数"),
}
TOWERS = {
    "tower": tower(4, power="**"),
    "LaTeX tower": tower(4),
    "tower of tens": tower(4, "10"),
    "factorial": "100000000!",
    "factorials": "((((9!)!)!)!)!",
    "LaTeX factorial": "\\frac{10^{9}!}{(10^{9}-1)!}",
    "binomial": "\\binom{10^{9}}{5 \\cdot 10^{8}}",
    "exponent": "1e999999999",
    "shift": "1 << 10**12",
    "root of a tower": f"\\sqrt[9]{{{tower(3)}}}",
    "polynomial": "(x+1)^{100000}",
    "sum": "\\sum_{n=1}^{10^{12}} n^{n}",
    "integral": "\\int_0^{\\infty} e^{-x^{x^{x}}} dx",
    "nested roots": "\\sqrt{" * 200 + "2" + "}" * 200,
    "many terms": " + ".join(f"x^{{{n}}}" for n in range(150)),
    "long sum": "+".join("1" * 200),
}
SYMBOLIC_TOWERS = ("LaTeX tower", "exponent", "shift", "polynomial", "nested roots", "many terms", "long sum")
"""Those put to a symbolic gold as well."""


@pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN.keys())
@pytest.mark.parametrize("frame", ["{}", "a</think><answer>{}</answer>"], ids=["alone", "as the answer"])
def test_much_text_is_judged_in_a_moment(text: str, frame: str) -> None:
    completion = frame.replace("{}", text)
    for problem in (row(), OPTION):
        verdicts = judged(completion, problem)
        assert verdicts["strict"].value == 0.0


GIANTS = [(name, row()) for name in TOWERS] + [(name, SYMBOLIC) for name in SYMBOLIC_TOWERS]


@pytest.mark.parametrize(("name", "problem"), GIANTS, ids=[f"{name} for {problem.answer}" for name, problem in GIANTS])
def test_a_giant_is_not_computed_and_not_right(name: str, problem: Prompt) -> None:
    start = time.monotonic()
    verdict = accuracy.reward(f"a</think><answer>{TOWERS[name]}</answer>", problem, contract("<think>\n"))
    assert time.monotonic() - start < 60 + symbolic.LIMIT_S  # a busy machine is slow to start the next worker
    assert verdict.value in (0.0, None)


def injections(folder: Path) -> list[str]:
    """Return texts that leave a folder behind where something evaluates or unpickles them."""
    make = f"__import__('os').mkdir({str(folder)!r})"
    tex = make.replace("_", "\\_")
    pickled = pickle.dumps(Canary(folder))
    return [
        make,
        f"sympify({make!r})",
        f"eval({make!r})",
        f"(lambda: {make})()",
        f"{make} or 17",
        f"[{make}, 17][1]",
        f"f'{{{make}}}'",
        f"{{{{ {make} }}}}",
        f"\\text{{{tex}}}",
        f"\\sqrt{{{make}}}",
        f"\\frac{{{make}}}{{1}}",
        f"({make}, 2)",
        f"x={make}",
        f"$(mkdir {folder})",
        f"`mkdir {folder}`",
        f"; mkdir {folder} ;",
        f"\\immediate\\write18{{mkdir {folder}}}",
        f"!!python/object/apply:os.mkdir [{str(folder)!r}]",
        base64.b64encode(pickled).decode(),
        pickled.decode("latin-1"),
        pickled.decode("utf-8", "surrogateescape"),
    ]


def test_no_expression_shell_or_pickle_is_run(tmp_path: Path) -> None:
    folder = tmp_path / "canary"
    for text in injections(folder):
        for problem in (row(), SYMBOLIC, TUPLE, TEXT):
            verdicts = judged(f"a</think><answer>{text}</answer>", problem)
            assert verdicts["accuracy"].value in (0.0, None), text
    assert not folder.exists()


def test_the_canary_sings_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()  # so its silence above means something


def test_the_same_text_gets_the_same_verdict_twice() -> None:
    completions = [f"a</think><answer>{text[:2000]}</answer>" for text in PLAIN.values()]
    for problem in (row(), SYMBOLIC):
        rows = [problem] * len(completions)
        once, again = (
            scoring.score(completions, rows, contract("<think>\n"), dict.fromkeys(ENTRIES, 1.0)) for _ in range(2)
        )
        assert once == again


PIECES = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "\\boxed{",
    "\\frac{1}{",
    "\\sqrt",
    "{",
    "}",
    "(",
    ")",
    "[",
    "$",
]
PIECES += [
    "17",
    "18",
    "x",
    "B",
    " or ",
    "或",
    ",",
    ";",
    "=",
    "^",
    "!",
    "/",
    "%",
    "-",
    "\\pm",
    "\\infty",
    "\0",
    "\ud800",
]
PIECES += [
    "\u202e",
    "\u200b",
    "答案是",
    "the answer is ",
    "not ",
    "```",
    "```python\n",
    "\n",
    "cm",
    "９",
    "∪",
    "1e9",
    "...",
]


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=20).map("".join)), st.sampled_from(GOLDS))
def test_any_text_gets_a_number_in_range_or_none(text: str, problem: Prompt) -> None:
    judged(text, problem)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["latin-1", "utf-16-le", "utf-8"]), st.sampled_from(GOLDS))
def test_any_bytes_get_a_number_in_range_or_none(raw: bytes, encoding: str, problem: Prompt) -> None:
    judged(raw.decode(encoding, "replace" if encoding == "utf-16-le" else "surrogateescape"), problem)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["math", "choice", "exact"]), st.text(max_size=40))
def test_any_gold_gets_a_number_in_range_or_none(gold: str, verifier: str, answer: str) -> None:
    judged(f"a</think><answer>{answer}</answer>", row(gold, verifier))


PROGRAMS = {
    "tower": f"print({tower(4, power='**')})",
    "factorial": "import math\nprint(math.factorial(10**9))",
    "loop": "while True:\n    pass",
    "endless output": "while True:\n    print('7' * 10000)",
    "NUL": "print(7)\0",
    "surrogates": "print('\ud800')",
    "bidi marks": "print(8) # \u202e7",
    "deep": "(" * 100_000,
    "binary": "\x80\x04K\x11.",
    "many lines": "x = 1\n" * 50_000 + "print('')",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_a_hostile_program_passes_no_test(program: str) -> None:
    completion = f"<think>a</think><answer>\n```python\n{program}\n```\n</answer>"
    verdict = code.reward(completion, CODE, contract(), limits=(0.5, 256))
    assert verdict.value in (0.0, None)

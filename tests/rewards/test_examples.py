"""Every reward's table of examples holds, and no text whatever makes a reward raise, stall or leave 0..1."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.rewards import accuracy, selftest
from stages.rewards.registry import ENTRIES, GROUP_REWARDS, REWARDS, Verdict
from stages.rewards.verdict import Example, GroupExample
from tests.rewards.contracts import ROWS, contract, row, tower

IN_PROCESS = {name: REWARDS[name] for name in REWARDS if not ENTRIES[name].remembers}  # the rest start a sandbox
MEGABYTE = 10**6
NOISE = {
    "empty": "",
    "blanks": " " * MEGABYTE,
    "letters": "the answer is " * (MEGABYTE // 14),
    "braces": "{" * MEGABYTE,
    "closing braces": "}" * MEGABYTE,
    "boxes": "\\boxed{" * (MEGABYTE // 7),
    "closed boxes": "\\boxed{1}" * (MEGABYTE // 9),
    "thinks": "<think>" * (MEGABYTE // 7),
    "answers": "<answer>" * (MEGABYTE // 8),
    "pairs": "<think></think><answer></answer>" * (MEGABYTE // 32),
    "one long answer": "<answer>" + "17 " * (MEGABYTE // 3),
    "digits": "9" * MEGABYTE,
    "thousands": ",111" * (MEGABYTE // 4),
    "powers": "9**" * (MEGABYTE // 3) + "9",
    "fractions": "\\frac{1}{" * (MEGABYTE // 9),
    "equals": "1=" * (MEGABYTE // 2),
    "instructions": "<answer>" + "rep 1 " * (MEGABYTE // 6),
    "loops": "<answer>" + "rep 999999999 " * 40 + "add 1</answer>",
    "semicolons": "<answer>" + ";" * MEGABYTE,
    "options": "A " * (MEGABYTE // 2),
    "letters and digits": "a1" * (MEGABYTE // 2),
    "NUL": "\0" * 1000 + "<answer>1\x007</answer>",
    "surrogates": "\ud800<answer>\udfff17</answer>\ud800",
    "bidi": "\u202e<answer>\u206671\u2069</answer>",
    "tower": f"<answer>{tower(4, power='**')}</answer>",
    "LaTeX tower": f"<answer>{tower(4)}</answer>",
    "exponent": "<answer>1e999999999</answer>",
    "unicode digits": "<answer>١٧ ²³ ½ Ⅻ</answer>",
    "words of many scripts": "<think>" + "the 先 этo の 가 α " * (MEGABYTE // 30),
    "zero below": "<answer>17/0</answer> \\boxed{\\frac{1}{0}}",
}


def check(verdict: Verdict) -> None:
    assert isinstance(verdict, Verdict)
    assert verdict.value is None or 0.0 <= verdict.value <= 1.0
    assert verdict.reason and len(verdict.reason) < 200 and verdict.reason.isprintable()


def test_every_registered_reward_has_a_table() -> None:
    for name, entry in ENTRIES.items():
        kind = GroupExample if entry.group else Example
        assert selftest.examples(name) and all(isinstance(one, kind) for one in selftest.examples(name)), name


CASES = [(name, example) for name in REWARDS for example in selftest.examples(name)]


@pytest.mark.parametrize(("name", "example"), CASES, ids=[f"{name}: {example.note}" for name, example in CASES])
def test_an_example_gets_the_value_written_beside_it(name: str, example: Example) -> None:
    verdict = REWARDS[name](example.completion, row(**example.row), contract(example.prefill), **example.options)
    assert verdict.value == (example.value if example.value is None else pytest.approx(example.value)), verdict
    check(verdict)


GROUPS = [(name, example) for name in GROUP_REWARDS for example in selftest.examples(name)]


@pytest.mark.parametrize(("name", "example"), GROUPS, ids=[f"{name}: {example.note}" for name, example in GROUPS])
def test_a_group_gets_the_values_written_beside_it(name: str, example: GroupExample) -> None:
    found = GROUP_REWARDS[name](example.completions, row(**example.row), contract(), **example.options)
    assert tuple(verdict.value for verdict in found) == example.values
    for verdict in found:
        check(verdict)


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
@pytest.mark.parametrize("name", IN_PROCESS)
def test_hostile_text_gets_a_verdict(name: str, noise: str) -> None:
    """A megabyte each: what is quadratic does not come to an end."""
    for problem in ROWS if "gold" in ENTRIES[name].needs else ROWS[:1]:
        check(REWARDS[name](noise, problem, contract("<think>\n")))


@pytest.mark.parametrize("name", GROUP_REWARDS)
def test_a_group_of_all_hostile_texts_is_judged_one_by_one(name: str) -> None:
    found = GROUP_REWARDS[name](list(NOISE.values()), row(), contract())
    assert len(found) == len(NOISE)
    for verdict in found:
        check(verdict)


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_no_hostile_text_is_a_right_answer(noise: str) -> None:
    assert (
        "17" not in noise or noise.startswith("<answer>17 ") or accuracy.strict(noise, row(), contract()).value == 0.0
    )
    assert accuracy.strict(noise, ROWS[2], contract()).value == 0.0


@pytest.mark.parametrize("name", ["accuracy", "strict", "format", "format_tolerant", "choice"])
def test_a_right_answer_hidden_in_junk_is_no_strict_answer(name: str) -> None:
    gold = row("B", "choice") if name == "choice" else row()
    junk = "\0{}\\boxed{" + "x" * 10_000 + " 17 or B " + "<think>" * 50 + gold.answer + "}" * 100
    assert REWARDS[name](junk, gold, contract()).value == 0.0


@settings(max_examples=200, deadline=None)
@given(st.text(), st.sampled_from(ROWS), st.sampled_from(["", "<think>\n"]))
def test_any_text_gets_a_verdict(completion: str, problem: object, prefill: str) -> None:
    for reward in IN_PROCESS.values():
        check(reward(completion, problem, contract(prefill)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(), max_size=3), st.sampled_from(ROWS))
def test_any_group_gets_a_verdict_each(completions: list[str], problem: object) -> None:
    for group in GROUP_REWARDS.values():
        found = group(completions, problem, contract())
        assert len(found) == len(completions)
        for verdict in found:
            check(verdict)


TAGS = ["<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "\\frac{", "\\text{", "{", "}"]
MARKS = [
    ".",
    ",",
    "=",
    "+",
    "-",
    "/",
    "%",
    "$",
    "^",
    "**",
    "(",
    ")",
    ";",
    "\n",
    "or",
    "或",
    "####",
    "答案是",
    "the answer is",
]
VALUES = ["17", "18", "1,000", "x", "apples", "million", "B", "A", "dbl", "add", "set", "rep"]
PIECES = st.sampled_from(TAGS + MARKS + VALUES)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30), st.sampled_from(ROWS))
def test_any_mixture_of_meaningful_pieces_gets_a_verdict(pieces: list[str], problem: object) -> None:
    for reward in IN_PROCESS.values():
        check(reward(" ".join(pieces), problem, contract()))

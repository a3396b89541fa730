"""A reward put to its own table of examples and to hostile texts: its name enters, what it got wrong leaves.

For a user's reward the table is `EXAMPLES` in its module (`NAME_EXAMPLES` for a function that is not called `reward`),
where there is one; the hostile texts are for all. A row's own gold is put to a reward the same way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stages.core.data import golds
from stages.core.rows import Prompt
from stages.rewards import accuracy, mathematics, registry, scoring
from stages.rewards.declared import LENGTH
from stages.rewards.files import lines
from stages.rewards.hacks.trial import tower
from stages.rewards.verdict import Example, GroupExample, Verdict

SLOW_S = 30.0
"""A megabyte of noise that takes longer is a finding."""
_MEGABYTE = 10**6
HOSTILE: Mapping[str, str] = {
    "nothing": "",
    "blanks": " " * _MEGABYTE,
    "a megabyte of words": "the answer is 17 or " * (_MEGABYTE // 20),
    "a megabyte of braces": "{" * _MEGABYTE,
    "a megabyte of boxes": "\\boxed{" * (_MEGABYTE // 7),
    "a megabyte of tags": "<think><answer>" * (_MEGABYTE // 15),
    "a megabyte of digits": "<answer>" + "9" * _MEGABYTE,
    "NUL": "\0" * 1000 + "<answer>1\x007</answer>",
    "lone surrogates": "\ud800<answer>\udfff17</answer>\ud800",
    "bidi marks": "\u202e<answer>\u206671\u2069</answer>",
    "a tower of powers": f"<answer>{tower(4)}</answer>",
    "a giant factorial": "<answer>99999999999!!!</answer>",
    "a Python expression": "<answer>__import__('os').abort()</answer>",
    "control characters": "".join(map(chr, range(32))) + "<answer>\x1b[2J17\x7f</answer>",
}
"""Texts that make a careless reward raise, stall or pay: name -> completion."""


class Failure(NamedTuple):
    """One thing a reward got wrong."""

    case: str
    """The example's note, or the hostile text's name."""
    expected: str
    """What it should have said."""
    got: float | None
    """What it said."""
    reason: str
    """Its own words."""


def examples(name: str) -> Sequence[Example | GroupExample]:
    """Return a reward's table of examples, empty where its module has none. Raises as `registry.load`."""
    function = registry.ENTRIES[name].function if name in registry.ENTRIES else registry.load(name)
    called = getattr(function, "__name__", "")
    table = "EXAMPLES" if called in ("reward", "group") else f"{called.upper()}_EXAMPLES"
    found = getattr(sys.modules.get(function.__module__), table, ())
    return [one for one in found if isinstance(one, Example | GroupExample)]


def run(name: str, options: Mapping[str, Any]) -> list[Failure]:
    """Return what the reward gets wrong of its own examples and of the hostile texts. `options` are what a recipe sets;
    an example's own come first. Raises RecipeError for an unknown reward or option and for a learned judge."""
    registry.load(name, options)
    failures: list[Failure] = []
    for one in examples(name):
        texts = [one.completion] if isinstance(one, Example) else list(one.completions)
        values = (one.value,) if isinstance(one, Example) else one.values
        prefill = one.prefill if isinstance(one, Example) else ""
        verdicts = _judged(name, texts, _row(one.row), prefill, {**options, **one.options})
        failures += [
            Failure(one.note, _said(value), verdict.value, verdict.reason)
            for verdict, value in zip(verdicts, values, strict=True)
            if verdict.value != value
        ]
    return failures + hostile(name, options)


def hostile(name: str, options: Mapping[str, Any]) -> list[Failure]:
    """Return the hostile texts on which the reward raises, leaves 0 to 1, hangs or takes over SLOW_S."""
    failures = []
    for case, text in HOSTILE.items():
        began = time.perf_counter()
        (verdict,) = _judged(name, [text], _row({}), "", options)
        took = time.perf_counter() - began
        if verdict.value is None and verdict.reason.startswith("the reward "):  # raised, returned, crashed, took over
            failures.append(Failure(case, "a number from 0 to 1, or None", None, verdict.reason))
        elif took > SLOW_S:
            failures.append(Failure(case, f"within {SLOW_S:g} s", verdict.value, f"took {took:.1f} s"))
    return failures


def check_gold(name: str, row: Prompt, options: Mapping[str, Any]) -> Verdict:
    """Say whether the reward can judge a row: 1, or None (the gold cannot be read) or less with the reason, for its own
    gold as the answer."""
    if scoring.needs(name, "gold") and row.verifier != "code":
        missing = next(filter(golds.is_missing, golds.of_row(row.answer, row.meta)), None)
        if missing is not None:
            return Verdict(None, f"the gold only says that there is no answer: {missing}")
        verdict = accuracy.check_gold(row)
        if verdict.value != 1.0 or verdict.reason == mathematics.BY_TEXT:
            return Verdict(None, verdict.reason) if verdict.value == 1.0 else verdict
    if not scoring.applies(name, row):
        return Verdict(None, f"not for rows of this kind (verifier {row.verifier})")
    (verdict,) = _judged(name, [f"<think>so</think><answer>{row.answer}</answer>"], row, "", options)
    return verdict if verdict.value is None else Verdict(1.0, "judged")


def _judged(name: str, texts: list[str], row: Prompt, prefill: str, options: Mapping[str, Any]) -> list[Verdict]:
    """Return the verdicts on completions of one row; `options` may name the length in tokens (a list for a group)."""
    counts = options.get(LENGTH)
    tokens = list(counts) if isinstance(counts, list | tuple) else [counts] * len(texts)
    given = [text if n is None else scoring.Counted(text, n) for text, n in zip(texts, tokens, strict=True)]
    told = {name: {key: value for key, value in options.items() if key != LENGTH}}
    said = scoring.score(given, [row] * len(texts), lines.contract(prefill), {name: 1.0}, options=told)
    return [one.get(name, Verdict(None, "does not apply to this row")) for one in said]


def _row(fields: Mapping[str, Any]) -> Prompt:
    return Prompt(**{"id": "p1", "problem": "12 + 5?", "answer": "17", "verifier": "math", **fields})


def _said(value: float | None) -> str:
    return "None" if value is None else f"{value:g}"

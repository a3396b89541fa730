r"""Compare functions given by cases: two texts with \begin{cases} enter, the same or not leaves.

A case is a value and the condition it holds under. The cases may come in any order; commas, "if" and "for" between the
two are read over, and a condition that says "otherwise" is its own.
"""

from __future__ import annotations

import re

from stages.rewards.mathematics import answers, expression
from stages.rewards.mathematics.expression_node import Node

_CASES = re.compile(r"\\begin\s?\{d?cases\}(.{1,800}?)\\end\s?\{d?cases\}", re.DOTALL)
_ROW = re.compile(r"\\\\(?:\[[^\]]{0,10}\])?")
_WORDS = re.compile(r"\\(?:text|mathrm|mbox|quad|qquad)(?![A-Za-z])|\b(?:if|for|when|where)\b|[{}]")
_ELSE = re.compile(r"otherwise|else")


def same(given: str, wanted: str) -> bool | None:
    """Compare two answers that hold cases; None unless each holds one set of cases that can be read."""
    theirs, gold = _read(given), _read(wanted)
    if theirs is None or gold is None:
        return None
    left = list(theirs)
    for value, condition in gold:
        match = next((one for one in left if _equal(one[1], condition) and _equal(one[0], value)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _equal(first: Node, second: Node) -> bool:
    return first == second or bool(answers.agree(first, second))


def _read(text: str) -> list[tuple[Node, Node]] | None:
    """Read the rows of the one set of cases in a text: (value, condition) each."""
    found = _CASES.findall(text)
    if len(found) != 1:
        return None
    rows = []
    for row in _ROW.split(found[0]):
        if not row.strip():
            continue
        value, sign, condition = row.partition("&")
        read = expression.read(value.strip().strip(",").strip())
        plain = _WORDS.sub(" ", condition).strip(" ,.;")
        under = Node("word", text="otherwise") if _ELSE.search(plain) else expression.read(plain)
        if read is None or under is None or not sign:
            return None
        rows.append((read, under))
    return rows

"""Structured answers for a support desk: a completion and its ticket enter; how much of the answer is usable leaves.

The answer is one JSON object and nothing else: `category` from a closed list, `priority` 1 to 3, and a `reply` of 5 to
40 words that names the ticket's product. Credit is partial, so that the completions of a group differ long before one
of them is perfect; what is no such object earns nothing. Text is only read: its length is checked, then it is parsed
as JSON, and nothing in it is ever executed or looked up.
"""

from __future__ import annotations

import json
from typing import Any

from stages.core import text
from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.rewards.verdict import Example, Verdict, shorten

CATEGORIES = ("account", "advice", "billing", "delivery", "repair", "return")
PRIORITIES = (1, 2, 3)
PRODUCTS = (
    *("Alder chair", "Brio kettle", "Kite desk", "Lumo lamp"),
    *("Nova router", "Pico camera", "Sage app", "Tern headphones"),
)
"""What the shop sells; a reply that names them all has not read the ticket."""
LEAST_WORDS, MOST_WORDS = 5, 40
MOST_CHARACTERS = 1000
"""An answer longer than this is not parsed at all."""
SHAPE, CATEGORY, PRIORITY, REPLY = 0.1, 0.4, 0.2, 0.3
"""What each part earns; they sum to 1."""
COPIED = 0.5
"""Share of the reply's runs of four words that may come from the ticket."""


def reward(completion: str, row: Prompt, contract: Contract) -> Verdict:
    """Judge the JSON between the answer tags against the ticket: 0 to 1, with what is missing in words.

    `row.meta` holds the gold `category` and `priority`, and the `product`; None for a row without them.
    """
    category, priority, product = (row.meta.get(key) for key in ("category", "priority", "product"))
    if category not in CATEGORIES or priority not in PRIORITIES or product not in PRODUCTS:
        return Verdict(None, "the row's meta needs `category`, `priority` and `product`")
    answer = text.summary(contract.prefill + completion, contract.think_tags, contract.answer_tags)
    if answer is None:
        return Verdict(0.0, f"no closed {contract.answer_tags[0]}")
    try:
        found = parsed(answer)
    except (ValueError, RecursionError) as error:
        return Verdict(0.0, shorten(str(error), 100))
    fault = reply_fault(found["reply"], product, row.problem)
    parts = (
        (CATEGORY, found["category"] == category, f"category {found['category']}, expected {category}"),
        (PRIORITY, found["priority"] == priority, f"priority {found['priority']}, expected {priority}"),
        (REPLY, not fault, fault),
    )
    missing = "; ".join(said for _, right, said in parts if not right)
    return Verdict(round(SHAPE + sum(worth for worth, right, _ in parts if right), 6), missing or "all right")


def parsed(answer: str) -> dict[str, Any]:
    """Return the object an answer spells: exactly the three keys, each of its type and range.

    Raises ValueError with the fault, RecursionError for a tower of brackets.
    """
    if len(answer) > MOST_CHARACTERS:
        raise ValueError(f"more than {MOST_CHARACTERS} characters")
    found = json.loads(answer, object_pairs_hook=_each_key_once, parse_constant=_no_number)
    if not isinstance(found, dict):
        raise ValueError("JSON, but not an object")
    if set(found) != {"category", "priority", "reply"}:
        raise ValueError(f"keys {', '.join(sorted(found)) or 'none'}; wanted category, priority, reply")
    if found["category"] not in CATEGORIES:
        raise ValueError("the category is not on the list")
    if type(found["priority"]) is not int or found["priority"] not in PRIORITIES:  # True and 2.0 are equal to ints
        raise ValueError("the priority is not 1, 2 or 3")
    if not isinstance(found["reply"], str):
        raise ValueError("the reply is not text")
    return found


def reply_fault(reply: str, product: str, ticket: str) -> str:
    """Say why a reply earns nothing; "" for one of the right length, about this product, in words of its own."""
    said = text.words(reply)
    if not LEAST_WORDS <= len(said) <= MOST_WORDS:
        return f"a reply of {len(said)} words, wanted {LEAST_WORDS} to {MOST_WORDS}"
    named = [one for one in PRODUCTS if _names(said, one)]
    if product not in named:
        return f"the reply does not name the {product}"
    if len(named) > 1:
        return "the reply names other products too"
    runs = text.ngrams(said, 4)
    copied = len(runs & text.ngrams(text.words(ticket), 4)) / len(runs)
    return "the reply repeats the ticket" if copied > COPIED else ""


def _names(said: list[str], product: str) -> bool:
    return f" {' '.join(text.words(product))} " in f" {' '.join(said)} "


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_TICKET = "The Lumo lamp flickers since Monday. A new bulb did not help."
_ROW = {
    "problem": _TICKET,
    "meta": {"category": "repair", "priority": 2, "product": "Lumo lamp"},
}


def _answer(inside: str) -> str:
    return f"<think>A lamp that flickers is broken.</think><answer>{inside}</answer>"


_GOOD = '{"category": "repair", "priority": 2, "reply": "Sorry about your Lumo lamp, we will repair it."}'
EXAMPLES = (
    Example(_answer(_GOOD), _ROW, 1.0, "all right"),
    Example(_answer(f"\n {_GOOD} \n"), _ROW, 1.0, "whitespace is free"),
    Example(_answer(_GOOD)[len("<think>") :], _ROW, 1.0, "the template prefilled <think>", prefill="<think>\n"),
    Example(_answer(_GOOD.replace('"repair"', '"return"')), _ROW, 0.6, "another category"),
    Example(_answer(_GOOD.replace("2", "1")), _ROW, 0.8, "another priority"),
    Example(_answer(_GOOD.replace("your Lumo lamp", "this")), _ROW, 0.7, "the product is not named"),
    Example(_answer(_GOOD.replace("Lumo lamp", "Lumo lamp, Kite desk")), _ROW, 0.7, "another product as well"),
    Example(_answer(_GOOD.replace("we will", "we will " + "soon " * 40)), _ROW, 0.7, "a reply of 49 words"),
    Example(
        _answer(_GOOD.replace("Sorry about your ", "").replace(", we will repair it.", "")), _ROW, 0.7, "two words"
    ),
    Example(_answer(_GOOD.replace("Sorry about your", _TICKET)), _ROW, 0.7, "the ticket again"),
    Example(_answer(_GOOD.replace("2", '"2"')), _ROW, 0.0, "a priority in quotes"),
    Example(_answer(_GOOD.replace("2", "2.0")), _ROW, 0.0, "a priority with a point"),
    Example(_answer(_GOOD.replace("2", "true")), _ROW, 0.0, "true is no number"),
    Example(_answer(_GOOD.replace("2", "NaN")), _ROW, 0.0, "NaN is no JSON"),
    Example(_answer(_GOOD.replace("2", "4")), _ROW, 0.0, "a priority nobody has"),
    Example(_answer(_GOOD.replace('"repair"', '"lamps"')), _ROW, 0.0, "a category of its own"),
    Example(_answer(_GOOD.replace('"repair"', '["repair"]')), _ROW, 0.0, "all categories at once"),
    Example(_answer(_GOOD.replace("{", '{"category": "return", ')), _ROW, 0.0, "two categories, one key"),
    Example(_answer(_GOOD.replace("{", '{"note": "", ')), _ROW, 0.0, "a key nobody asked for"),
    Example(_answer(f"```json\n{_GOOD}\n```"), _ROW, 0.0, "a code fence"),
    Example(_answer(f"{_GOOD} {_GOOD}"), _ROW, 0.0, "two objects"),
    Example(_answer(_GOOD.replace('"', "'")), _ROW, 0.0, "Python, not JSON"),
    Example(_answer("[" * 900), _ROW, 0.0, "a tower of brackets"),
    Example(_answer(_GOOD + " " * 2000 + "x"), _ROW, 0.0, "more than is read"),
    Example(f"<think>{_GOOD}</think>", _ROW, 0.0, "an answer only inside the thinking"),
    Example(f"<answer>{_GOOD}", _ROW, 0.0, "cut off"),
    Example(_GOOD, _ROW, 0.0, "no tags"),
    Example("", _ROW, 0.0, "nothing at all"),
    Example(_answer(_GOOD), {"meta": {"category": "repair"}}, None, "a row without its gold"),
)

"""The interpreter of the world's tiny programming language: a program enters, the number it ends with leaves.

    program     = instruction { ";" instruction }
    instruction = "set" n | "add" n | "sub" n | "dbl" | "rep" k instruction

The value starts at 0; `rep k` runs the one instruction after it k times and may be nested. Deterministic, with a step
limit and bounded numbers, so judging a program needs no sandbox and no clock.
"""

from __future__ import annotations

import re

from stages.rewards.verdict import shorten

STEP_LIMIT = 1000
VALUE_LIMIT = 10**9
_NUMBER = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,10}", re.ASCII)
# One instruction in whitespace-normalised text, for finding programs inside prose.
_INSTRUCTION = r"(?:rep [0-9]{1,10} )*(?:(?:set|add|sub) -?[0-9]{1,10}|dbl)"
_SEGMENT = re.compile(rf"\b{_INSTRUCTION}(?: ?; ?{_INSTRUCTION})*\b", re.ASCII)
_PIECE = re.compile(r"\b(?:(?:set|add|sub|rep) -?[0-9]{1,10}|dbl)\b", re.ASCII)


class ProgramError(ValueError):
    """A program that does not parse, runs past the step limit or leaves the number range; the message says which."""


def parse(program: str) -> list[tuple[str, int, int]]:
    """Return the instructions as (operation, number, times); `dbl` has number 0, nested `rep` counts are multiplied.

    Whitespace is free, one trailing ";" is allowed, words are lower case. Raises ProgramError on anything else.
    """
    parts = program.split(";")
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    return [_parse_one(part) for part in parts]


def run(program: str, step_limit: int = STEP_LIMIT) -> int:
    """Run a program from 0 and return its last value; at most `step_limit` instructions, |value| <= 10**9.

    Raises ProgramError on a syntax error, the step limit or a value out of range.
    """
    value, steps = 0, 0
    for operation, number, times in parse(program):
        steps += times
        if steps > step_limit:
            raise ProgramError(f"more than {step_limit} steps")
        for _ in range(times):
            value = _step(value, operation, number)
            if abs(value) > VALUE_LIMIT:
                raise ProgramError(f"value beyond {VALUE_LIMIT}")
    return value


def last_segment(text: str) -> str | None:
    """Return the last run of instructions found in a text (its last 4,000 characters), or None."""
    found = _SEGMENT.findall(" ".join(text[-4000:].split()))
    return found[-1] if found else None


def without_instructions(text: str) -> str:
    """Blank out instructions of the language wherever they stand in a text: they are code, whatever surrounds them."""
    return _PIECE.sub(" ", text)


def _parse_one(part: str) -> tuple[str, int, int]:
    """Parse one instruction with its `rep` prefixes; the product of the counts is capped, 0 stays 0."""
    tokens = part.split()
    times, at = 1, 0
    while at < len(tokens) and tokens[at] == "rep":
        if at + 1 >= len(tokens) or not _COUNT.fullmatch(tokens[at + 1]):
            raise ProgramError("rep needs a count")
        times = min(times * int(tokens[at + 1]), 10 * VALUE_LIMIT)
        at += 2
    rest = tokens[at:]
    if rest == ["dbl"]:
        return "dbl", 0, times
    if len(rest) == 2 and rest[0] in ("set", "add", "sub") and _NUMBER.fullmatch(rest[1]):
        return rest[0], int(rest[1]), times
    if not rest:
        raise ProgramError("an empty instruction")
    raise ProgramError(f"cannot read `{shorten(' '.join(rest[:4]), 40)}`")


def _step(value: int, operation: str, number: int) -> int:
    """Apply one instruction."""
    if operation == "set":
        return number
    if operation == "add":
        return value + number
    if operation == "sub":
        return value - number
    return 2 * value

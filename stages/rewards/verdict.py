"""What a reward says, and the shape of its table of examples. Kept apart so that every reward can import it without
the registry."""

from __future__ import annotations

from typing import Any, NamedTuple

from stages.core.judged import Verdict as Verdict


class Example(NamedTuple):
    """One line of a reward's EXAMPLES table, run by the generic test: these row fields and this completion give this
    value."""

    completion: str
    row: dict[str, Any]
    value: float | None
    note: str
    prefill: str = ""  # the contract's prefill under which it holds
    options: dict[str, Any] = {}  # noqa: RUF012  what the recipe sets, and `tokens` where it tells the length


class GroupExample(NamedTuple):
    """One line of a group reward's EXAMPLES table: completions of one prompt, and the value of each."""

    completions: tuple[str, ...]
    row: dict[str, Any]
    values: tuple[float | None, ...]
    note: str
    options: dict[str, Any] = {}  # noqa: RUF012


def length_of(completion: str, tokens: int | None) -> tuple[int, str]:
    """Return a completion's length and its unit: `tokens` where they were counted, else characters."""
    return (len(completion), "characters, tokens not given") if tokens is None else (tokens, "tokens")


def shorten(text: str, limit: int = 60) -> str:
    """Return the text on one printable line of at most `limit` characters, for use in a reason."""
    line = " ".join(text[: 4 * limit].split())
    if not line.isprintable():
        line = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"

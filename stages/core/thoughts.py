"""The marks that a template of another maker puts around a thought, and where its prompts leave it.

A template's text enters; the marks of its own thought and what its prompts end in leave. It exists because a prompt
that ends in `[THINK]` and a response that begins with `<think>` are two openings of one thought. Marks are known by
name, or by what the template itself writes around a thought that a message holds apart.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stages.core import rendering
from stages.core.data.messages import THOUGHTS
from stages.core.errors import ContractError

Marks = tuple[str, str]
HOUSE: Marks = ("<think>", "</think>")
"""R1's own."""
_NAMED = r"(?:think|thought|reason|analy[sz]|reflect|deliberat|scratch|cot\b)"
_WORD = r"[^\s<>\[\]◁▷{}()/|]"
_OPENING = re.compile(
    rf"(?:<\|channel\|?>[ \t]?{_WORD}{{0,20}}{_NAMED}{_WORD}{{0,20}}(?:<\|message\|>)?)"
    rf"|(?:[<\[◁]\|?(?!\|?/|{_WORD}{{0,20}}end){_WORD}{{0,40}}?{_NAMED}{_WORD}{{0,40}}\|?[>\]▷])",
    re.IGNORECASE,
)
"""A mark that opens a thought by its name."""
_CLOSING = re.compile(
    rf"(?:[<\[◁]\|?(?:/{_WORD}{{0,40}}?|{_WORD}{{0,20}}?end_{_WORD}{{0,20}}?){_NAMED}{_WORD}{{0,40}}\|?[>\]▷])"
    rf"|(?:[<\[◁]\|?{_WORD}{{0,40}}{_NAMED}{_WORD}{{0,20}}_end\|?[>\]▷])",
    re.IGNORECASE,
)
"""A mark that closes one."""
_SEEN = 200
"""Letters at the end of a prompt in which a mark is looked for."""
_BEGINS = re.compile(r"begin|start", re.IGNORECASE)
_BROKEN = re.compile(r"[<\[◁][^\s<>\[\]◁▷]{0,40}\Z")
_CHANNEL = "<channel|>"
"""What closes a channel in Gemma 4."""
_ASKED, _SAID, _THOUGHT = "What is six times seven?", "It is 42", "Six sevens are added."


class Opened(NamedTuple):
    """A thought that every prompt opens in marks that are not R1's."""

    marks: Marks
    prefill: str
    """What the prompt ends in from the opening mark on."""


def opened(tail: str, source: str, own: Marks | None = None) -> Opened | None:
    """Where a prompt whose end is `tail` has opened a thought in marks of its own, or None.

    `own`: what the template writes around a thought (`written`). Raises ContractError for an opening mark whose closing
    nobody names.
    """
    bare = tail.rstrip()
    if bare.endswith(HOUSE[0]):
        return None
    mark = own[0].strip() if own is not None else ""
    if own is not None and mark and bare.endswith(mark):
        return Opened((mark, own[1]), tail[bare.rindex(mark) :])
    marks = _OPENING.finditer(bare, max(0, len(bare) - _SEEN))
    found = next((one for one in marks if one.end() == len(bare)), None)
    if found is None:
        return None
    mark = found.group()
    closing = own[1] if own is not None and own[1] != HOUSE[1] else _closing(mark, source)
    return Opened((mark, closing), tail[found.start() :])


def closed(tail: str, own: Marks | None = None) -> str:
    """The mark in which a prompt's end closes a thought that is not in R1's marks, or ""."""
    bare = tail.rstrip()
    if own is not None and own[0].strip() and own[0].strip() in bare and bare.endswith(own[1]) and HOUSE[1] != own[1]:
        return own[1]
    if bare.endswith(_CHANNEL) and _OPENING.search(bare):
        return _CHANNEL
    found = _CLOSING.finditer(bare, max(0, len(bare) - _SEEN))
    mark = next((one.group() for one in found if one.end() == len(bare)), "")
    return "" if mark == HOUSE[1] else mark


def written(source: str) -> Marks | None:
    """What a chat template writes before a thought that an answer holds in a field of its own (with its white space, ""
    where it writes nothing there), and the mark behind it; None where it writes no thought, or no mark behind it."""
    answer = {"role": "assistant", "content": _SAID}
    asked = {"role": "user", "content": _ASKED}
    try:
        prompt = rendering.render(source, [asked], asks=True)
        plain = rendering.render(source, [asked, answer], asks=False)
    except ContractError:
        return None
    for field in THOUGHTS:
        try:
            text = rendering.render(source, [asked, {**answer, field: _THOUGHT}], asks=False)
        except ContractError:
            continue
        before, thought, behind = text.partition(_THOUGHT)
        between, said, _ = behind.partition(_SAID)
        closing = between.partition("<answer>")[0].strip()
        if thought and said and closing:
            return _opening(before, prompt, plain.partition(_SAID)[0]), closing
    return None


def around(source: str) -> tuple[str, str]:
    """What only a prompt of a chat template ends in, and what it writes only before a finished answer without a
    thought; both begin where prompt and answered prompt part."""
    asked = [{"role": "user", "content": _ASKED}]
    try:
        prompt = rendering.render(source, asked, asks=True)
        whole = rendering.render(source, [*asked, {"role": "assistant", "content": _SAID}], asks=False)
    except ContractError:
        return "", ""
    before, said, _ = whole.partition(_SAID)
    shared = len(_shared(prompt, before) if len(prompt) > len(before) else _shared(before, prompt))
    return (prompt[shared:], before[shared:]) if said and _ASKED in prompt[:shared] else ("", "")


def _opening(before: str, prompt: str, plain: str) -> str:
    """What opens a thought: behind the prompt, or, where the prompt has it already, behind what begins every answer."""
    if before.rstrip() != prompt.rstrip() and before.startswith(prompt.rstrip()):
        return before[len(prompt.rstrip()) :]
    return before[len(_shared(before, plain)) :]


def _shared(one: str, other: str) -> str:
    """What two texts begin with alike, but for a mark that is cut in two there."""
    pairs = zip(one, other, strict=False)
    size = next((place for place, (mine, its) in enumerate(pairs) if mine != its), min(len(one), len(other)))
    shared = one[:size]
    return _BROKEN.sub("", shared) if len(shared) < len(one) else shared


def _closing(opening: str, source: str) -> str:
    """The mark that closes what an opening mark opens, by the customs of names."""
    if opening.lower().startswith("<|channel|>"):
        return "<|end|><|start|>assistant<|channel|>final<|message|>"  # OpenAI's harmony format
    if opening.lower().startswith("<|channel>"):
        return _CHANNEL
    edge = 2 if opening[1] == "|" else 1
    head, name, tail = opening[:edge], opening[edge:-edge], opening[-edge:]
    ended, begun = _BEGINS.subn(lambda word: "END" if word.group().isupper() else "end", name)
    if begun:
        return f"{head}{ended}{tail}"
    found = [f"{head}/{name}{tail}", f"{head}end_{name}{tail}", f"{head}{name}_end{tail}"]
    closing = next((one for one in found if one in source), found[0] if edge == 1 else "")
    if not closing:
        what = f"the template opens the thought of every prompt in {opening!r}, and nothing says what closes it"
        raise ContractError(what, hint=f"choose a template that ends in {HOUSE[0]} instead: `template=FILE`")
    return closing

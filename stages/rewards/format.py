"""The format rewards: a completion enters; 1 for the template's form, or 0 with the fault in words, leaves.

Judged on prefill + completion, so a template that ends in `<think>` can be answered in full marks. `reward` is strict
on purpose: exactly one think span, one answer span, both with content, and nothing around them, so neither junk nor a
second answer can hide. `tolerant` forgives what a model does out of habit and nothing that hides or adds an answer.
"""

from __future__ import annotations

import re

from stages.core.contract import Contract
from stages.core.rows import JUDGES, Prompt
from stages.core.text import boxed, format_fault
from stages.rewards.declared import Reward
from stages.rewards.verdict import Example, Verdict


@Reward("format", pays="the template's strict format", values="0 or 1", trials=("hacks.form:FORMAT",))
def reward(completion: str, row: Prompt, contract: Contract) -> Verdict:
    """Return 1 for the strict format of `contract`, else 0 and the first fault.

    A general prompt (one for a judge) may be answered without reasoning: there alone the think span may be empty.
    """
    fault = _fault(contract.prefill + completion, row, contract)
    return Verdict(0.0, fault) if fault else Verdict(1.0, "strict format")


@Reward(
    "format_tolerant",
    pays="one closed thought and one answer, however dressed",
    values="0 or 1",
    trials=("hacks.form:TOLERANT",),
)
def tolerant(completion: str, row: Prompt, contract: Contract) -> Verdict:
    """Return 1 for one thought, closed, and one answer after it, however the tags are dressed; else 0 and the fault.

    Forgiven: tags in another case, an opening think tag that is left out or written again after a prefilled one, words
    between the thinking and the answer, and one closed box after the thinking in the place of the answer tags. Never
    forgiven: a tag that does not close, two answers, an answer before or only inside the thinking, text before the
    thinking or after the answer tags, an empty part.
    """
    if not _fault(contract.prefill + completion, row, contract):
        return Verdict(1.0, "strict format")
    thought, closing, final = _opened(contract.prefill + completion, contract).partition(contract.think_tags[1])
    text, fault = _answered(thought + closing, final, contract) if closing else (thought, "")
    fault = fault or _fault(text, row, contract)
    return Verdict(0.0, fault) if fault else Verdict(1.0, "tolerated format")


def _fault(text: str, row: Prompt, contract: Contract) -> str:
    return format_fault(text, contract.think_tags, contract.answer_tags, silent=row.verifier in JUDGES)


def _opened(text: str, contract: Contract) -> str:
    """Return the text with its tags in the contract's case and one opening think tag where a prefill explains none or
    two."""
    for tag in (*contract.think_tags, *contract.answer_tags):
        text = re.sub(re.escape(tag), tag.replace("\\", r"\\"), text, flags=re.IGNORECASE | re.ASCII)
    opening, closing = contract.think_tags
    begun = text.lstrip()
    if opening in contract.prefill and begun.startswith(opening):
        again = begun[len(opening) :].lstrip()
        return again if again.startswith(opening) else begun
    head = begun.partition(closing)
    silent = head[1] and opening not in head[0] and contract.answer_tags[0] not in head[0]
    return opening + begun if silent else begun


def _answered(thought: str, final: str, contract: Contract) -> tuple[str, str]:
    """Return thinking and answer with nothing between them, the box as the answer where no tags are, and the fault, if
    there are two answers. Words that hold a tag stay where they are, to be found at fault."""
    opening, closing = contract.answer_tags
    words, opened, rest = final.partition(opening)
    boxes = boxed(words)
    if any(tag in words for tag in (*contract.think_tags, closing)):
        return thought + final, ""
    if opened:
        return thought + opened + rest, f"a box beside {opening}" if boxes else ""
    if len(boxes) > 1:
        return thought, "two boxes"
    return thought + (f"{opening}{boxes[0]}{closing}" if boxes else final), ""


_GENERAL = {"verifier": "helpful"}
_PREFILL = "<think>\n"

EXAMPLES = (
    Example("<think>a</think><answer>b</answer>", {}, 1.0, "the form itself"),
    Example(" <think>\na\n</think>\n\n<answer> b </answer>\n", {}, 1.0, "whitespace is free"),
    Example("a</think><answer>b</answer>", {}, 1.0, "the template prefilled <think>", prefill=_PREFILL),
    Example("<think>a</think><answer>b</answer>", {}, 0.0, "a prefilled <think> again", prefill=_PREFILL),
    Example("a</think><answer>b</answer>", {}, 0.0, "no <think>"),
    Example("<THINK>a</THINK><answer>b</answer>", {}, 0.0, "tags in another case"),
    Example("<think>a</think>\\boxed{b}", {}, 0.0, "a box is no <answer>"),
    Example("<think>a</think><think>b</think><answer>b</answer>", {}, 0.0, "two <think>"),
    Example("<think>a</think><answer>b</answer><answer>c</answer>", {}, 0.0, "two <answer>"),
    Example("<think>a</think><answer>b</answer> and more", {}, 0.0, "text after </answer>"),
    Example("so <think>a</think><answer>b</answer>", {}, 0.0, "text before <think>"),
    Example("<think>a</think> so <answer>b</answer>", {}, 0.0, "text before <answer>"),
    Example("<think> </think><answer>b</answer>", {}, 0.0, "empty <think>"),
    Example("<think></think><answer>b</answer>", _GENERAL, 1.0, "a general prompt needs no reasoning"),
    Example("<think>a</think><answer></answer>", {}, 0.0, "empty <answer>"),
    Example("<think></think><answer></answer>", {"verifier": "safe"}, 0.0, "but an answer"),
    Example("<think>a</think><answer>b", {}, 0.0, "<answer> not closed: cut off"),
    Example("<think>a", {}, 0.0, "<think> not closed: cut off"),
    Example("<answer>b</answer><think>a</think>", {}, 0.0, "text before <think>"),
    Example("<think>a<answer>b</answer></think>", {}, 0.0, "<answer> inside <think>"),
)

TOLERANT_EXAMPLES = (
    Example("<think>a</think><answer>b</answer>", {}, 1.0, "the form itself"),
    Example(" \n<think>\na\n</think>\n\n<answer> b </answer>\n", {}, 1.0, "whitespace is free"),
    Example("<Think>a</THINK><ANSWER>b</Answer>", {}, 1.0, "tags in another case"),
    Example("a</think><answer>b</answer>", {}, 1.0, "the template prefilled <think>", prefill=_PREFILL),
    Example("<think>a</think><answer>b</answer>", {}, 1.0, "and the model wrote it again", prefill=_PREFILL),
    Example("a</think><answer>b</answer>", {}, 1.0, "prefilled, and the contract does not say so"),
    Example("<think>a</think> So it is <answer>b</answer>", {}, 1.0, "words before the answer"),
    Example("<think>\\boxed{c}</think> It is \\boxed{b}.", {}, 1.0, "a box after the thinking"),
    Example("<think>a</think><answer>\\boxed{b}</answer>", {}, 1.0, "a box in the answer"),
    Example("<think></think>\\boxed{b}", _GENERAL, 1.0, "a general prompt needs no reasoning"),
    Example("<think>a</think> It is b.", {}, 0.0, "neither tags nor box"),
    Example("<think>a</think>\\boxed{b} or \\boxed{c}", {}, 0.0, "two boxes"),
    Example("<think>a</think>\\boxed{b} <answer>c</answer>", {}, 0.0, "a box and an answer"),
    Example("<think>a</think>\\boxed{b", {}, 0.0, "a box that does not close"),
    Example("<think>a</think>\\boxed{}", {}, 0.0, "an empty box"),
    Example("<think>a</think><answer>b</answer><answer>c</answer>", {}, 0.0, "two <answer>"),
    Example("<think>a</think><answer>b</answer><ANSWER>c</ANSWER>", {}, 0.0, "two, one of them shouted"),
    Example("<think>a</think><answer>b</answer> or c", {}, 0.0, "text after </answer>"),
    Example("<think>a</think><answer>b", {}, 0.0, "<answer> not closed: cut off"),
    Example("<think>a</think>b</answer>", {}, 0.0, "<answer> not opened"),
    Example("<think>a<answer>b</answer>", {}, 0.0, "<think> not closed"),
    Example("<think>a</think></think><answer>b</answer>", {}, 0.0, "two </think>"),
    Example("<think>a</think><think>b</think><answer>b</answer>", {}, 0.0, "two <think>"),
    Example("<answer>b</answer><think>a</think>", {}, 0.0, "the answer before the thinking"),
    Example("<answer>b</answer></think>", {}, 0.0, "an answer only, and a stray tag"),
    Example("<answer>b</answer></think><answer>b</answer>", {}, 0.0, "an answer inside the thinking and one after it"),
    Example("<think>a<answer>b</answer></think>", {}, 0.0, "the answer only inside the thinking"),
    Example("so <think>a</think><answer>b</answer>", {}, 0.0, "text before <think>"),
    Example("<think> </think><answer>b</answer>", {}, 0.0, "empty <think>"),
    Example("<answer>b</answer>", {}, 0.0, "no thinking"),
    Example("", {}, 0.0, "nothing at all"),
)

"""The format reward: a completion enters; 1 for the template's strict form, or 0 with the fault in words, leaves.

Judged on prefill + completion, so a template that ends in `<think>` can be answered in full marks. Strict on purpose:
exactly one think span, one answer span, both with content, and nothing around them, so neither junk nor a second
answer can hide.
"""

from __future__ import annotations

from stages.core.contract import Contract
from stages.core.rows import JUDGES, Prompt
from stages.core.text import format_fault
from stages.rewards.verdict import Example, Verdict


def reward(completion: str, row: Prompt, contract: Contract) -> Verdict:
    """Return 1 for the strict format of `contract`, else 0 and the first fault.

    A general prompt (one for a judge) may be answered without reasoning: there alone the think span may be empty.
    """
    silent = row.verifier in JUDGES
    fault = format_fault(contract.prefill + completion, contract.think_tags, contract.answer_tags, silent=silent)
    return Verdict(0.0, fault) if fault else Verdict(1.0, "strict format")


EXAMPLES = (
    Example("<think>a</think><answer>b</answer>", {}, 1.0, "the form itself"),
    Example(" <think>\na\n</think>\n\n<answer> b </answer>\n", {}, 1.0, "whitespace is free"),
    Example("a</think><answer>b</answer>", {}, 1.0, "the template prefilled <think>", prefill="<think>\n"),
    Example("a</think><answer>b</answer>", {}, 0.0, "no <think>"),
    Example("<think>a</think><think>b</think><answer>b</answer>", {}, 0.0, "two <think>"),
    Example("<think>a</think><answer>b</answer><answer>c</answer>", {}, 0.0, "two <answer>"),
    Example("<think>a</think><answer>b</answer> and more", {}, 0.0, "text after </answer>"),
    Example("so <think>a</think><answer>b</answer>", {}, 0.0, "text before <think>"),
    Example("<think>a</think> so <answer>b</answer>", {}, 0.0, "text before <answer>"),
    Example("<think> </think><answer>b</answer>", {}, 0.0, "empty <think>"),
    Example("<think></think><answer>b</answer>", {"verifier": "helpful"}, 1.0, "a general prompt needs no reasoning"),
    Example("<think>a</think><answer></answer>", {}, 0.0, "empty <answer>"),
    Example("<think></think><answer></answer>", {"verifier": "safe"}, 0.0, "but an answer"),
    Example("<think>a</think><answer>b", {}, 0.0, "<answer> not closed: cut off"),
    Example("<think>a", {}, 0.0, "<think> not closed: cut off"),
    Example("<answer>b</answer><think>a</think>", {}, 0.0, "text before <think>"),
    Example("<think>a<answer>b</answer></think>", {}, 0.0, "<answer> inside <think>"),
)

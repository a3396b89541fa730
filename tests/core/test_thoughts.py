"""A prompt that ends in another maker's mark of thought opens one thought, not two."""

from __future__ import annotations

import pytest

from stages.core import thoughts
from stages.core.contract import Contract
from stages.core.errors import ContractError
from stages.core.templates import with_template

BARE = Contract(template="", template_name="", eos_ids=[1], pad_id=0, tokenizer_sha256="", max_positions=64)
OPENINGS = [
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<thought>", "</thought>"),
    ("<thinking>", "</thinking>"),
    ("<Reasoning>", "</Reasoning>"),
    ("<THINK>", "</THINK>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|thought_start|>", "<|thought_end|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]


@pytest.mark.parametrize(("opening", "closing"), OPENINGS)
@pytest.mark.parametrize("space", ["", "\n"])
def test_a_text_that_ends_in_an_opening_mark_has_that_mark_for_its_thought(
    opening: str, closing: str, space: str
) -> None:
    found = with_template(BARE, f"User: {{prompt}}\nAssistant: {opening}{space}")
    mark = opening.rstrip()
    assert found.think_tags == (mark, closing) and found.prefill == opening[len(mark) :].join((mark, "")) + space
    assert found.respond("Six.", "6").lstrip() == f"Six.{closing}<answer>6</answer>"
    assert with_template(found, "r1_zero").think_tags == thoughts.HOUSE


@pytest.mark.parametrize(("opening", "closing"), OPENINGS)
def test_a_text_that_ends_in_a_closing_mark_is_refused(opening: str, closing: str) -> None:
    if "final" not in closing:  # a channel that opens, not one that closes
        with pytest.raises(ContractError, match="closes a thought at the end of every prompt"):
            with_template(BARE, f"User: {{prompt}}\nAssistant: {opening}none{closing}\n")


@pytest.mark.parametrize(
    "ends",
    ["<|assistant|>", "[/INST]", "<|im_start|>assistant\n", "assistant<|sep|>", "<START_RESPONSE>", "I think", "[end]"],
)
def test_other_ends_of_a_prompt_open_no_thought(ends: str) -> None:
    found = with_template(BARE, f"{{prompt}}{ends}")
    assert found.think_tags == thoughts.HOUSE and found.prefill == ""


def test_marks_that_are_only_told_of_are_no_opening() -> None:
    told = "Think in [THINK] and [/THINK]. User: {prompt}. Put your thoughts in <thought> tags.\nAssistant:"
    assert with_template(BARE, told).think_tags == thoughts.HOUSE


def test_an_opening_mark_whose_closing_nobody_names_is_refused() -> None:
    with pytest.raises(ContractError, match=r"'<\|think\|>', and nothing says what closes it") as caught:
        with_template(BARE, "{prompt}<|think|>")
    assert "template=" in caught.value.hint
    assert with_template(BARE, "End by <|/think|>. {prompt}<|think|>").think_tags == ("<|think|>", "<|/think|>")


@pytest.mark.parametrize("size", [100_000])
def test_a_hostile_end_of_a_template_is_read_in_little_time(size: int) -> None:
    for text in ("<" * size, "<|" + "think" * size, "[end_" * size, "<think" * size, "◁/" * size):
        assert with_template(BARE, "{prompt}" + text).prefill == ""

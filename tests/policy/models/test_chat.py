"""A chat template is read as transformers reads it, and says itself what ends a turn."""

from __future__ import annotations

import pytest

from stages.policy.models import chat
from tests.policy import styles


@pytest.mark.parametrize(
    ("style", "end"),
    [("gemma", "<end_of_turn>"), ("llama3", "<|eot_id|>"), ("qwen", "<|im_end|>"), ("r1_distill", "</s>")],
)
def test_the_end_of_a_turn_is_what_the_template_writes_there(style: str, end: str) -> None:
    tokenizer = styles.tokenizer(style)
    assert chat.turn_end(tokenizer) == tokenizer.convert_tokens_to_ids(end)


def test_a_tokenizer_without_a_template_has_no_end_of_a_turn() -> None:
    assert chat.turn_end(styles.tokenizer("plain")) is None


@pytest.mark.parametrize(
    ("wraps", "end"),
    [
        ("{{ m.content }}<|end|>\n", "<|end|>"),  # Phi-3: a last turn is followed by the eos as well
        ("{{ m.content }}<|stop|><|end|>", "<|stop|>"),
    ],
)
def test_of_several_tokens_behind_a_turn_the_first_is_its_end(wraps: str, end: str) -> None:
    template = "{% for m in messages %}<|im|>" + wraps + "{% endfor %}{% if not add_generation_prompt %}</s>{% endif %}"
    tokenizer = styles.tokenizer("plain", template)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>", "<|stop|>", "<|im|>"]})
    assert chat.turn_end(tokenizer) == tokenizer.convert_tokens_to_ids(end)


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{% if %}", "{{ 1 / 0 }}", "{{ none.x.y }}"])
def test_a_template_that_cannot_be_rendered_has_no_end_of_a_turn(template: str) -> None:
    assert chat.turn_end(styles.tokenizer("plain", template)) is None

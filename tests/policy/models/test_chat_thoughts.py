"""A chat template's own marks of thought: one opening and one closing in prompt and response together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trl

from stages.core import rendering, thoughts
from stages.core.contract import Contract
from stages.core.data import imitation
from stages.core.errors import ContractError
from stages.core.rows import Conversation
from stages.policy.models import chat
from tests.policy import styles

ROW = Conversation("r", "What is 6 * 7?", "6 * 7 = 42", "It is 42.")
TAGGED = replace(ROW, id="t", reasoning=f"<think>{ROW.reasoning}</think>", summary=f"<answer>{ROW.summary}</answer>")
WHOLE = replace(ROW, id="w", reasoning="", summary=f"[THINK]{ROW.reasoning}[/THINK]{ROW.summary}")
BARE: dict[str, Any] = {"template": "", "template_name": "", "tokenizer_sha256": "", "max_positions": 1024}
ASSISTANT = "assistant\n' }}{% endif %}"
HARMONY = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% if m.thinking %}<|start|>assistant<|channel|>analysis"
    "<|message|>{{ m.thinking }}<|end|>{% endif %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last else '<|end|>' }}{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
COMMAND = (
    "{% for m in messages %}<|TURN|>{% if m.role == 'assistant' %}<|BOT|>{% if m.reasoning_content %}<|START_THINKING|>"
    "{{ m.reasoning_content }}<|END_THINKING|>{% endif %}<|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|>"
    "{% else %}<|USER|>{{ m.content }}{% endif %}<|END|>{% endfor %}{% if add_generation_prompt %}<|TURN|><|BOT|>"
    "{% if reasoning is defined and not reasoning %}<|START_THINKING|><|END_THINKING|>{% endif %}{% endif %}"
)
SEED = styles.QWEN.replace(
    ASSISTANT,
    "assistant\n' }}{% if thinking_budget == 0 %}<seed:think><seed:cot_budget_reflect>The budget is 0."
    "</seed:cot_budget_reflect>\n</seed:think>{% endif %}{% endif %}",
)


def agreed(source: str, special: tuple[str, ...] = (), **options: Any) -> tuple[Contract, Any, list[str]]:
    """The contract of a chat template, the tokenizer it is for, and what was told."""
    words, said = styles.tokenizer("qwen", source), list[str]()
    words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *special]})
    base = Contract(**BARE, eos_ids=[0], pad_id=max(words.get_vocab().values()))
    return chat.chat_contract(base, words, options=options, tell=said.append), words, said


def trained(found: Contract, words: Any) -> str:
    """What is read and trained of a row, whether it carries marks or not; a sealed folder asks and writes the same."""
    made = list(imitation.examples([ROW, TAGGED, WHOLE], found, words.backend_tokenizer))
    whole = [[*one.prompt_ids, *one.completion_ids] for one in made]
    assert whole == [whole[0]] * 3
    words.chat_template = chat.sealed(found, words)
    asked = [{"role": "user", "content": ROW.problem}]
    assert words.apply_chat_template(asked, add_generation_prompt=True)["input_ids"] == list(made[0].prompt_ids)
    said = {"role": "assistant", "content": found.respond(ROW.reasoning, ROW.summary)}
    assert words.apply_chat_template([*asked, said])["input_ids"] == whole[0]
    return str(words.decode(whole[0]))


@pytest.mark.parametrize("tags", [True, False], ids=["one token", "letters"])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("◁think▷", "◁/think▷"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_a_prompt_that_opens_a_thought_is_answered_in_its_own_marks(opening: str, closing: str, tags: bool) -> None:
    source = styles.QWEN.replace(ASSISTANT, f"assistant\n{opening}\n' }}}}{{% endif %}}")
    found, words, said = agreed(source, (opening, closing) if tags else ())
    assert found.think_tags == (opening, closing) and found.prefill == f"{opening}\n"
    assert f"{opening!r} opens and {closing!r} closes it here" in said[0]
    text = trained(found, words)
    assert text.count(opening) == text.count(closing) == 1 and "think>" not in text.replace(opening, "").replace(
        closing, ""
    )


def test_marks_without_a_name_are_known_by_what_the_template_writes_around_a_thought() -> None:
    source = styles.QWEN.replace("m['content']", "('@(' + m.reasoning + ')@' if m.reasoning else '') + m['content']")
    found, words, _ = agreed(source.replace(ASSISTANT, "assistant\n@(' }}{% endif %}"))
    assert found.think_tags == ("@(", ")@")
    assert "@(6 * 7 = 42)@<answer>" in trained(found, words)


def test_an_answer_that_the_template_writes_in_channels_is_trained_in_them() -> None:
    special = ("<|start|>", "<|end|>", "<|return|>", "<|channel|>", "<|message|>")
    found, words, said = agreed(HARMONY, special)
    assert trained(found, words) == (
        "<|start|>user<|message|>What is 6 * 7?<|end|><|start|>assistant<|channel|>analysis<|message|>6 * 7 = 42<|end|>"
        "<|start|>assistant<|channel|>final<|message|><answer>It is 42.</answer><|return|>"
    )
    assert "marks of its own" in said[0]


@pytest.mark.parametrize("name", ["gptoss", "muse_glimmer"])
def test_a_shipped_template_of_channels_is_trained_as_it_writes_a_thought(name: str) -> None:
    source = (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    found, words, _ = agreed(source)
    text = trained(found, words)
    said = [{"role": "user", "content": ROW.problem}, {"role": "assistant", "content": "<answer>It is 42.</answer>"}]
    wanted = [rendering.render(found.template, [said[0], {**said[1], field: ROW.reasoning}], asks=False)
              for field in ("thinking", "reasoning_content", "reasoning")]  # fmt: skip
    assert any(ROW.reasoning in one and one.startswith(text.removesuffix("<|endoftext|>")) for one in wanted)


def test_an_answer_between_marks_of_its_own_is_trained_between_them_and_a_closed_thought_names_its_switch() -> None:
    special = ("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>")
    found, words, _ = agreed(COMMAND, (*special, "<|END|>", "<|BOT|>", "<|USER|>", "<|TURN|>"))
    wanted = "<|BOT|><|START_THINKING|>6 * 7 = 42<|END_THINKING|><|START_RESPONSE|><answer>It is 42.</answer><|END_"
    assert wanted in trained(found, words)
    with pytest.raises(ContractError, match="closes a thought at the end of every prompt") as caught:
        agreed(COMMAND, special, reasoning=False)
    assert "leave `template_options` out" in caught.value.hint


def test_a_text_before_answers_that_a_response_lacks_is_told() -> None:
    source = styles.QWEN.replace("m['content']", "('Reply: ' if m.role == 'assistant' else '') + m['content']")
    found, _, said = agreed(source)
    assert found.think_tags == thoughts.HOUSE
    assert "the chat template writes 'Reply:' before an answer; a response begins without it here" in said
    _, _, said = agreed(styles.QWEN.replace(ASSISTANT, "assistant\nSure. ' }}{% endif %}"))
    assert "the chat template ends every prompt in 'Sure.', which it does not write before an answer" in said


def test_a_thought_that_an_option_closes_with_words_in_it_is_refused_and_the_option_named() -> None:
    with pytest.raises(ContractError, match="closes a thought at the end of every prompt") as caught:
        agreed(SEED, thinking_budget=0)
    assert caught.value.hint.startswith("let it think: leave `template_options` out")
    assert agreed(SEED, thinking_budget=512)[0].think_tags == thoughts.HOUSE
    house = SEED.replace("seed:think", "think")
    with pytest.raises(ContractError, match="closes a thought at the end of every prompt") as caught:
        agreed(house, thinking_budget=0)


OPENS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"


@pytest.mark.parametrize("ends", ["<|assistant|>", "{{ '<|assistant|>' if add_generation_prompt else '<|user|>' }}"])
def test_what_opens_the_next_turn_is_no_end_of_a_turn(ends: str) -> None:
    found, words, said = agreed(OPENS + ends, ("<|user|>", "<|assistant|>"))
    assert found.eos_ids == [0] and chat.turn_end(words) is None
    assert said == ["the chat template writes no end behind a last answer: '<|endoftext|>' is trained as its end"]


def test_a_mark_of_the_next_turn_that_the_model_calls_an_end_is_one() -> None:
    source = OPENS + "{{ '<|assistant|>' if add_generation_prompt else '<|user|>' }}"
    words = styles.tokenizer("qwen", source)
    words.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>"]})
    user = words.convert_tokens_to_ids("<|user|>")
    base = Contract(**BARE, eos_ids=[0, user], pad_id=1)
    assert chat.chat_contract(base, words).end_id == user

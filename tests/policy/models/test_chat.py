"""A chat template is read as transformers reads it, and says itself what ends a turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trl
from jinja2 import TemplateError
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from stages.core import rendering
from stages.core.contract import Contract
from stages.core.data import imitation
from stages.core.encoding import Reader
from stages.core.errors import ContractError, RecipeError
from stages.core.rows import Conversation
from stages.core.templates import with_template
from stages.policy.models import chat
from tests.policy import styles

SHIPPED = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
ASKED = [{"role": "user", "content": " Is 7 < 8?\n"}]
SYSTEM = [{"role": "system", "content": "Be brief. /no_think"}, {"role": "user", "content": "hi"}]
SAID = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
AGAIN = [*SAID, {"role": "user", "content": "and now? /no_think"}]
CHATS = [(ASKED, True), (SYSTEM, True), (SAID, False), (AGAIN, True)]


def contract(style: str, template: str = "chat", **options: Any) -> Contract:
    words, what = styles.tokenizer(style), styles.STYLES[style]
    given = {"template": "", "template_name": "", "tokenizer_sha256": "", "max_positions": 1024}
    pad = max(words.get_vocab().values())
    base = Contract(**given, eos_ids=what.ends, pad_id=pad)
    return chat.chat_contract(base, words, options=options) if template == "chat" else with_template(base, template)


def test_templates_are_shipped_to_try() -> None:
    assert len(SHIPPED) > 60


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_template_renders_as_transformers_renders_it(file: Path) -> None:
    source, special = file.read_text(encoding="utf-8"), {"bos_token": "<s>", "eos_token": "</s>"}
    alone = rendering.fixed(source, special)
    if rendering.CLOCK in source:  # the clock is what differs: give transformers the date that is fixed
        source = rendering.fixed(source, {})
    for messages, asks in CHATS:
        try:
            wanted = render_jinja_template([messages], None, None, source, add_generation_prompt=asks, **special)[0][0]
        except (TemplateError, TypeError):
            with pytest.raises(ContractError):
                rendering.render(alone, messages, asks=asks)
        else:
            assert rendering.render(alone, messages, asks=asks) == wanted


@pytest.mark.parametrize(
    ("style", "end"),
    [("gemma", "<end_of_turn>"), ("llama3", "<|eot_id|>"), ("qwen", "<|im_end|>"), ("r1_distill", "</s>")],
)
def test_the_end_of_a_turn_is_what_the_template_writes_there(style: str, end: str) -> None:
    tokenizer = styles.tokenizer(style)
    wanted = tokenizer.convert_tokens_to_ids(end)
    assert chat.turn_end(tokenizer) == wanted
    found = contract(style)
    assert found.end_id == wanted and set(found.eos_ids) == {*styles.STYLES[style].ends, wanted}


def test_a_tokenizer_without_a_template_has_no_end_of_a_turn() -> None:
    assert chat.turn_end(styles.tokenizer("plain")) is None
    with pytest.raises(ContractError, match="has no chat template"):
        contract("plain")


@pytest.mark.parametrize(
    ("wraps", "end"),
    [
        ("{{ m.content }}<|end|>\n", "<|end|>"),  # Phi-3: a last turn is followed by the eos as well
        ("{{ m.content }}<|stop|><|end|>", "<|stop|>"),
        ("{{ m.content }}\n<|end|>", "<|end|>"),
    ],
)
def test_of_several_tokens_behind_a_turn_the_first_is_its_end(wraps: str, end: str) -> None:
    template = "{% for m in messages %}<|im|>" + wraps + "{% endfor %}{% if not add_generation_prompt %}</s>{% endif %}"
    tokenizer = styles.tokenizer("plain", template)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>", "<|stop|>", "<|im|>"]})
    assert chat.turn_end(tokenizer) == tokenizer.convert_tokens_to_ids(end)


TOLD = styles.QWEN.replace("m['content']", "TEXT")
PARTS = "{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}"
ONLY_PARTS = TOLD.replace("'\n' + TEXT + ", "'\n' }}" + PARTS + "{{ ")


@pytest.mark.parametrize("text", ["(m.content | upper)", "'hello'", "m.content + m.content", "(m.content | reverse)"])
def test_a_template_that_does_not_write_an_answer_as_it_is_names_no_end(text: str) -> None:
    assert chat.turn_end(styles.tokenizer("qwen", TOLD.replace("TEXT", text))) is None


@pytest.mark.parametrize(
    "source", [ONLY_PARTS, TOLD.replace("TEXT", "m.content[0].text"), TOLD.replace("TEXT", "m.content[0]['text']")]
)
def test_the_end_of_a_turn_of_a_template_that_reads_parts_alone_is_its_own(source: str) -> None:
    tokenizer = styles.tokenizer("qwen", source)
    assert chat.turn_end(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")


BROKEN = ["{{ raise_exception('only tools') }}", "{% if %}", "{{ 1 / 0 }}", "{{ nothing.x.y }}", "{{ nothing + 'x' }}"]


@pytest.mark.parametrize("template", BROKEN)
def test_a_template_that_cannot_be_rendered_is_one_sentence_with_a_way_out(template: str) -> None:
    tokenizer = styles.tokenizer("plain", template + "{{ messages }}")
    assert chat.turn_end(tokenizer) is None
    with pytest.raises(ContractError, match="the chat template") as caught:
        chat.chat_contract(contract("qwen"), tokenizer)
    assert "template=r1_zero" in caught.value.hint


@pytest.mark.parametrize("what", ["[1, 2] | random", "lipsum()"])
def test_a_template_gets_no_chance(what: str) -> None:
    tokenizer = styles.tokenizer("qwen", "{{ messages[0].content }}{{ " + what + " }}")
    with pytest.raises(ContractError, match="the chat template"):
        chat.chat_contract(contract("qwen"), tokenizer)


def test_several_templates_need_a_default() -> None:
    tokenizer = styles.tokenizer("qwen")
    tokenizer.chat_template = {"tool_use": styles.QWEN, "rag": styles.QWEN}
    with pytest.raises(ContractError, match=r"several chat templates \(rag, tool_use\)"):
        chat.chat_contract(contract("qwen"), tokenizer)
    tokenizer.chat_template = {"tool_use": "x", "default": styles.QWEN}
    assert chat.chat_contract(contract("qwen"), tokenizer) == contract("qwen")


def test_the_date_is_the_templates_own_or_a_fixed_one_and_it_is_said() -> None:
    said: list[str] = []
    own = chat.chat_contract(contract("llama3"), styles.tokenizer("llama3"), tell=said.append)
    assert "Today Date: 26 Jul 2024" in own.render("hi")
    assert said == [
        "the chat template asks for today's date: every prompt says the date that the template itself falls back on"
    ]
    dated = styles.QWEN + "{{ strftime_now('%Y-%m-%d, %-d %B') }}"
    found = chat.chat_contract(contract("qwen"), styles.tokenizer("qwen"), dated)
    assert found.render("hi").endswith("2025-01-20, 20 January")


def test_a_closed_thought_is_refused_and_can_be_opened() -> None:
    with pytest.raises(ContractError, match="closes an empty thought") as caught:
        contract("nothink")
    assert "'template_options={enable_thinking: true}'" in caught.value.hint
    found = contract("nothink", enable_thinking=True)
    assert found.prefill == "<think>\n" and found.render("hi").endswith("assistant\n<think>\n")
    with pytest.raises(RecipeError, match="no option `enable_thinkin`") as unknown:
        contract("nothink", enable_thinkin=True)
    assert "enable_thinking" in unknown.value.hint


LONE = styles.QWEN.replace("assistant\n' }}{% endif %}", "assistant\n' }}SWITCH{% endif %}")


@pytest.mark.parametrize(
    ("switch", "hint"),
    [
        ("{% if not enable_thinking %}</think>{% endif %}", "{enable_thinking: true}"),
        ("{% if thinking %}<think>{% else %}</think>{% endif %}", "{thinking: true}"),
        ("{% if not no_reason and not fast is defined %}</think>{% endif %}", "{fast: true}"),
        ("{% if reason is not defined or reason %}<think></think>{% endif %}", "{reason: false}"),
    ],
)
def test_a_prompt_that_closes_the_thought_is_refused_with_the_switch_that_opens_it(switch: str, hint: str) -> None:
    source = LONE.replace("SWITCH", switch)
    with pytest.raises(ContractError, match="closes") as caught:
        chat.chat_contract(contract("qwen"), styles.tokenizer("qwen"), source)
    assert f"'template_options={hint}'" in caught.value.hint
    name, value = hint.strip("{}").split(": ")
    found = chat.chat_contract(contract("qwen"), styles.tokenizer("qwen"), source, {name: value == "true"})
    assert "</think>" not in found.render("hi")


def test_a_thought_that_no_switch_opens_is_refused_without_one() -> None:
    with pytest.raises(ContractError, match="never opens it") as caught:
        source = LONE.replace("SWITCH", "{% if mood %}{% endif %}</think>")
        chat.chat_contract(contract("qwen"), styles.tokenizer("qwen"), source)
    assert caught.value.hint == rendering.WAY_OUT


BLANK = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} </s>"
    "{% endif %}{% endfor %}"
)


def _sentencepiece(letters: str) -> PreTrainedTokenizerFast:
    """A tokenizer of letters that begins every text with a blank, as Llama-2's does, and so needs none."""
    vocabulary = ["<unk>", "<s>", "</s>", "▁", *sorted(set(letters) - {" "})]
    made = Tokenizer(models.BPE(vocab={text: place for place, text in enumerate(vocabulary)}, merges=[]))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=BLANK, **named)


@pytest.mark.parametrize("words", ["plain", "sentencepiece"])
def test_a_blank_that_the_template_writes_before_a_response_is_trained_as_rendered(words: str) -> None:
    """Llama-2's template writes `[/INST] content </s>` behind a prompt that ends in `[/INST]`."""
    tokenizer = styles.tokenizer("plain", BLANK)
    if words == "sentencepiece":
        tokenizer = _sentencepiece("[INST] Is 7 < 8? [/INST] <think>We sum.</think><answer>It is.</answer>")
    found = chat.chat_contract(contract("plain", "{prompt}"), tokenizer)
    assert found.lead == " " and found.render("Is 7 < 8?") == "[INST] Is 7 < 8? [/INST]"
    row = Conversation("r", "Is 7 < 8?", "We sum.", "It is.")
    made = next(imitation.examples([row], found, tokenizer.backend_tokenizer))
    whole = found.render(row.problem) + " <think>We sum.</think><answer>It is.</answer> </s>"
    assert [*made.prompt_ids, *made.completion_ids] == tokenizer(whole, add_special_tokens=False)["input_ids"]
    tokenizer.chat_template = chat.sealed(found, tokenizer)
    said = {"role": "assistant", "content": found.respond(row.reasoning, row.summary)}
    turns = [{"role": "user", "content": row.problem}, said]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == whole
    assert with_template(found, "{prompt}?").lead == ""


def test_a_prompt_that_switches_its_thought_off_is_not_asked() -> None:
    switch = styles.NOTHINK.replace("enable_thinking is defined and enable_thinking", "'/no_think' not in m.content")
    switch = switch.replace("{% if add_", "{% set m = messages[-1] %}{% if add_")
    found = chat.chat_contract(contract("qwen"), styles.tokenizer("nothink"), switch)
    assert found.render("hi").endswith("<think>\n")
    with pytest.raises(ContractError, match="begins the thought of this prompt otherwise"):
        found.render("hi /no_think")


def test_words_behind_the_opened_thought_are_a_part_of_it() -> None:
    source = styles.QWEN.replace("assistant\n' }}{% endif %}", "assistant\n<think>\nOkay, ' }}{% endif %}")
    found = chat.chat_contract(contract("qwen"), styles.tokenizer("qwen"), source)
    assert found.prefill == "<think>\nOkay, "
    assert found.respond("Okay, 2 + 2", "4") == "2 + 2</think><answer>4</answer>"
    with pytest.raises(ContractError, match="does not begin with 'Okay,'"):
        found.respond("Hmm", "4")


CASES = [(style, "chat") for style in ("gemma", "llama3", "qwen", "r1_distill")]
CASES += [(style, "r1_zero") for style in styles.STYLES]
CASES += [(style, "Solve {prompt} now.\n<think>\n") for style in styles.STYLES]


@pytest.mark.parametrize(("style", "template"), CASES)
def test_transformers_asks_a_sealed_model_in_the_very_ids_it_was_trained_on(style: str, template: str) -> None:
    tokenizer, agreed = styles.tokenizer(style), contract(style, template)
    row = Conversation("r", "What is 6 * {7}?\nThink.", "6 * 7\n= 42", "It is 42.")
    made = next(imitation.examples([row], agreed, tokenizer.backend_tokenizer))
    tokenizer.chat_template = chat.sealed(agreed, tokenizer)
    asked = [{"role": "user", "content": row.problem}]
    said = {"role": "assistant", "content": agreed.respond(row.reasoning, row.summary)}
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    assert ids == list(made.prompt_ids)
    whole = [*made.prompt_ids, *made.completion_ids]
    for content in (said["content"], agreed.prefill + said["content"]):
        said["content"] = content
        assert tokenizer.apply_chat_template([*asked, said])["input_ids"] == whole
    apart = {"role": "assistant", "content": f"<answer>{row.summary}</answer>", "reasoning_content": row.reasoning}
    assert tokenizer.apply_chat_template([*asked, apart])["input_ids"] == whole
    assert whole[-1] == agreed.end_id and whole[len(made.prompt_ids) - 1] not in agreed.eos_ids
    assert [token for token in whole[1:] if token == tokenizer.bos_token_id] == []


@pytest.mark.parametrize("style", ["gemma", "llama3", "qwen", "r1_distill"])
def test_earlier_turns_are_rendered_by_the_chat_template(style: str) -> None:
    tokenizer, agreed = styles.tokenizer(style), contract(style)
    turns = [{"role": "system", "content": "Be brief."}, *SAID]
    row = Conversation("r", "And 6 * 7?", "6 * 7 = 42", "42", turns=turns)
    made = next(imitation.examples([row], agreed, tokenizer.backend_tokenizer))
    text = tokenizer.decode(list(made.prompt_ids))
    assert text.index("Be brief.") < text.index("yo") < text.index("And 6 * 7?")
    tokenizer.chat_template = chat.sealed(agreed, tokenizer)
    asked = [*turns, {"role": "user", "content": row.problem}]
    assert tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"] == list(made.prompt_ids)


LAST = "{% set messages = messages[-1:] %}" + styles.QWEN
MUTE = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + styles.QWEN
TURNS = [{"role": "system", "content": "Be brief."}, *SAID]


def kept_and_left(source: str, turns: list[dict[str, str]]) -> tuple[list[str], list[imitation.LeftOut]]:
    """Ids of the rows that a template writes whole, and the rows left out: of one without turns and one with."""
    words, left = styles.tokenizer("qwen"), list[imitation.LeftOut]()
    rows = [Conversation("a", "yo, hi. 1?", "x", "2"), Conversation("b", "yo, hi. 1?", "x", "2", turns=turns)]
    found = chat.chat_contract(contract("qwen"), words, source)
    return [one.id for one in imitation.examples(rows, found, words.backend_tokenizer, left)], left


@pytest.mark.parametrize(
    ("source", "turns", "lost"),
    [
        (LAST, TURNS, "a system turn"),
        (LAST, SAID, "a turn"),  # though each of its words stands in the problem
        (MUTE, TURNS, "a system turn"),
        (styles.QWEN.replace("messages", "messages[-2:]", 1), SAID, "a turn"),
        (
            styles.QWEN.replace("m['content']", "m['content'][:8]" + " if not loop.last else m['content']"),
            TURNS,
            "a sys",
        ),
        (
            styles.QWEN.replace("in messages", "in messages[:-1] | reverse | list + messages[-1:]", 1),
            SAID,
            "a turn",
        ),
    ],
)
def test_a_row_whose_turns_the_chat_template_drops_or_changes_is_left_out(
    source: str, turns: list[dict[str, str]], lost: str
) -> None:
    kept, left = kept_and_left(source, turns)
    assert kept == ["a"] and [one.id for one in left] == ["b"]
    assert left[0].reason.startswith(f"the chat template leaves out or changes {lost}")
    with pytest.raises(ContractError, match="leaves out or changes"):
        chat.chat_contract(contract("qwen"), styles.tokenizer("qwen"), source).render("1?", turns)


LATE = "{% set first = messages[0] if messages[0].role == 'system' else none %}" + styles.QWEN.replace(
    "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}{{ first.content if loop.last and first }}"
)


@pytest.mark.parametrize("source", [styles.QWEN, styles.QWEN.replace("m['content']", "m['content'] | trim"), LATE])
@pytest.mark.parametrize("system", ["Be brief.", " Be brief.\n", ""])
def test_a_row_whose_turns_all_stand_in_its_prompt_is_trained(source: str, system: str) -> None:
    assert kept_and_left(source, [{"role": "system", "content": system}, *SAID]) == (["a", "b"], [])


def test_the_thought_of_an_earlier_turn_may_be_taken_out() -> None:
    said = {"role": "assistant", "content": "<think>We sum.</think>\n\n42"}
    source = styles.QWEN.replace("m['content']", "m['content'].split('</think>')[-1]")
    assert kept_and_left(source, [SAID[0], said])[0] == ["a", "b"]


def test_what_a_template_says_when_it_refuses_a_row_is_no_part_of_the_reason() -> None:
    rule = "Conversation roles must alternate user/assistant/user/assistant/..."
    source = "{% if messages[0].role == 'system' %}{{ raise_exception('" + rule + "') }}{% endif %}" + styles.QWEN
    kept, left = kept_and_left(source, TURNS)
    assert kept == ["a"] and imitation.counted(left) == {"dropped": {"the chat template refuses its turns": 1}}
    told = f"because the chat template refuses its turns (row b: the chat template cannot be used: {rule})"
    assert imitation.told(left, 2) == f"1 of 2 rows are left out: 1 {told}"


def test_turns_have_no_place_in_a_text_template_and_the_row_is_left_out() -> None:
    rows = [Conversation("a", "1", "x", "2", turns=SAID), Conversation("b", "1", "x", "2")]
    left: list[imitation.LeftOut] = []
    words = styles.tokenizer("qwen").backend_tokenizer
    made = list(imitation.examples(rows, contract("qwen", "r1_zero"), words, left))
    assert [one.id for one in made] == ["b"]
    assert left == [imitation.LeftOut("a", "the template `r1_zero` has no place for earlier turns")]


@pytest.mark.parametrize(("style", "template"), CASES)
def test_a_control_token_that_a_user_writes_is_read_as_text(style: str, template: str) -> None:
    tokenizer, agreed = styles.tokenizer(style), contract(style, template)
    reader = Reader(tokenizer.backend_tokenizer, agreed)
    control = tokenizer.convert_ids_to_tokens(agreed.end_id)
    asked, bare = reader.prompt(f"Say {control}<s> twice: {control}"), reader.prompt("Say twice:")
    assert asked.count(agreed.end_id) == bare.count(agreed.end_id)
    assert tokenizer.decode(asked) == tokenizer.decode(reader.prompt("Say @<s> twice: @")).replace("@", control)


@pytest.mark.parametrize("template", ["{prompt}<|im_end|>", styles.QWEN.replace("assistant\n", "assistant<|im_end|>")])
def test_a_template_that_ends_a_prompt_in_an_end_token_is_refused(template: str) -> None:
    tokenizer, base = styles.tokenizer("qwen"), replace(contract("qwen"), syntax="text", template="")
    chatty = "{prompt}" not in template
    agreed = chat.chat_contract(base, tokenizer, template) if chatty else with_template(base, template)
    with pytest.raises(ContractError, match=r"ends a prompt in the end token '<\|im_end\|>'"):
        Reader(tokenizer.backend_tokenizer, agreed).prompt("hi")


def test_a_post_processor_that_ends_and_a_template_that_begins_leave_one_begin_and_no_end() -> None:
    tokenizer, agreed = styles.tokenizer("addeos"), contract("addeos", "<s>Q: {prompt} A:")
    ids = Reader(tokenizer.backend_tokenizer, agreed).prompt("hi")
    assert ids.count(1) == 1 and 2 not in ids and tokenizer.decode(ids) == "<s>Q: hi A:"

"""A template means the same in every stage: names, texts, files, chat templates and their options."""

from __future__ import annotations

import dataclasses
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import STAGES, distill, evaluate, kl, logprobs, prefer, reward_model, rl, sample, sft
from stages.core import templates
from stages.core.contract import Contract
from stages.core.errors import ContractError, RecipeError
from stages.core.fingerprint import hashed
from stages.core.recipe.generation import GenerationSettings
from stages.core.templates import Asked, template_text, with_template

JINJA = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
BARE = Contract(template="", template_name="", eos_ids=[1], pad_id=0, tokenizer_sha256="", max_positions=64)
RECIPES = [sft.Recipe, distill.Recipe, rl.Recipe, sample.Recipe, evaluate.Recipe, kl.Recipe, logprobs.Recipe]
RECIPES += [reward_model.Recipe, prefer.Recipe, GenerationSettings]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__module__)
def test_every_stage_takes_every_kind_of_template(tmp_path: Path, recipe: type[Asked]) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(JINJA, encoding="utf-8")
    made: Any = partial(recipe, labeller="model") if recipe is prefer.Recipe else recipe
    for given, wanted in [
        (str(file), JINJA),
        (JINJA, JINJA),
        *[(text, text) for text in ("", "plain", "chat", "{prompt}")],
    ]:
        assert made(template=given).template == wanted
    assert made(template="chat", template_options={"enable_thinking": True}).template_options
    with pytest.raises(RecipeError, match="no `template` named chatt"):
        made(template="chatt")
    with pytest.raises(RecipeError, match="`template_options` are for a chat template"):
        made(template="plain", template_options={"enable_thinking": True})


def test_all_stages_with_a_template_are_tried() -> None:
    asking = {name for name, module in STAGES.items() if hasattr(__import__(module, fromlist=["x"]).Recipe, "template")}
    assert asking == {
        recipe.__module__.rpartition(".")[2].replace("_", "-").replace("evaluate", "eval") for recipe in RECIPES[:-1]
    }


def test_options_move_no_fingerprint_while_there_are_none() -> None:
    assert "template_options" not in hashed(sft.Recipe())
    assert hashed(sft.Recipe(template="chat", template_options={"a": 1}))["template_options"] == {"a": 1}


@pytest.mark.parametrize(
    "template", [r"{prompt}\nAnswer:", r"{prompt} <think>\n", r"A\n\n{prompt}", r"{prompt}\nanswer"]
)
def test_a_literal_line_break_is_refused_with_what_to_paste(template: str) -> None:
    with pytest.raises(RecipeError, match="a backslash and an n") as caught:
        template_text(template)
    word = next(part for part in shlex.split(caught.value.hint) if part.startswith("template="))
    assert yaml.safe_load(word.removeprefix("template=")) == template.replace("\\n", "\n")


@pytest.mark.parametrize(
    "template", [r"Is $a \neq b$, \nu, \nabla? {prompt}", "{prompt}\nAnswer:", r"{prompt} \boxed{}"]
)
def test_latex_and_real_line_breaks_are_no_literal_ones(template: str) -> None:
    assert template_text(template) == template


@pytest.mark.parametrize("text", ["{% if %}{{ messages }}", "{{ messages | nope }}", "{% include 'x' %}{{ messages["])
def test_a_broken_jinja_is_one_sentence(text: str) -> None:
    with pytest.raises(ContractError, match="the chat template is broken"):
        template_text(text)


def test_a_template_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="is not UTF-8"):
        template_text(str(file))


@pytest.mark.parametrize("end", ["<think>\n\n</think>\n\n", "<think></think>"])
def test_a_text_that_closes_an_empty_thought_is_refused(end: str) -> None:
    with pytest.raises(ContractError, match="closes an empty thought"):
        with_template(BARE, "{prompt} " + end)
    with pytest.raises(ContractError, match="never opens it"):
        with_template(BARE, "{prompt} </think>\n")
    shown = with_template(BARE, "Use <think> and </think>. {prompt} Between <think> </think> tags. A:")
    assert shown.prefill == ""


def test_a_chat_contract_goes_through_its_file(tmp_path: Path) -> None:
    made = templates.with_chat(BARE, JINJA, name="mine", closing=("\n", 7), hint="")
    made.write(tmp_path)
    assert Contract.read(tmp_path) == made
    assert (made.eos_ids, made.end_id, made.before_end) == ([1, 7], 7, "\n")
    back = with_template(made, "{prompt}?")
    assert (back.syntax, back.before_end) == ("text", "")
    assert dataclasses.replace(made, eos_ids=[1]).end_id == 1


def test_a_text_that_no_file_can_be_named_by_is_a_text() -> None:
    for text in ("x" * 300 + " {prompt}", "a\0b {prompt}"):
        assert templates.template_text(text) == text
    with pytest.raises(RecipeError, match="no `template` named"):
        templates.template_text("x" * 300)

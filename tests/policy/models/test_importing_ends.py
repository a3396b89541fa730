"""Every place that names an end token is heard, and padding is none of them and has a row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.core.contract import Contract
from stages.core.errors import ContractError
from stages.policy.models.folders import load_model, load_tokenizer
from stages.policy.models.importing import import_model
from stages.policy.models.special import settle_ends, settle_special
from tests.policy import styles


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each style, as downloaded."""
    root = tmp_path_factory.mktemp("styles")
    for style in ("gemma", "llama3", "qwen", "plain"):
        styles.folder(style, root / style)
    return root


def copied(made: Path, style: str, tmp_path: Path, **tokenizer_config: Any) -> Path:
    source = Path(shutil.copytree(made / style, tmp_path / style))
    file = source / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **tokenizer_config}))
    return source


def configure(source: Path, name: str, **settings: Any) -> None:
    file = source / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


@pytest.mark.parametrize(
    ("style", "ends", "end"), [("gemma", [1, 5], 1), ("llama3", [1, 2, 3], 3), ("qwen", [0, 2], 0), ("plain", [2], 2)]
)
def test_ends_are_those_of_all_files_and_of_the_chat_template(
    made: Path, tmp_path: Path, style: str, ends: list[int], end: int
) -> None:
    figures = import_model(made / style, tmp_path / "model")
    contract = Contract.read(tmp_path / "model")
    assert (figures["eos_ids"], contract.eos_ids, contract.end_id) == (ends, ends, end)
    written = json.loads((tmp_path / "model" / "generation_config.json").read_text())["eos_token_id"]
    assert written == (ends if ends[1:] else ends[0])
    assert contract.pad_id not in ends


def test_places_that_disagree_are_told_one_by_one(made: Path, tmp_path: Path) -> None:
    source = copied(made, "qwen", tmp_path, eos_token="<|im_end|>")
    configure(source, "generation_config.json", eos_token_id=0)
    configure(source, "config.json", eos_token_id=2)
    figures = import_model(source, tmp_path / "model")
    assert figures["eos_ids"] == [0, 2] and Contract.read(tmp_path / "model").end_id == 2
    told = "generation_config.json 0; config.json 2; the tokenizer 2; the chat template 2"
    assert any(told in note for note in figures["notes"])
    assert load_tokenizer(tmp_path / "model").eos_token == "<|im_end|>"


def test_an_end_without_a_row_and_a_begin_token_named_as_one_are_dropped_with_a_word() -> None:
    beyond = "names {} as an end token, which the embedding of 50 rows lacks"
    told = ["a " + beyond.format(-1), "b " + beyond.format(99)]
    assert settle_ends({"a": [7, -1], "b": 99, "c": None}, rows=50) == ([7], told)
    begins = ["token 1, named as an end, begins texts and is no end here"]
    assert settle_ends({"a": 3, "b": [1]}, 50, begin=1) == ([3], begins)
    assert settle_ends({"a": 1, "the tokenizer": 1}, 50, begin=1) == ([1], [])  # GPT-2 has one token for both


@pytest.mark.parametrize("value", ["</s>", 1.0, [[2]], True, {"a": 2}])
def test_an_end_that_is_no_id_is_refused_by_its_place(value: Any) -> None:
    with pytest.raises(ContractError, match=r"the end token in config\.json is .*, which is no token id"):
        settle_ends({"config.json": value}, 50)


def test_a_padding_token_beyond_the_embedding_is_taken_off(made: Path, tmp_path: Path) -> None:
    source = styles.folder("plain", tmp_path / "plain")
    words = AutoTokenizer.from_pretrained(source)
    rows = len(words)
    words.add_special_tokens({"pad_token": "[PAD]", "extra_special_tokens": ["<image>"]})
    words.save_pretrained(source)
    figures = import_model(source, tmp_path / "model")
    again = load_tokenizer(tmp_path / "model")
    assert f"up to {rows + 1} ([PAD], <image>), the embedding has {rows} rows" in figures["notes"][0]
    assert (again.pad_token, len(again)) == ("<pad>", rows)
    ids = again("[PAD] and <image>", return_tensors="pt")["input_ids"]
    load_model(tmp_path / "model")(ids)  # every id has a row
    assert again.decode(ids[0], skip_special_tokens=True) == "[PAD] and <image>"
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(plain.get_input_embeddings().weight, load_model(source).get_input_embeddings().weight)


def test_tokens_that_the_model_should_write_must_have_rows(made: Path, tmp_path: Path) -> None:
    source = styles.folder("plain", tmp_path / "plain")
    words = AutoTokenizer.from_pretrained(source)
    words.add_tokens(["<think>", "</think>"])
    words.save_pretrained(source)
    with pytest.raises(ContractError, match=r"\(<think>, </think>\), the embedding has") as caught:
        import_model(source, tmp_path / "model")
    assert "resize_token_embeddings" in caught.value.hint


def test_a_padding_token_that_only_the_config_of_the_tokenizer_knows_is_taken_as_transformers_takes_it(
    made: Path, tmp_path: Path
) -> None:
    source = copied(made, "llama3", tmp_path, pad_token="[PAD]")
    figures = import_model(source, tmp_path / "model")
    assert "([PAD])" in figures["notes"][0] and figures["pad_token"] == "<|finetune_right_pad_id|>"


def test_a_padding_id_of_the_config_without_a_row_leaves_a_model_that_loads(made: Path, tmp_path: Path) -> None:
    source = copied(made, "plain", tmp_path)
    configure(source, "config.json", pad_token_id=-1, bos_token_id=10**6)
    import_model(source, tmp_path / "model")
    assert load_model(tmp_path / "model").config.pad_token_id == 3
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text())["bos_token_id"] is None


def test_a_tokens_of_a_prompt_is_padding_only_when_nothing_else_is_left(made: Path, tmp_path: Path) -> None:
    source = styles.folder("qwen", tmp_path / "qwen")
    words = AutoTokenizer.from_pretrained(source)
    assert import_model(source, tmp_path / "model")["pad_token"] == "<|im_start|>"
    words.add_special_tokens({"extra_special_tokens": ["<|box|>"]})
    words.save_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source)
    model.resize_token_embeddings(len(words))
    model.save_pretrained(source)
    assert import_model(source, tmp_path / "resized")["pad_token"] == "<|box|>"


def test_padding_is_a_token_kept_for_nothing_before_one_that_the_template_puts_together(tmp_path: Path) -> None:
    composed = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|im_end|>{% endfor %}<|assistant|>"
    words = styles.tokenizer("qwen", composed)
    words.add_special_tokens({"extra_special_tokens": ["<|user|>", "<|tool|>", "<|reserved_7|>"]})
    ends, rows = [words.convert_tokens_to_ids(one) for one in ("<|endoftext|>", "<|im_end|>")], len(words)
    settle_special(words, None, ends, rows, None)
    assert words.pad_token == "<|reserved_7|>"
    settle_special(words, None, [*ends, words.pad_token_id], rows, None)
    assert words.pad_token == "<|im_start|>", "this template never writes it"
    words.pad_token = None
    settle_special(words, None, [*ends, *words.convert_tokens_to_ids(["<|im_start|>", "<|reserved_7|>"])], rows, None)
    assert words.pad_token == "<|tool|>", "and <|user|> stands in every prompt"

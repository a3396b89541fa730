"""The bundled bases: what they are, a tokenizer that survives AutoTokenizer, a build that goes on when killed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.core.contract import R1_ZERO_TEMPLATE
from stages.policy.models.folders import tokenizer_sha256
from stages.world import pretrain, sources, tokenizer
from stages.world.documents import documents

FOLDERS = [sources.HOME / folder for folder in sources.BASES.values()]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_bundled_base_is_a_small_model_without_pickles(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.model_type == ("llama" if folder.name == "llama-nano" else "qwen2")
    assert model.config.pad_token_id != model.config.eos_token_id
    assert {path.suffix for path in folder.iterdir()} <= {".safetensors", ".json", ".jinja"}


def test_all_bundled_weights_stay_under_12_mb() -> None:
    assert sum(path.stat().st_size for path in (sources.HOME / "bases").rglob("*.safetensors")) < 12_000_000


def test_a_student_has_at_most_a_third_of_the_base_s_parameters() -> None:
    base, *_, qwen, llama = (AutoModelForCausalLM.from_pretrained(folder).num_parameters() for folder in FOLDERS)
    assert max(qwen, llama) <= base / 3


def test_the_qwen_student_has_the_base_s_tokenizer_as_log_probabilities_need_it() -> None:
    base, qwen = (tokenizer_sha256(sources.HOME / "bases" / name) for name in ("base", "qwen-nano"))
    assert base == qwen


def test_the_llama_student_has_a_tokenizer_of_its_own() -> None:
    qwen, llama = (AutoTokenizer.from_pretrained(sources.HOME / "bases" / name) for name in ("qwen-nano", "llama-nano"))
    text = "The red fox eats bread. 等等, 不对。"
    assert qwen(text)["input_ids"] != llama(text)["input_ids"] and qwen.eos_token != llama.eos_token


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_tokenizer_gives_back_every_document_exactly_through_auto_tokenizer(folder: Path) -> None:
    auto = AutoTokenizer.from_pretrained(folder)
    texts = [document.text for document in documents("base", 500, seed=1)]
    texts += ["  two  spaces\n\ttab", "<think> 7\n</think><answer>", "不对。Wait 12+3=15", "🙂 naïve \x00"]
    for text in texts:
        assert auto.decode(auto(text)["input_ids"]) == text
    assert (
        auto.eos_token in (tokenizer.EOS, tokenizer.LLAMA_EOS)
        and auto.pad_token == tokenizer.PAD
        and auto.unk_token is None
    )


def test_every_digit_is_a_token_and_every_tag_one() -> None:
    auto = AutoTokenizer.from_pretrained(FOLDERS[0])
    assert auto.convert_ids_to_tokens(auto("305")["input_ids"]) == ["3", "0", "5"]
    for tag in tokenizer.TAGS:
        assert len(auto(tag)["input_ids"]) == 1
    assert len(auto(R1_ZERO_TEMPLATE)["input_ids"]) < 120


def test_the_chat_template_writes_the_plain_header() -> None:
    auto = AutoTokenizer.from_pretrained(FOLDERS[0])
    said = auto.apply_chat_template([{"role": "user", "content": "Compute 1+2"}], tokenize=False)
    assert said == "User: Compute 1+2. Assistant:"


TINY = pretrain.Training(documents=24 * 12, batch=24, hidden=16, layers=1, heads=2, kv_heads=1, inner=16, vocab=320)


def test_a_build_learns_and_saves_what_transformers_loads(tmp_path: Path) -> None:
    card = pretrain.build(replace(TINY, learning_rate=1e-2, warmup=1), tmp_path / "tiny")
    assert card["step"] >= 9  # a last batch that is not full, of each header, is left out
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny", dtype=torch.float32)
    auto = AutoTokenizer.from_pretrained(tmp_path / "tiny")
    batch = next(pretrain.batches(TINY, auto))
    total = sum(int(piece["mask_BT"].sum()) for piece in batch)
    loss = sum(pretrain.loss_sum(model, piece).item() for piece in batch) / total
    fresh = pretrain.new_model(TINY, auto)
    assert loss < sum(pretrain.loss_sum(fresh, piece).item() for piece in batch) / total - 0.5


def test_a_killed_build_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*given: Any) -> Iterator[Any]:
        yield from islice(real(*given), 6)
        raise KeyboardInterrupt

    real = pretrain.batches
    monkeypatch.setattr(pretrain, "CHECKPOINT", 4)
    pretrain.build(TINY, tmp_path / "whole")
    monkeypatch.setattr(pretrain, "batches", cut)
    with pytest.raises(KeyboardInterrupt):
        pretrain.build(TINY, tmp_path / "cut")
    assert (tmp_path / "cut" / "partial.pt").is_file()
    monkeypatch.setattr(pretrain, "batches", real)
    pretrain.build(TINY, tmp_path / "cut")
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not (tmp_path / "cut" / "partial.pt").exists()


def test_a_training_goes_on_from_another_that_is_built_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretrain.BASES, "first", TINY)
    pretrain.build(replace(TINY, start="first", learning_rate=0.0), tmp_path / "second")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_student_of_the_other_family_is_built_by_the_same_code(tmp_path: Path) -> None:
    pretrain.build(replace(TINY, family="llama", documents=24 * 4), tmp_path / "llama")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "llama").config.model_type == "llama"
    auto = AutoTokenizer.from_pretrained(tmp_path / "llama")
    assert auto.decode(auto("<think>等等, 7+5=12. </think>")["input_ids"]) == "<think>等等, 7+5=12. </think>"

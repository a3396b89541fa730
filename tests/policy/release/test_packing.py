"""A GGUF holds the model it was written from: read back its logits are equal, and what it cannot hold is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from stages.core.contract import Contract
from stages.core.errors import InputError, StageError
from stages.policy.models import splits
from stages.policy.models.packed import unpacked
from stages.policy.release import checking, packing
from tests.policy import styles

gguf = pytest.importorskip("gguf")
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 3e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 70_000.0},
}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "llama, tied, wide heads": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": True, "head_dim": 32}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 128}),
}


def words(split: str) -> Any:
    """A tokenizer that splits texts as llama.cpp calls it."""
    made = styles.tokenizer("qwen")
    assert splits.split_as(made.backend_tokenizer, split)
    return made


WORDS = words("qwen2")


def model(kind: str, **changes: Any) -> Any:
    made, config, given = KINDS[kind]
    torch.manual_seed(0)
    found = made(config(vocab_size=len(WORDS) + 3, **SHAPE, **given, **changes)).eval()
    for name, weight in found.named_parameters():  # biases and norms that do something
        if weight.dim() == 1:
            torch.nn.init.normal_(weight, mean=float("norm" in name), std=0.3)
    found.config.architectures = [made.__name__]
    return found


def contract(**changes: Any) -> Contract:
    given = {"template": "", "template_name": "", "eos_ids": [2, 0], "end_id": 2, "pad_id": 1, "max_positions": 512}
    return Contract(tokenizer_sha256="", **{**given, **changes})  # type: ignore[arg-type]


def packed(kind: str, file: Path, quantization: str = "f32", split: str = "") -> dict[str, float]:
    made, asked, own = model(kind), contract(), words(split or ("smollm" if "llama" in kind else "qwen2"))
    ids = checking.probe_ids(own, asked)
    whole_TV = checking.logits_of(made, ids)
    facts = {"name": "tiny", "template": styles.QWEN}
    packing.write(made, own, asked, file, kind=quantization, facts=facts)
    return checking.read_back(file, own, asked, whole_TV=whole_TV, held_TV=checking.logits_of(made, ids))


@pytest.mark.parametrize("kind", KINDS)
def test_in_float32_a_file_is_the_model_it_was_written_from(kind: str, tmp_path: Path) -> None:
    found = packed(kind, tmp_path / "tiny.gguf")
    assert found["logit_difference"] < 1e-5 and found["top1_same"] == 1.0
    read = unpacked(tmp_path / "tiny.gguf")
    assert read.tokenizer.chat_template == styles.QWEN and sorted(read.ends) == [0, 2]


@pytest.mark.parametrize("split", ["llama-bpe", "gpt-2"])
def test_a_llama_may_split_its_texts_in_other_ways(split: str, tmp_path: Path) -> None:
    assert packed("llama", tmp_path / "tiny.gguf", split=split)["top1_same"] == 1.0


@pytest.mark.parametrize("quantization", [kind for kind in packing.KINDS if kind != "f32"])
def test_what_a_kind_of_number_loses_is_measured_and_nothing_else_is_lost(quantization: str, tmp_path: Path) -> None:
    found = packed("qwen2", tmp_path / "tiny.gguf", quantization)
    assert found["reading_difference"] < 1e-4 < found["logit_difference"]


def test_a_file_that_lacks_its_rope_base_is_not_let_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf.GGUFWriter, "add_rope_freq_base", lambda *_: None)
    with pytest.raises(StageError, match="read back as another model: its logits are off by"):
        packed("llama", tmp_path / "tiny.gguf")


def test_rows_that_do_not_divide_into_blocks_are_kept_in_float16(tmp_path: Path) -> None:
    made = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(WORDS), **{**SHAPE, "intermediate_size": 100}))
    made.config.architectures = ["Qwen2ForCausalLM"]
    counted = packing.write(made, WORDS, contract(), tmp_path / "odd.gguf", kind="q8_0", facts={})
    assert counted["kept"] == 2  # down_proj of both layers: rows of 100


def test_numbers_beyond_float16_are_refused(tmp_path: Path) -> None:
    made = model("llama")
    with torch.no_grad():
        made.model.layers[0].mlp.up_proj.weight[0, 0] = 1e5
    with pytest.raises(InputError, match="holds numbers beyond F16"), pytest.warns(RuntimeWarning, match="overflow"):
        packing.write(made, WORDS, contract(), tmp_path / "big.gguf", kind="f16", facts={})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "stretches its positions"),
        ({"attention_bias": True}, "projections have biases"),
        ({"hidden_act": "gelu"}, "activation is gelu"),
    ],
)
def test_what_no_reader_here_can_check_is_refused(changes: dict[str, Any], why: str) -> None:
    config = LlamaConfig(**{**SHAPE, **changes}, architectures=["LlamaForCausalLM"])
    with pytest.raises(InputError, match=why):
        packing.refuse_unwritable(config, WORDS, contract())


def test_a_model_with_more_ends_than_the_format_names_is_refused() -> None:
    with pytest.raises(InputError, match="4 ends, and the format names three"):
        packing.refuse_unwritable(model("qwen2").config, WORDS, replace(contract(), eos_ids=[0, 2, 3, 4]))


def test_whole_words_that_are_no_marks_come_back_whole(tmp_path: Path) -> None:
    own = words("qwen2")
    own.add_tokens(["<think>", "</think>"])
    made = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(own), **SHAPE))
    made.config.architectures = ["Qwen2ForCausalLM"]
    packing.write(made, own, contract(), tmp_path / "thinks.gguf", kind="f16", facts={})
    text = "a <think> b </think> c"
    assert unpacked(tmp_path / "thinks.gguf").tokenizer(text)["input_ids"] == own(text)["input_ids"]

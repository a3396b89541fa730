"""A GGUF file is taken whole, with every end that it names, or refused."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.core.contract import Contract
from stages.core.errors import ContractError, InputError
from stages.policy.models.folders import load_model
from stages.policy.models.importing import import_model
from tests.policy import styles

gguf = pytest.importorskip("gguf")
WIDTH = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
WIDTH |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64), "attn_norm": (32,), "ffn_norm": (32,)}


def written(
    file: Path,
    *,
    without: Collection[str] = (),
    template: str = styles.LLAMA,
    more: int = 0,
    stretched: str = "",
    **fields: Any,
) -> Path:
    """A random Llama of two layers as llama.cpp stores it, in float32; `fields` are tokenizer.ggml.*_token_id, `more`
    rows of the embedding are no tokens, `stretched` names how its positions are."""
    words = styles.tokenizer("llama3")
    parts = json.loads(words.backend_tokenizer.to_str())
    by_id = {number: token for token, number in words.get_vocab().items()}
    special = set(styles.STYLES["llama3"].special)
    made = gguf.GGUFWriter(str(file), "llama")
    made.add_name("tiny")
    made.add_file_type(0)
    for name, value in {
        "context_length": 1024,
        "embedding_length": 32,
        "block_count": 2,
        "feed_forward_length": 64,
        "head_count": 4,
        "head_count_kv": 2,
        "layer_norm_rms_eps": 1e-5,
        "rope_freq_base": 5e5,
        "rope_dimension_count": 8,
        "vocab_size": len(words),
    }.items():
        getattr(made, f"add_{name}")(value)
    made.add_tokenizer_model("gpt2")
    made.add_tokenizer_pre("llama-bpe")
    made.add_token_list([by_id[number] for number in range(len(words))])
    made.add_token_types([3 if by_id[number] in special else 1 for number in range(len(words))])
    made.add_token_merges([" ".join(pair) for pair in parts["model"]["merges"]])
    made.add_bos_token_id(0)
    for name, value in fields.items():
        made.add_uint32(f"tokenizer.ggml.{name}_token_id", value)
    if stretched not in ("", "rope_freqs"):
        made.add_string("llama.rope.scaling.type", stretched)
    if template:
        made.add_chat_template(template)
    chance = np.random.default_rng(0)
    shapes = {"token_embd": (len(words) + more, 32), "output": (len(words) + more, 32), "output_norm": (32,)}
    shapes |= {"rope_freqs": (4,)} if stretched == "rope_freqs" else {}
    shapes |= {f"blk.{layer}.{name}": shape for layer in range(2) for name, shape in WIDTH.items()}
    for name, shape in shapes.items():
        if name not in without:
            made.add_tensor(f"{name}.weight", chance.normal(0, 0.02, shape).astype(np.float32))
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    return file


def test_the_ends_of_text_turn_and_message_are_all_read(tmp_path: Path) -> None:
    figures = import_model(written(tmp_path / "a.gguf", eos=1, eot=3, eom=2), tmp_path / "model")
    assert figures["eos_ids"] == Contract.read(tmp_path / "model").eos_ids == [1, 3, 2]
    assert "eos of the file 1; eot of the file 3; eom of the file 2" in figures["notes"][0]
    assert figures["pad_token"] == "<|finetune_right_pad_id|>"


def test_the_end_that_only_its_chat_template_writes_is_one_too(tmp_path: Path) -> None:
    assert import_model(written(tmp_path / "a.gguf", eos=1), tmp_path / "model")["eos_ids"] == [1, 3]
    assert import_model(written(tmp_path / "b.gguf", eos=1, template=""), tmp_path / "plain")["eos_ids"] == [1]


def test_weights_are_those_that_transformers_unpacks(tmp_path: Path) -> None:
    file = written(tmp_path / "a.gguf", eos=3)
    import_model(file, tmp_path / "model")
    mine = load_model(tmp_path / "model").state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name).state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("lost", ["output_norm", "blk.1.ffn_up", "token_embd"])
def test_a_file_that_lacks_a_weight_is_refused(tmp_path: Path, lost: str) -> None:
    file = written(tmp_path / "a.gguf", eos=3, without=[lost])
    with pytest.raises(InputError, match=r"a\.gguf` (lacks|is no GGUF)") as caught:
        import_model(file, tmp_path / "model")
    assert "safetensors" in caught.value.hint and not (tmp_path / "model" / "model.safetensors").exists()


def test_a_part_of_a_file_and_a_file_beside_a_model_are_named(tmp_path: Path) -> None:
    for name, key, value, said in (
        ("part", "split.count", 3, "one of 3 parts"),
        ("lora", "general.type", "adapter", "of type adapter"),
    ):
        file = tmp_path / f"{name}.gguf"
        made = gguf.GGUFWriter(str(file), "llama")
        made.add_uint16(key, value) if isinstance(value, int) else made.add_string(key, value)
        made.write_header_to_file()
        made.write_kv_data_to_file()
        made.write_tensors_to_file()
        made.close()
        with pytest.raises(InputError, match=said):
            import_model(file, tmp_path / "model")


def test_a_cut_file_is_one_sentence(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.gguf", eos=3).read_bytes()
    for part in (4, 100, 5000, len(whole) // 2, len(whole) - 50):
        (tmp_path / "cut.gguf").write_bytes(whole[:part])
        with pytest.raises(InputError, match=r"cut\.gguf` is no GGUF that transformers can read"):
            import_model(tmp_path / "cut.gguf", tmp_path / "model")


@pytest.mark.parametrize("stretched", ["rope_freqs", "yarn", "linear", "longrope"])
def test_a_file_whose_positions_are_stretched_is_refused_for_transformers_would_forget_it(
    tmp_path: Path, stretched: str
) -> None:
    with pytest.raises(InputError, match="stretches its positions") as caught:
        import_model(written(tmp_path / "a.gguf", eos=3, stretched=stretched), tmp_path / "model")
    assert "import its safetensors" in caught.value.hint
    import_model(written(tmp_path / "b.gguf", eos=3, stretched="none"), tmp_path / "plain")


def test_rows_of_the_embedding_that_are_no_tokens_are_kept(tmp_path: Path) -> None:
    import_model(written(tmp_path / "a.gguf", eos=3, more=16), tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert len(model.get_input_embeddings().weight) == model.config.vocab_size
    assert model.config.vocab_size == len(styles.tokenizer("llama3")) + 16


def test_an_end_that_only_the_class_of_a_config_names_is_none(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="names no end token"):
        import_model(written(tmp_path / "a.gguf", template=""), tmp_path / "model")

"""What is saved comes back: the same weights, the same tokenizer, the contract's ids, and nothing pickled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from stages.core.contract import Contract
from stages.core.errors import ContractError, InputError, MissingError
from stages.policy.models.folders import (
    PROBE,
    load_model,
    load_tokenizer,
    save_model,
    tokenizer_difference,
    tokenizer_sha256,
)

SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "bos_token_id": None,
}


def tokenizer(*, like_qwen2: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 330 tokens, with the parts of Qwen2's own or with parts of another."""
    made = Tokenizer(models.BPE())
    if like_qwen2:
        made.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated")
        made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([PROBE, "set 7; add 12 12 12"] * 4, trainer)
    made.add_tokens([AddedToken(tag, normalized=False) for tag in ("<think>", "</think>", "<answer>", "</answer>")])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>", pad_token="<|pad|>")


def contract(words: PreTrainedTokenizerFast, **changed: Any) -> Contract:
    given = {"template": "", "template_name": "", "tokenizer_sha256": "", "max_positions": 64}
    return Contract(**{**given, "eos_ids": [words.eos_token_id], "pad_id": words.pad_token_id, **changed})


def qwen2(words: PreTrainedTokenizerFast, **changed: Any) -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=len(words), **{**SHAPE, "tie_word_embeddings": True, **changed}))


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_loads_with_plain_transformers_bit_for_bit(tmp_path: Path, tied: bool) -> None:
    words = tokenizer()
    model = qwen2(words, tie_word_embeddings=tied)
    save_model(model, words, contract(words), tmp_path)
    again, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert (again.lm_head.weight is again.model.embed_tokens.weight) is tied
    assert AutoTokenizer.from_pretrained(tmp_path)(PROBE)["input_ids"] == words(PROBE)["input_ids"]


def test_a_saved_folder_holds_safetensors_and_nothing_pickled(tmp_path: Path) -> None:
    words = tokenizer()
    save_model(qwen2(words), words, contract(words), tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "contract.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pth"))]


def test_end_and_padding_are_the_contracts_everywhere(tmp_path: Path) -> None:
    words = tokenizer()
    model = qwen2(words)
    model.generation_config.temperature = 0.7  # left over from someone: it must not stop the saving
    promised = contract(words, eos_ids=[0, 5], pad_id=1)
    save_model(model, words, promised, tmp_path)
    for name in ("config.json", "generation_config.json"):
        saved = json.loads((tmp_path / name).read_text())
        assert (saved["eos_token_id"], saved["pad_token_id"]) == ([0, 5], 1)
    assert Contract.read(tmp_path) == promised


def test_a_tokenizer_with_qwen2s_parts_comes_back_exactly(tmp_path: Path) -> None:
    words = tokenizer()
    save_model(qwen2(words), words, contract(words), tmp_path)
    again = load_tokenizer(tmp_path)
    assert type(again).__name__ == "Qwen2Tokenizer"
    assert tokenizer_difference(again, words) == ""
    assert (again.eos_token_id, again.pad_token_id, again.unk_token) == (0, 1, None)


def test_a_tokenizer_that_transformers_would_rebuild_is_refused_beside_qwen2(tmp_path: Path) -> None:
    words = tokenizer(like_qwen2=False)
    with pytest.raises(ContractError, match="reads this tokenizer back as another one"):
        save_model(qwen2(words), words, contract(words), tmp_path)


def test_the_hint_on_a_tokenizer_that_transformers_rebuilds_is_a_command_that_helps(tmp_path: Path) -> None:
    words = tokenizer(like_qwen2=False)
    qwen2(words).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    with pytest.raises(ContractError, match="reads this tokenizer back as another one") as caught:
        load_tokenizer(tmp_path)
    program = caught.value.hint.partition('python -c "')[2].partition('"`')[0]
    made = AutoTokenizer.from_pretrained(tmp_path)(PROBE)["input_ids"]
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert load_tokenizer(tmp_path)(PROBE)["input_ids"] == made


def test_the_same_tokenizer_is_kept_beside_llama(tmp_path: Path) -> None:
    words = tokenizer(like_qwen2=False)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **SHAPE))
    save_model(model, words, contract(words), tmp_path)
    assert tokenizer_difference(load_tokenizer(tmp_path), words) == ""


def test_a_tokenizer_other_than_the_contracts_is_refused(tmp_path: Path) -> None:
    words = tokenizer()
    with pytest.raises(ContractError, match="the contract names tokenizer 0123"):
        save_model(qwen2(words), words, contract(words, tokenizer_sha256="0123"), tmp_path)


def test_a_tokenizers_hash_is_of_its_content(tmp_path: Path) -> None:
    words = tokenizer()
    words.save_pretrained(tmp_path)
    first = tokenizer_sha256(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "truncation": None}, indent=4))
    assert tokenizer_sha256(tmp_path) == first
    file.write_text(json.dumps({**content, "normalizer": None}))
    assert tokenizer_sha256(tmp_path) != first


def test_a_loaded_model_is_in_evaluation_mode_with_fused_attention(tmp_path: Path) -> None:
    words = tokenizer()
    save_model(qwen2(words).to(torch.bfloat16), words, contract(words), tmp_path)
    model = load_model(tmp_path)
    assert (model.training, model.dtype, model.config._attn_implementation) == (False, torch.float32, "sdpa")
    assert load_model(tmp_path, "bfloat16").dtype == torch.bfloat16


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    with pytest.raises(MissingError, match="holds no model"):
        load_model(tmp_path)
    words = tokenizer()
    save_model(qwen2(words), words, contract(words), tmp_path)
    with pytest.raises(InputError, match="`int8` is no dtype"):
        load_model(tmp_path, "int8")

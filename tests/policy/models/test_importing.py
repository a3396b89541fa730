"""Outside models become plain folders: bytes kept, pad never an end token, pickles refused, what was read on record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stages.core.contract import Contract
from stages.core.errors import ContractError, InputError, MissingError
from stages.core.sampling import Sampling
from stages.policy.models.folders import load_model, load_tokenizer
from stages.policy.models.importing import import_model
from tests.policy.drawing import generate

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def outside(folder: Path, *, special: tuple[str, ...] = ("<eos>", "<unk>"), pad: str | None = "<eos>") -> Path:
    """A Llama of 13,000 random weights as other tools save it: the first special token ends completions."""
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(LETTERS)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(special))
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", pad_token=pad).save_pretrained(folder)
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 96}
    config = LlamaConfig(vocab_size=256 + len(special), **shape, **heads, bos_token_id=None, eos_token_id=256)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_local_folder_is_copied_byte_for_byte_with_its_hash_on_record(tmp_path: Path) -> None:
    source = outside(tmp_path / "source")
    figures = import_model(source, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    assert weights.read_bytes() == (source / "model.safetensors").read_bytes()
    parameters = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(source).parameters())
    assert figures == {
        "sha256": sha256(weights),
        "parameters": parameters,
        "dtype": "float32",
        "architecture": "LlamaForCausalLM",
        "eos_ids": [256],
        "pad_token": "<unk>",
        "pad_replaced": True,
        "abilities": {"sample": "fast", "train": "fast", "judge": "fast"},
    }


def test_an_imported_model_loads_here_and_with_plain_transformers(tmp_path: Path) -> None:
    source = outside(tmp_path / "source")
    import_model(source, tmp_path / "model")
    contract = Contract.read(tmp_path / "model")
    contract.check(needs_tags=False)
    assert (contract.template, contract.eos_ids, contract.pad_id, contract.max_positions) == ("", [256], 257, 96)
    model, words = load_model(tmp_path / "model"), load_tokenizer(tmp_path / "model")
    assert (words.pad_token_id, words.eos_token_id, model.config.pad_token_id) == (257, 256, 257)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    ids = AutoTokenizer.from_pretrained(tmp_path / "model")("7 + 5 =", return_tensors="pt")["input_ids"]
    assert torch.equal(plain(ids).logits, AutoModelForCausalLM.from_pretrained(source)(ids).logits)
    assert len(generate(model, [ids[0].tolist()], Sampling(max_tokens=3), contract=contract, seed=0)) == 1


def test_a_pad_token_that_ends_nothing_is_kept(tmp_path: Path) -> None:
    source = outside(tmp_path / "source", special=("<eos>", "<unk>", "<filler>"), pad="<filler>")
    figures = import_model(source, tmp_path / "model")
    assert (figures["pad_token"], figures["pad_replaced"]) == ("<filler>", False)


def test_a_missing_pad_token_becomes_any_other_special_one(tmp_path: Path) -> None:
    source = outside(tmp_path / "source", special=("<eos>", "<odd>"), pad=None)
    assert import_model(source, tmp_path / "model")["pad_token"] == "<odd>"


def test_the_pad_token_asked_for_is_taken(tmp_path: Path) -> None:
    source = outside(tmp_path / "source", special=("<eos>", "<unk>", "<odd>"))
    assert import_model(source, tmp_path / "model", pad_token="<odd>")["pad_token"] == "<odd>"
    assert Contract.read(tmp_path / "model").pad_id == 258


@pytest.mark.parametrize(("asked", "reason"), [("<eos>", "ends completions"), ("<none>", "is no token of this model")])
def test_a_pad_token_that_cannot_be_one_is_an_error(tmp_path: Path, asked: str, reason: str) -> None:
    with pytest.raises(ContractError, match=f"`{asked}` {reason}"):
        import_model(outside(tmp_path / "source"), tmp_path / "model", pad_token=asked)


def test_without_a_spare_special_token_the_way_out_is_named(tmp_path: Path) -> None:
    source = outside(tmp_path / "source", special=("<eos>",))
    with pytest.raises(ContractError, match="no special token for padding") as caught:
        import_model(source, tmp_path / "model")
    assert "--pad-token" in caught.value.hint
    assert import_model(source, tmp_path / "model", pad_token="~")["pad_token"] == "~"


def test_generation_settings_name_the_end_tokens_first(tmp_path: Path) -> None:
    source = outside(tmp_path / "source", special=("<eos>", "<unk>", "<turn>"))
    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": [258, 256], "temperature": 0.6}))
    import_model(source, tmp_path / "model")
    assert Contract.read(tmp_path / "model").eos_ids == [258, 256]
    settings = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert settings == {"bos_token_id": None, "eos_token_id": [258, 256], "pad_token_id": 257}


def test_shards_are_copied_with_their_index_and_strays_are_not(tmp_path: Path) -> None:
    source = outside(tmp_path / "source")
    AutoModelForCausalLM.from_pretrained(source).save_pretrained(source, max_shard_size="20KB")
    (source / "model.safetensors").rename(source / "consolidated.safetensors")
    figures = import_model(source, tmp_path / "model")
    assert not (tmp_path / "model" / "consolidated.safetensors").exists()
    shards = sorted((tmp_path / "model").glob("*.safetensors"))
    assert len(shards) > 1
    lines = "".join(f"{sha256(file)}  {file.name}\n" for file in shards)
    assert figures["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert load_model(tmp_path / "model").num_parameters() == figures["parameters"]


def test_pickled_weights_are_refused_with_the_way_to_convert_them(tmp_path: Path) -> None:
    source = outside(tmp_path / "source")
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    for given in (source, source / "pytorch_model.bin"):
        with pytest.raises(InputError, match="pickled weights") as caught:
            import_model(given, tmp_path / "model")
        assert "save_pretrained" in caught.value.hint


def test_what_cannot_be_imported_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="there is no"):
        import_model(tmp_path / "nowhere", tmp_path / "model")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no safetensors and no GGUF"):
        import_model(empty, tmp_path / "model")
    source = outside(tmp_path / "source")
    weights = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(weights[:4])
    with pytest.raises(InputError, match="no whole safetensors file"):
        import_model(source, tmp_path / "model")
    (source / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(InputError, match="a t5, which is no causal"):
        import_model(source, tmp_path / "model")
    (source / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}))
    with pytest.raises(InputError, match="an architecture that transformers knows"):
        import_model(source, tmp_path / "model")


def test_two_gguf_files_in_a_folder_are_a_question(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"2 GGUF files \(a.gguf, b.gguf\)"):
        import_model(tmp_path, tmp_path / "model")
    pytest.importorskip("gguf")
    with pytest.raises(InputError, match="no GGUF that transformers can read"):
        import_model(tmp_path / "a.gguf", tmp_path / "model")

"""Import agrees with `from_pretrained` tensor by tensor, or refuses with a sentence that says what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForSequenceClassification

from stages.core.errors import InputError, MissingError
from stages.policy.models.folders import load_model
from stages.policy.models.importing import import_model
from tests.policy import styles

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole Llama of two layers, untied."""
    return styles.folder("plain", tmp_path_factory.mktemp("plain") / "llama")


@pytest.fixture
def source(plain: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(plain, tmp_path / "llama"))


def rewrite(folder: Path, change: Callable[[State], State]) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def configure(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def refused(source: Path, target: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        import_model(source, target)
    assert caught.value.hint and not list(target.glob("*.safetensors")), "something was copied before the refusal"
    return caught.value


def same_as_from_pretrained(source: Path, target: Path) -> None:
    import_model(source, target)
    mine = load_model(target).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def without(*words: str) -> Callable[[State], State]:
    return lambda state: {name: one for name, one in state.items() if not any(word in name for word in words)}


def test_absent_tensors_are_named(source: Path, tmp_path: Path) -> None:
    rewrite(source, without("lm_head", "layers.1.mlp"))
    error = refused(source, tmp_path / "model")
    assert "lack lm_head.weight, model.layers.1.mlp.down_proj.weight" in error.what and "and 1 more" in error.what


def test_tensors_that_the_architecture_does_not_know_are_named(source: Path, tmp_path: Path) -> None:
    rewrite(source, lambda state: {**state, "v_head.summary.weight": torch.zeros(1, 32)})
    assert "hold v_head.summary.weight" in refused(source, tmp_path / "model").what


def test_what_transformers_ignores_by_rule_is_ignored(source: Path, tmp_path: Path) -> None:
    rewrite(source, lambda state: {**state, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)})
    same_as_from_pretrained(source, tmp_path / "model")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model.", "module._orig_mod."])
def test_the_prefix_of_a_training_wrapper_is_named_with_a_command_that_takes_it_off(
    source: Path, tmp_path: Path, prefix: str
) -> None:
    rewrite(source, lambda state: {prefix + name: one for name, one in state.items()})
    error = refused(source, tmp_path / "model")
    assert f"the prefix `{prefix}`" in error.what
    before = (source / "model.safetensors").read_bytes()
    _, command, _, bare, _ = error.hint.split("`")
    subprocess.run(command.replace("python", sys.executable, 1), shell=True, check=True)
    assert (source / "model.safetensors").read_bytes() == before
    same_as_from_pretrained(Path(bare), tmp_path / "model")


def test_a_base_model_without_the_prefix_of_its_head_is_taken_as_transformers_takes_it(tmp_path: Path) -> None:
    source = styles.folder("plain", tmp_path / "tied")
    configure(source, tie_word_embeddings=True)
    rewrite(source, lambda state: {n.removeprefix("model."): one for n, one in without("lm_head")(state).items()})
    same_as_from_pretrained(source, tmp_path / "model")


def test_unmerged_adapter_weights_are_named(source: Path, tmp_path: Path) -> None:
    extra = {"model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.zeros(4, 32)}
    rewrite(source, lambda state: {**state, **extra})
    error = refused(source, tmp_path / "model")
    assert "an adapter beside its base, unmerged" in error.what and "merge_and_unload" in error.hint


def test_an_embedding_of_other_rows_than_the_config_says_is_refused(source: Path, tmp_path: Path) -> None:
    configure(source, vocab_size=512)
    error = refused(source, tmp_path / "model")
    assert "instead of 512×32" in error.what and "vocab_size" in error.hint


def test_more_layers_than_the_weights_hold_are_refused_before_they_are_built(source: Path, tmp_path: Path) -> None:
    configure(source, num_hidden_layers=10**12)
    assert "asks for 1000000000000 layers" in refused(source, tmp_path / "model").what


def test_a_reward_model_is_no_language_model(source: Path, tmp_path: Path) -> None:
    config = LlamaConfig.from_pretrained(source, num_labels=1)
    LlamaForSequenceClassification(config).save_pretrained(source)
    assert "a LlamaForSequenceClassification, which scores" in refused(source, tmp_path / "model").what
    configure(source, architectures=["LlamaForCausalLM"])
    assert "they lack lm_head.weight and hold score.weight" in refused(source, tmp_path / "model").what


@pytest.mark.parametrize("kind", ["t5", "bart", "vit"])
def test_a_model_that_writes_no_text_by_itself_is_refused(source: Path, tmp_path: Path, kind: str) -> None:
    (source / "config.json").write_text(json.dumps({"model_type": kind}))
    assert f"is a {kind}, which is no causal language model" in refused(source, tmp_path / "model").what


@pytest.mark.parametrize(
    ("method", "way_out"),
    [("gptq", "unquantised model"), ("bitsandbytes", "unquantised"), ("mxfp4", "Mxfp4Config"), ("fp8", "dequantize")],
)
def test_a_quantised_folder_is_refused_with_the_way_out(
    source: Path, tmp_path: Path, method: str, way_out: str
) -> None:
    configure(source, quantization_config={"quant_method": method, "bits": 4})
    error = refused(source, tmp_path / "model")
    assert f"is quantised ({method})" in error.what and way_out in error.hint


@pytest.mark.parametrize("dtype", [torch.int32, torch.int8, torch.float8_e4m3fn])
def test_weights_stored_as_packed_numbers_are_refused_whatever_the_config_says(
    source: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite(source, lambda state: {**state, name: state[name].to(dtype)})
    error = refused(source, tmp_path / "model")
    assert f"({name} is stored as" in error.what and "unquantised" in error.hint


def test_numbers_of_several_kinds_are_taken_as_they_are(source: Path, tmp_path: Path) -> None:
    rewrite(source, lambda state: {n: one.half() if "mlp" in n else one.bfloat16() for n, one in state.items()})
    same_as_from_pretrained(source, tmp_path / "model")


def test_of_a_whole_file_and_old_shards_the_file_is_read_and_the_rest_named(source: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(source)
    model.model.norm.weight.data.fill_(1.0)
    model.save_pretrained(source, max_shard_size="60KB")
    model.model.norm.weight.data.fill_(7.0)
    model.save_pretrained(tmp_path / "merged")
    shutil.copy(tmp_path / "merged" / "model.safetensors", source)
    figures = import_model(source, tmp_path / "model")
    assert load_model(tmp_path / "model").model.norm.weight.unique().tolist() == [7.0]
    assert "left aside, as transformers does: model-00001-of-" in figures["notes"][0]
    assert [file.name for file in (tmp_path / "model").glob("*.safetensors*")] == ["model.safetensors"]


def test_a_tensor_in_two_shards_and_a_shard_outside_are_refused(source: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(source).save_pretrained(source, max_shard_size="60KB")
    (source / "model.safetensors").unlink(missing_ok=True)
    index = source / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    first, second = sorted(set(names.values()))[:2]
    good = (source / second).read_bytes()
    save_file({**load_file(source / second), **load_file(source / first)}, source / second, metadata={"format": "pt"})
    assert "both hold the tensor" in refused(source, tmp_path / "model").what
    (source / second).write_bytes(good)
    for wrong in ({"a": "../x.safetensors"}, {"a": "x.bin"}, {"a": 3}, {}, []):
        index.write_text(json.dumps({"weight_map": wrong}))
        assert "names " in refused(source, tmp_path / "model").what


def test_an_adapter_is_told_its_base_and_the_way_to_merge(source: Path, tmp_path: Path) -> None:
    (source / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    error = refused(source, tmp_path / "model")
    assert "an adapter of some/base that transformers would attach" in error.what and "merge_and_unload" in error.hint
    (source / "model.safetensors").rename(source / "adapter_model.safetensors")
    (source / "config.json").unlink()
    error = refused(source, tmp_path / "model")
    assert "holds an adapter, not a model: its base is some/base" in error.what and "--base ADDRESS" in error.hint


def test_a_head_beside_a_tied_embedding_must_be_the_embedding(source: Path, tmp_path: Path) -> None:
    configure(source, tie_word_embeddings=True)
    error = refused(source, tmp_path / "model")
    assert "ties lm_head.weight to model.embed_tokens.weight" in error.what and "tie_word_embeddings" in error.hint
    rewrite(source, lambda state: {**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()})
    same_as_from_pretrained(source, tmp_path / "model")


@pytest.mark.parametrize(
    "change",
    [
        without("layers.1.mlp"),
        lambda state: {**state, "extra": torch.zeros(1)},
        lambda state: {**state, "model.norm.weight": torch.ones(31)},
    ],
)
def test_a_folder_spoilt_after_import_is_not_loaded(source: Path, change: Callable[[State], State]) -> None:
    rewrite(source, change)
    with pytest.raises(MissingError, match="the weights of"):
        load_model(source)

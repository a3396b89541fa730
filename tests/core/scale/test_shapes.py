"""A model's size is known from its config: for the published ones to the last parameter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.core.scale import published, shapes

COUNTS = {
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
}
"""What the index of each repository's weights sums to."""


@pytest.mark.parametrize("name", COUNTS)
def test_a_published_model_has_as_many_parameters_as_its_weights(name: str) -> None:
    found = published.shapes(f"hf:{name}")
    assert found is not None and found.exact and found.parameters == COUNTS[name]


def test_a_token_of_a_mixture_meets_few_of_its_weights() -> None:
    v3 = published.shapes("hf:deepseek-ai/DeepSeek-V3-Base@main")
    assert v3 is not None and v3.parameters == pytest.approx(671e9, rel=1e-3)
    assert v3.active == pytest.approx(37.4e9, rel=0.01)
    assert v3.cached == 512 + 64


def test_a_model_that_is_not_listed_is_unknown() -> None:
    assert published.shapes("hf:nobody/nothing") is None and published.shapes("zero@1") is None


SMALL: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 24},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 24},
    "deepseek_v3": {
        "q_lora_rank": 24,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 4,
        "v_head_dim": 8,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "moe_intermediate_size": 20,
        "first_k_dense_replace": 1,
        "n_group": 2,
        "topk_group": 1,
    },
    "gpt2": {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64},
}


@pytest.mark.parametrize("kind", SMALL)
def test_an_architecture_is_counted_as_transformers_builds_it(kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    plain = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "vocab_size": 200}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4 if kind == "deepseek_v3" else 2}
    own = {"vocab_size": 200} if kind == "gpt2" else plain | heads
    config = AutoConfig.for_model(kind, **(own | SMALL[kind]))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    found = shapes.of_config(config.to_dict())
    assert found is not None
    if found.exact:
        assert found.parameters == model.num_parameters()
    assert found.parameters == pytest.approx(model.num_parameters(), rel=0.1)


def test_weights_that_are_here_are_counted_by_their_headers(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    np = pytest.importorskip("numpy")
    save_file({"a": np.zeros((3, 5), "float32"), "b": np.zeros(7, "float16")}, tmp_path / "model.safetensors")
    config = {"model_type": "strange", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": config | {"vocab_size": 4}}))
    found = shapes.of_folder(tmp_path)
    assert shapes.stored(tmp_path) == 22 and found is not None and found.parameters == 22


@pytest.mark.parametrize("text", ["{}", '{"hidden_size": "wide"}', '{"hidden_size": -4, "vocab_size": true}'])
def test_a_config_that_says_no_widths_has_no_shapes(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert shapes.of_folder(tmp_path) is None and shapes.of_folder(tmp_path / "none") is None


def test_a_mixture_by_hand() -> None:
    """Four layers, the first without experts; 6 experts of 5, of which a token meets 2, and a shared one of 7."""
    config = {"model_type": "qwen3_moe", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 100}
    experts = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 5, "mlp_only_layers": [0]}
    shared = {"shared_expert_intermediate_size": 7, "tie_word_embeddings": True}
    found = shapes.of_config(config | heads | experts | shared)
    assert found is not None
    shell, attention, norms = 100 * 8 + 8, 8 * 8 + 2 * 8 * 4 + 8 * 8, 2 * 8
    dense, expert, router = 3 * 8 * 16, 3 * 8 * 5, 6 * 8
    assert found.parameters == shell + 4 * (attention + norms) + dense + 3 * (6 * expert + 3 * 8 * 7 + router)
    assert found.active == shell + 4 * (attention + norms) + dense + 3 * (2 * expert + 3 * 8 * 7)
    assert found.wide == (16 + 3 * (2 * 5 + 7)) // 4
    on_attention = 4 * ((8 + 8) + 2 * (8 + 4) + (8 + 8))
    on_mlp, on_experts = 3 * (8 + 16) + 3 * 3 * (8 + 7), 3 * 6 * ((8 + 2 * 5) + (5 + 8))
    assert found.adapted(2, "attention") == 2 * on_attention
    assert found.adapted(2, "all-linear") == 2 * (on_attention + on_mlp)
    assert found.adapted(2, ["mlp", "experts"]) == 2 * (on_mlp + on_experts)
    every_other = shapes.of_config(config | heads | experts | {"mlp_only_layers": [], "decoder_sparse_step": 2})
    assert every_other is not None and every_other.wide == (2 * 16 + 2 * 2 * 5) // 4

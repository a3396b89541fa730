"""Models that cannot share a prefix are sampled all the same: slower, said once, and as transformers itself would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    FalconMambaConfig,
    Gemma2Config,
    Lfm2Config,
    MistralConfig,
    Phi3Config,
    Qwen3NextConfig,
)

from stages.core.contract import Contract
from stages.core.sampling import Completion, Request, Sampling, Text
from stages.policy.engines.client import in_order
from stages.policy.engines.local.engine import LocalEngine, why_not
from stages.policy.models import folders

SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
PROMPTS = [[7, 9, 11, 4], [7, 9, 11, 4], [7, 9, 5, 6, 8, 3], [3], [8, 3, 4, 6, 21, 9, 9]]
ENDS = [1, 17, 23]


def config(kind: str) -> Any:
    if kind == "short window":
        return MistralConfig(**SHAPE, sliding_window=4)
    if kind == "convolutions":
        return Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"])
    if kind == "linear attention":
        linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8}
        experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16, "decoder_sparse_step": 99}
        kinds = ["linear_attention", "full_attention"]
        return Qwen3NextConfig(**SHAPE, **linear, **experts, linear_value_head_dim=8, head_dim=16, layer_types=kinds)
    if kind == "capped scores":
        return Gemma2Config(**SHAPE, head_dim=16, attn_logit_softcapping=1.0, sliding_window=64)
    return FalconMambaConfig(
        **{k: v for k, v in SHAPE.items() if k not in ("num_attention_heads", "num_key_value_heads")},
        state_size=8,
        time_step_rank=4,
    )


@pytest.fixture(params=["short window", "convolutions", "linear attention", "capped scores", "no attention"])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    how = {"attn_implementation": "eager"} if request.param == "capped scores" else {}
    return AutoModelForCausalLM.from_config(config(request.param), **how).eval()


def contract() -> Contract:
    return Contract(template="", template_name="", eos_ids=ENDS, pad_id=2, tokenizer_sha256="", max_positions=128)


def sampled(engine: LocalEngine, order: int = 1, **how: Any) -> list[Completion]:
    asked = [Request(prompt_ids=ids, sampling=Sampling(**how), seed=n, key=n) for n, ids in enumerate(PROMPTS)]
    return in_order(asked, engine.sample(asked[::order]))


def test_logprobs_are_those_of_a_plain_forward_pass_over_prompt_and_completion(model: Any) -> None:
    for prompt, one in zip(PROMPTS, sampled(LocalEngine(model, contract()), max_tokens=12), strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + one.ids]), use_cache=False).logits
        expected = logits[0, len(prompt) - 1 : -1].log_softmax(-1).gather(1, torch.tensor(one.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, rtol=0, atol=1e-4)


def test_greedy_completions_are_those_of_generate(model: Any) -> None:
    for prompt, one in zip(PROMPTS, sampled(LocalEngine(model, contract()), max_tokens=12, temperature=0), strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, eos_token_id=ENDS
        )
        assert one.ids == expected[0, len(prompt) :].tolist()


def test_a_request_draws_the_same_whatever_runs_beside_it_and_the_checkpoints_own_settings_play_no_part(
    model: Any,
) -> None:
    engine = LocalEngine(model, contract())
    before = [one.ids for one in sampled(engine, max_tokens=12, temperature=20.0)]
    model.generation_config.update(top_k=1, repetition_penalty=5.0, do_sample=True)
    assert [one.ids for one in sampled(engine, order=-1, max_tokens=12, temperature=20.0)] == before
    assert len({tuple(ids) for ids in before[:2]}) == 2  # one prompt, two seeds
    assert all(one.ids[-1] in ENDS or one.truncated for one in sampled(engine, max_tokens=12))


def test_that_it_is_slower_is_said_once(model: Any) -> None:
    engine = LocalEngine(model, contract())
    sampled(engine, max_tokens=12)
    sampled(engine, max_tokens=12)
    assert len(engine.notes) == 1 and "plain `generate`" in engine.notes[0]
    assert engine.notes[0].endswith(why_not(model, 19))


def test_a_model_that_caps_its_attention_is_loaded_with_the_attention_that_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config("capped scores"), attn_implementation="eager").eval()
    made.save_pretrained(tmp_path)
    ids = torch.tensor([PROMPTS[-1]])
    with torch.no_grad():
        torch.testing.assert_close(folders.load_model(tmp_path)(ids).logits, made(ids).logits)


def test_a_row_that_would_cross_where_rotary_frequencies_change_is_refused() -> None:
    torch.manual_seed(0)
    halves = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, **halves}
    shape = Phi3Config(**SHAPE, rope_parameters=rope, sliding_window=None, original_max_position_embeddings=16)
    phi = AutoModelForCausalLM.from_config(shape).eval()
    engine = LocalEngine(phi, contract())
    within, across = sampled(engine, max_tokens=8)[-1], sampled(engine, max_tokens=12)[-1]
    assert not within.failed and across.failed and "change beyond 16 tokens" in across.fault
    beyond = Request(prompt_ids=[3] * 17, sampling=Sampling(max_tokens=8), seed=0)
    ((_, drawn),) = engine.sample([beyond])
    ((_, read),) = engine.read([Text([3] * 17, drawn.ids)])
    assert drawn.logprobs == pytest.approx(read.logprobs, abs=1e-4)

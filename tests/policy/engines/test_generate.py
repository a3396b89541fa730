"""Sampling: the model's own distribution, the same again for the same seed, and log-probabilities training finds."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from stages.core.contract import Contract
from stages.core.sampling import Completion, Finish, Request, Sampling
from stages.policy.engines.local import blocks
from stages.policy.engines.local import engine as local
from stages.policy.engines.local.choosing import choose
from tests.policy.drawing import generate

SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
COMMON = [7, 9, 11, 13, 7, 3]
PROMPTS = [COMMON + own for own in ([4], [4], [5, 6, 8], [9, 9], [9, 9], [9, 9], [3, 8, 4, 6, 21])]


@functools.cache
def policy(kind: str = "qwen2") -> Any:
    torch.manual_seed(0)
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)).eval()
    return LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()


def contract(eos_ids: list[int] | None = None, max_positions: int = 128) -> Contract:
    ends = [1] if eos_ids is None else eos_ids
    return Contract(
        template="", template_name="", eos_ids=ends, pad_id=2, tokenizer_sha256="", max_positions=max_positions
    )


def sample(prompts: list[list[int]] = PROMPTS, seed: int = 5, kind: str = "qwen2", **setting: Any) -> list[Completion]:
    rows = setting.pop("batch_rows", 512)
    ends = setting.pop("eos_ids", [1, 17, 23])
    drawn = Sampling(**{"max_tokens": 12, **setting})
    return generate(policy(kind), prompts, drawn, contract=contract(ends), seed=seed, batch_rows=rows)


def plain_logprobs(kind: str, prompt: list[int], said: list[int], temperature: float) -> torch.Tensor:
    with torch.no_grad():
        logits = policy(kind)(torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0]


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 0.95)])
def test_logprobs_are_those_of_a_plain_forward_pass(kind: str, temperature: float, top_p: float) -> None:
    for prompt, one in zip(PROMPTS, sample(kind=kind, temperature=temperature, top_p=top_p), strict=True):
        expected = plain_logprobs(kind, prompt, one.ids, temperature)
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_greedy_completions_are_those_of_transformers(kind: str) -> None:
    model = policy(kind)
    for prompt, one in zip(PROMPTS, sample(kind=kind, temperature=0, eos_ids=[1]), strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        assert one.ids == expected[0, len(prompt) :].tolist()


def test_a_completion_ends_with_its_first_end_token_or_is_truncated() -> None:
    completions = sample(PROMPTS * 20)
    assert {one.truncated for one in completions} == {True, False}
    for one in completions:
        assert not {1, 17, 23} & set(one.ids[:-1])
        assert (one.ids[-1] in (1, 17, 23)) is not one.truncated
        assert len(one.ids) == 12 or not one.truncated
        assert len(one.logprobs) == len(one.ids)


def test_the_seed_alone_decides() -> None:
    torch.manual_seed(1)
    first = sample()
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert sample() == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # nothing was drawn from torch's own generator
    assert sample(seed=6) != first


def test_rows_of_one_prompt_differ_from_each_other() -> None:
    assert len({tuple(one.ids) for one in sample([PROMPTS[0]] * 16)}) > 8


def test_a_row_says_the_same_in_a_batch_of_any_size() -> None:
    assert [one.ids for one in sample(batch_rows=2)] == [one.ids for one in sample()]


def test_rows_that_leave_early_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = PROMPTS * 10
    early = sample(prompts, max_tokens=40)
    monkeypatch.setattr(local, "CHECK_EVERY", 1000)
    assert [one.ids for one in sample(prompts, max_tokens=40)] == [one.ids for one in early]


def test_prompts_without_a_common_start_and_long_prefills_are_sampled_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [[5], [6, 7, 8, 9], [7, 7], [7, 7], [8, 3, 5]]
    whole = sample(prompts)
    monkeypatch.setattr(local, "PREFILL_TOKENS", 4)  # one prompt at a time
    monkeypatch.setattr(blocks, "BLOCK", 1)
    assert [one.ids for one in sample(prompts)] == [one.ids for one in whole]
    for prompt, one in zip(prompts, whole, strict=True):
        expected = plain_logprobs("qwen2", prompt, one.ids, 1.0)
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, rtol=0, atol=1e-5)


def test_tokens_come_as_often_as_the_model_says() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(40_000, 4)
    draws = torch.rand(40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ids, logprobs = choose(logits, draws, 1.0, 1.0)
    shares = torch.bincount(ids, minlength=4) / 40_000
    torch.testing.assert_close(shares, logits[0].softmax(-1), rtol=0, atol=0.01)
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).gather(1, ids[:, None])[:, 0])


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    probabilities = torch.tensor([0.1, 0.5, 0.25, 0.15])
    draws = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    logits = probabilities.log().expand(1000, 4)
    for top_p, kept in ((0.4, {1}), (0.6, {1, 2}), (0.74, {1, 2}), (0.8, {1, 2, 3}), (0.95, {0, 1, 2, 3})):
        ids, _ = choose(logits, draws, 1.0, top_p)
        assert set(ids.tolist()) == kept
    ids, logprobs = choose(logits, draws, 1.0, 0.6)
    assert (ids == 1).float().mean().item() == pytest.approx(2 / 3, abs=0.01)  # 0.5 of 0.75
    assert logprobs[ids == 1][0].item() == pytest.approx(-0.6931, abs=1e-4)  # ln 0.5: before the cut


def test_a_flat_distribution_wider_than_the_first_look_is_sorted_whole() -> None:
    draws = torch.rand(5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ids, _ = choose(torch.zeros(5000, 200), draws, 1.0, 0.4975)
    assert len(set(ids.tolist())) == 100


def test_flat_and_peaked_rows_are_cut_each_for_itself() -> None:
    peaked = torch.full((200,), -30.0)
    peaked[3] = 0
    logits = torch.stack([torch.zeros(200), peaked]).repeat(500, 1)
    draws = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ids, _ = choose(logits, draws, 1.0, 0.4975)
    assert set(ids[1::2].tolist()) == {3} and len(set(ids[::2].tolist())) > 64


def test_a_draw_at_either_edge_never_takes_a_forbidden_token() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf")]]).expand(2, 3)
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert choose(logits, edges, 1.0, 1.0)[0].tolist() == [1, 1]


def test_progress_counts_rows_up_to_all() -> None:
    heard: list[tuple[int, int]] = []
    generate(
        policy(),
        PROMPTS,
        Sampling(max_tokens=12),
        contract=contract([1, 17, 23]),
        seed=0,
        on_progress=lambda done, total: heard.append((done, total)),
        batch_rows=3,
    )
    assert heard[-1] == (7, 7) and heard == sorted(heard)


def test_a_model_in_training_stays_in_training() -> None:
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, attention_dropout=0.5)).train()
    said = generate(model, PROMPTS, Sampling(max_tokens=4), contract=contract(), seed=0)
    assert model.training
    assert said == generate(model.eval(), PROMPTS, Sampling(max_tokens=4), contract=contract(), seed=0)


def test_no_prompts_give_no_completions() -> None:
    assert sample([]) == []


def test_a_prompt_that_cannot_be_continued_is_refused_in_one_sentence_and_stops_no_other() -> None:
    prompts = [PROMPTS[0], [], [3] * 60, [3, 40], PROMPTS[1]]
    told = generate(policy(), prompts, Sampling(max_tokens=5), contract=contract(max_positions=40), seed=0)
    refused = [one.fault for one in told if one.finish is Finish.REFUSED]
    assert refused == [
        "the prompt holds no token",
        "a prompt of 60 tokens and max_tokens 5 do not fit into the model's 40 positions",
        "the prompt holds token 40, and the model's embedding has 40 rows",
    ]
    assert [one.failed for one in told] == [False, True, True, True, False]


def test_a_completion_depends_on_its_own_seed_and_on_no_neighbour() -> None:
    engine = local.LocalEngine(policy(), contract([1, 17, 23]))
    asked = [Request(prompt_ids=ids, sampling=Sampling(max_tokens=12), seed=n, key=n) for n, ids in enumerate(PROMPTS)]
    together = {request.key: one.ids for request, one in engine.sample(asked)}
    backwards = {request.key: one.ids for request, one in engine.sample(asked[::-1])}
    alone = {request.key: next(engine.sample([request]))[1].ids for request in asked}
    assert together == backwards == alone


def test_a_longer_limit_leaves_what_was_said_before_it_alone() -> None:
    short, long = sample(max_tokens=70, eos_ids=[]), sample(max_tokens=100, eos_ids=[])
    assert [one.ids for one in short] == [one.ids[:70] for one in long]


def test_shards_never_share_a_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    made = local._Batch.of
    monkeypatch.setattr(local._Batch, "of", lambda *args: sizes.append(len(args[1])) or made(*args))
    engine = local.LocalEngine(policy(), contract(), batch_rows=4)
    asked = [
        Request(prompt_ids=PROMPTS[0], sampling=Sampling(max_tokens=2), seed=n, key=n, shard=n // 5) for n in range(12)
    ]
    assert len(list(engine.sample(asked))) == 12
    assert sizes == [4, 1, 4, 1, 2]


def test_whoever_is_handed_a_completion_may_take_gradients() -> None:
    engine = local.LocalEngine(policy(), contract())
    asked = [Request(prompt_ids=ids, sampling=Sampling(max_tokens=4), seed=n) for n, ids in enumerate(PROMPTS)]
    for _ in engine.sample(asked):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_settings_out_of_range_are_errors() -> None:
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"max_tokens": 0}):
        with pytest.raises(ValueError, match="are needed"):
            Sampling(**wrong)

"""The shared prefix changes what a row costs and nothing else: logits, log-probabilities and gradients stay."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from stages.policy.models import attending, head, prefix, tree
from stages.policy.models.prefix import selected_logprobs, shared_prefix_length, suffix_logits, why_not_shared

VOCABULARY = 61
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}


def policy(kind: str, **changed: Any) -> Any:
    """A random model in float64 throughout, so that agreement means the same sums and not luck with rounding."""
    torch.manual_seed(0)
    if kind == "qwen2":
        model: Any = Qwen2ForCausalLM(Qwen2Config(**{**SHAPE, "tie_word_embeddings": True, **changed}))
    else:
        model = LlamaForCausalLM(LlamaConfig(**{**SHAPE, "tie_word_embeddings": False, **changed}))
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):  # transformers' own goes through float32
            module.forward = functools.partial(exact_norm, module)
    return model.double().eval()


def exact_norm(norm: Any, hidden: Tensor) -> Tensor:
    return norm.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)


def ragged(shared: int = 9) -> dict[str, Tensor]:
    """Three prompts of 10, 13 and 16 tokens with 9 in common, and completions of 5, 1 and 3."""
    chance = torch.Generator().manual_seed(1)
    common = torch.randint(1, VOCABULARY, (shared,), generator=chance)
    prompts, completions = torch.zeros(3, 17, dtype=torch.long), torch.zeros(3, 6, dtype=torch.long)
    prompt_mask, completion_mask = torch.zeros(3, 17, dtype=torch.bool), torch.zeros(3, 6, dtype=torch.bool)
    for row, (own, said) in enumerate(((1, 5), (4, 1), (7, 3))):
        tail = torch.randint(1, VOCABULARY, (own,), generator=chance)
        prompts[row, 17 - shared - own :] = torch.cat([common, tail])
        prompt_mask[row, 17 - shared - own :] = True
        completions[row, :said] = torch.randint(1, VOCABULARY, (said,), generator=chance)
        completion_mask[row, :said] = True
    return {
        "prompt_ids_BP": prompts,
        "prompt_mask_BP": prompt_mask,
        "completion_ids_BT": completions,
        "completion_mask_BT": completion_mask,
    }


def by_hand(model: Any, rows: dict[str, Tensor], temperature: float) -> tuple[Tensor, Tensor]:
    """Each row alone, without padding, cache or mask."""
    logprobs, entropies = torch.zeros(3, 6, dtype=torch.float64), torch.zeros(3, 6, dtype=torch.float64)
    for row in range(3):
        prompt = rows["prompt_ids_BP"][row][rows["prompt_mask_BP"][row]]
        said = rows["completion_ids_BT"][row][rows["completion_mask_BT"][row]]
        logits = model(torch.cat([prompt, said])[None]).logits[0, len(prompt) - 1 : -1] / temperature
        every = logits.log_softmax(-1)
        logprobs[row, : len(said)] = every.gather(1, said[:, None])[:, 0]
        entropies[row, : len(said)] = -(every.exp() * every).sum(-1)
    return logprobs, entropies


def gradients(model: Any, value: Tensor) -> list[Tensor]:
    model.zero_grad()
    value.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("rows", "length"),
    [
        ([], 0),
        ([[1, 2, 3]], 2),
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2], [1, 2, 3]], 1),
        ([[5], [6]], 0),
        ([[7], [7]], 0),
    ],
)
def test_every_row_keeps_a_token_of_its_own(rows: list[list[int]], length: int) -> None:
    assert shared_prefix_length(rows) == length


def test_padding_is_no_part_of_the_prefix() -> None:
    rows = ragged()
    assert shared_prefix_length(rows["prompt_ids_BP"], rows["prompt_mask_BP"]) == 9


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_logits_after_a_prefix_are_those_of_the_whole_row(kind: str) -> None:
    model = policy(kind)
    ids = torch.randint(1, VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(2))
    ids[:, :7] = ids[0, :7]
    plain = model(ids).logits
    mask = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(suffix_logits(model, ids[0, :7], ids[:, 7:], mask), plain[:, 7:], rtol=0, atol=1e-9)
    last = suffix_logits(model, ids[0, :7], ids[:, 7:], mask, logits_to_keep=2)
    torch.testing.assert_close(last, plain[:, -2:], rtol=0, atol=1e-9)


@pytest.mark.parametrize("layout", ["tree", "padded"])
@pytest.mark.parametrize("shared", [0, 1, 9])
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_logprobs_entropies_and_gradients_of_ragged_rows_are_those_of_each_row_alone(
    kind: str, shared: int, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == "padded":  # as on a GPU
        monkeypatch.setattr(prefix, "_tree", lambda *_, **__: None)
    model, rows = policy(kind), ragged()
    weights = torch.randn(3, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected, entropies = by_hand(model, rows, 0.7)
    wanted = gradients(model, (expected * weights).sum())
    logprobs, found = selected_logprobs(model, **rows, temperature=0.7, shared_prefix=shared, with_entropy=True)
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-9)
    assert found is not None and not found.requires_grad
    torch.testing.assert_close(found, entropies, rtol=0, atol=1e-9)
    for one, other in zip(gradients(model, (logprobs * weights).sum()), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def test_a_prompt_is_read_once_for_all_its_completions_and_nothing_changes() -> None:
    model, rows = policy("qwen2"), ragged()
    for name in ("prompt_ids_BP", "prompt_mask_BP"):
        rows[name][1] = rows[name][0]  # one prompt, asked twice
    rows["completion_mask_BT"][2] = False  # and another of which nothing came
    read: list[int] = []
    handle = model.model.register_forward_pre_hook(
        lambda _, __, inputs: read.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    logprobs, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    handle.remove()
    assert read == [9 + (1 + 7) + (5 - 1) + (1 - 1)]  # start, two prompts, completions without their last tokens
    logprobs[:2].sum().backward()
    found = [one.grad for one in model.parameters()]
    expected, _ = by_hand(model, rows, 1.0)
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-9)
    for one, other in zip(found, gradients(model, expected[:2].sum()), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def test_rows_in_several_blocks_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = policy("qwen2"), ragged()
    whole, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    wanted = gradients(model, whole.sum())
    monkeypatch.setattr(tree, "BLOCK_ROWS", 1)
    alone, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-9)
    for one, other in zip(gradients(model, alone.sum()), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def test_a_row_whose_mask_would_be_too_large_is_laid_out_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = policy("qwen2"), ragged()
    whole, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    monkeypatch.setattr(tree, "MASK_AT_ONCE", 9 * 9)  # the start alone has 9 tokens, and prompts 7 more
    assert tree.grow(*rows.values(), 9, torch.float64) is None
    padded, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    torch.testing.assert_close(padded, whole, rtol=0, atol=1e-9)


def test_float32_agrees_to_five_digits() -> None:
    model, rows = policy("qwen2").float(), ragged()
    plain, _ = selected_logprobs(model, **rows, temperature=1.0)
    shared, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    torch.testing.assert_close(shared, plain, rtol=0, atol=1e-5)


def test_values_are_the_same_bits_with_and_without_gradients() -> None:
    model, rows = policy("qwen2").float(), ragged()
    with_gradients, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    with torch.no_grad():
        without, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    assert torch.equal(with_gradients, without)


def test_logits_in_small_parts_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = policy("llama"), ragged()
    whole, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    wanted = gradients(model, whole.sum())
    monkeypatch.setitem(head.LOGITS_AT_ONCE, "cpu", 2 * VOCABULARY)  # two tokens at a time, of nine
    parts, entropies = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9, with_entropy=True)
    assert entropies is not None
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
    for one, other in zip(gradients(model, parts.sum()), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_wrapped_model_is_called_through_its_own_forward() -> None:
    class Wrapped(torch.nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module, self.calls = module, 0

        def forward(self, **inputs: Any) -> Any:
            self.calls += 1
            return self.module(**inputs)

    model, rows = policy("qwen2"), ragged()
    wrapped = Wrapped(model)
    expected, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    found, _ = selected_logprobs(wrapped, **rows, temperature=1.0, shared_prefix=9)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert wrapped.calls == 1  # all rows at once


def test_gradient_checkpointing_runs_the_prefix_per_row_and_says_so() -> None:
    model, rows = policy("qwen2"), ragged()
    expected, _ = selected_logprobs(model, **rows, temperature=1.0)
    wanted = gradients(model, expected.sum())
    model.gradient_checkpointing_enable()
    model.train()
    assert "checkpointing" in why_not_shared(model, 20)
    found, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    for one, other in zip(gradients(model, found.sum()), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_a_window_shorter_than_the_row_runs_the_prefix_per_row() -> None:
    model = policy("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=0)
    assert why_not_shared(model, 8) == "" and "window of 8" in why_not_shared(model, 9)
    rows = ragged()
    expected, _ = by_hand(model, rows, 1.0)
    found, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_rows_that_say_nothing_give_zeros() -> None:
    rows = ragged()
    rows["completion_mask_BT"][:] = False
    logprobs, _ = selected_logprobs(policy("qwen2"), **rows, temperature=1.0, shared_prefix=9)
    assert torch.equal(logprobs, torch.zeros(3, 6, dtype=torch.float64))


def test_the_models_own_attention_is_back_afterwards() -> None:
    model = policy("qwen2")
    before = model.config._attn_implementation
    with pytest.raises(RuntimeError), prefix.shared_attention(model):
        assert model.config._attn_implementation == prefix.ATTENTION
        raise RuntimeError("stop")
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("columns", [0, 6])
@pytest.mark.parametrize("shared", [0, 9])
def test_rows_of_which_nothing_came_have_no_logprobs_and_move_nothing(columns: int, shared: int) -> None:
    model, rows = policy("qwen2"), ragged()
    empty = {name: rows[name][:, :columns] for name in ("completion_ids_BT", "completion_mask_BT")}
    empty["completion_mask_BT"] = torch.zeros_like(empty["completion_mask_BT"])
    logprobs, entropy = selected_logprobs(
        model, **{**rows, **empty}, temperature=1.0, shared_prefix=shared, with_entropy=True
    )
    assert logprobs.shape == (3, columns) and entropy is not None and not entropy.any() and not logprobs.any()
    logprobs.sum().backward()
    assert all(one.grad is None or not one.grad.any() for one in model.parameters())


@pytest.mark.parametrize("shared", [0, 9])
def test_layers_that_are_computed_twice_see_the_shared_prefix_both_times(shared: int) -> None:
    model, rows = policy("qwen2"), ragged()
    expected, _ = selected_logprobs(model, **rows, temperature=1.0)
    wanted = gradients(model, expected.sum())
    attending.compute_twice(model)
    model.train()
    assert why_not_shared(model, 20) == ""
    found, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=shared)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    for one, other in zip(gradients(model, found.sum()), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def kept_bytes(model: Any, rows: dict[str, Tensor], shared: int) -> int:
    """What autograd keeps of a pass, each storage once, the weights apart."""
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {one.untyped_storage().data_ptr() for one in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        selected_logprobs(model, **rows, temperature=1.0, shared_prefix=shared)
    return sum(size for place, size in kept.items() if place not in own)


def test_layers_that_are_computed_twice_keep_a_fraction() -> None:
    model, rows = policy("qwen2", num_hidden_layers=8), ragged()
    model.train()
    once = kept_bytes(model, rows, 0)
    attending.compute_twice(model)
    assert kept_bytes(model, rows, 0) < 0.5 * once


@pytest.mark.parametrize("shared", [0, 9])
def test_rows_that_are_long_together_need_no_mask_and_say_the_same(
    shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = policy("llama"), ragged()
    expected, entropies = by_hand(model, rows, 0.7)
    monkeypatch.setattr(prefix, "MASK_AT_ONCE", 3 * 15**2)
    seen: list[Any] = []
    model.get_decoder().register_forward_pre_hook(lambda _, __, given: seen.append(given), with_kwargs=True)
    found, own = selected_logprobs(model, **rows, temperature=0.7, shared_prefix=shared, with_entropy=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(own, entropies, rtol=0, atol=1e-9)
    assert [given.get("attention_mask") for given in seen] == [None] and "mask" in why_not_shared(model, 18, 3)


def test_a_wrapped_model_meets_its_output_layer_in_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapped(torch.nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, **inputs: Any) -> Any:
            return self.module(**inputs)

    model, rows = policy("llama"), ragged()
    expected, _ = selected_logprobs(model, **rows, temperature=1.0, shared_prefix=9)
    wanted = gradients(model, expected.sum())
    monkeypatch.setitem(head.LOGITS_AT_ONCE, "cpu", 2 * VOCABULARY)
    widest: list[int] = []
    model.lm_head.register_forward_hook(lambda _, __, logits: widest.append(logits.numel() // VOCABULARY))
    found, _ = selected_logprobs(Wrapped(model), **rows, temperature=1.0, shared_prefix=9)
    for one, other in zip(gradients(model, found.sum()), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert max(widest) <= 3  # two tokens, or the last of each of three rows

"""Bytes by part, by hand: what a step takes, and what each way of saving memory saves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stages.core.scale import devices, memory, outlook, published
from stages.core.scale.memory import Training
from stages.core.scale.shapes import Shapes, of_config

FOUND = of_config(
    {
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 100,
        "tie_word_embeddings": True,
    }
)
assert FOUND is not None
SMALL: Shapes = FOUND
SMALL_PARAMETERS = 100 * 8 + 8 + 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16 + 2 * 8)
WAY = Training(shapes=SMALL, rows=3, tokens=10, predicted=5, accumulated=False)


def test_full_training_in_float32_takes_sixteen_bytes_a_parameter_besides_activations() -> None:
    parts = memory.training(WAY)
    assert SMALL.parameters == SMALL_PARAMETERS
    assert (parts.weights, parts.gradients, parts.optimizer) == tuple(SMALL_PARAMETERS * n for n in (4, 4, 8))
    assert parts.reference == parts.kv_cache == 0


def test_a_layer_keeps_for_each_token_what_its_norms_attention_and_feed_forward_read() -> None:
    assert memory.layer_bytes(WAY) == 4 * (6 * 8 + 2 * 8 + 2 * 4 + 4 * 16)
    assert memory.training(WAY).activations == 3 * 10 * (2 * memory.layer_bytes(WAY) + 4 * 4 * 8)
    assert memory.training(WAY).logits == 3 * 5 * 100 * 4 * 3


def test_the_peak_is_of_one_moment_and_less_than_all_parts_together() -> None:
    parts = memory.training(WAY)
    head = 100 * 8 * 4
    standing = parts.weights + parts.optimizer + parts.other
    assert parts.peak == standing + parts.activations + parts.logits + head
    assert memory.training(replace(WAY, accumulated=True)).peak == parts.peak + parts.gradients


def peak(**changes: Any) -> int:
    return memory.training(replace(WAY, **changes)).peak


def test_each_way_of_saving_saves() -> None:
    full = peak(rows=64, tokens=100, reference=True)
    shared: dict[str, Any] = {"rows": 64, "tokens": 100, "reference": True}
    for change in ({"checkpointing": True}, {"rank": 1}, {"optimizer": "adamw_8bit"}, {"weights": "bfloat16"}):
        assert peak(**(shared | {"dtype": "float32"} | change)) < full
    assert peak(**shared, sharded=True, processes=4) < full == peak(**shared, processes=4)


def test_logits_beyond_what_may_exist_at_a_time_take_no_more() -> None:
    big = published.shapes("hf:Qwen/Qwen2.5-1.5B")
    assert big is not None
    way = replace(WAY, shapes=big, rows=8, tokens=4096, predicted=4096)
    assert memory.training(way).logits == memory.training(replace(way, predicted=2048)).logits
    assert memory.training(way).logits <= 3 * 4 * memory.LOGITS_AT_ONCE["cpu"]


def test_an_adapter_counts_its_own_numbers_alone() -> None:
    attention = SMALL.adapted(2, "attention")
    assert attention == 2 * 2 * ((8 + 8) + 2 * (8 + 4) + (8 + 8))
    assert SMALL.adapted(2, "all-linear") == attention + 2 * 2 * 3 * (8 + 16)
    parts = memory.training(replace(WAY, rank=2))
    assert parts.optimizer == 8 * SMALL.adapted(2, "all-linear") and parts.weights > 4 * SMALL_PARAMETERS


@pytest.mark.parametrize(("rows", "limit", "wanted"), [(12, 5, 4), (7, 6, 1), (8, 100, 8), (8, 0, 1)])
def test_a_micro_batch_divides_a_step(rows: int, limit: int, wanted: int) -> None:
    assert memory.micro_rows(rows, limit) == wanted


def test_where_not_one_row_fits_layers_are_computed_twice() -> None:
    qwen = published.shapes("hf:Qwen/Qwen2.5-1.5B")
    assert qwen is not None
    way = replace(WAY, shapes=qwen, tokens=4096, predicted=4096, kind="cuda")
    assert not memory.fitted(way, 80 * 10**9, None, 64).checkpointing
    narrow = memory.fitted(way, 35 * 10**9, None, 64)
    assert narrow.checkpointing and narrow.rows >= 1
    assert memory.fitted(way, 35 * 10**9, 2, 64).rows == 2


def test_what_does_not_fit_is_told_with_the_keys_that_make_it_fit() -> None:
    qwen = published.shapes("hf:Qwen/Qwen2.5-7B")
    assert qwen is not None
    way = replace(WAY, shapes=qwen, rows=1, tokens=2048, predicted=2048, kind="cuda", dtype="bfloat16")
    found = outlook.ways(way, devices.named("h100"))
    assert any("adapter.rank=16" in way for way in found)
    alone, eight = (outlook.ways(replace(way, processes=count), devices.named("h100")) for count in (1, 8))
    assert any("runtime.processes=8 runtime.shard=true" in way for way in eight) and not any(
        "shard" in one for one in alone
    )
    beside = replace(way, rank=16, checkpointing=True, reserved=60 * 10**9)
    assert any("adapter.quantize=4bit" in way for way in outlook.ways(beside, devices.named("h100")))
    assert any("runtime.vllm_memory=0.3" in way for way in outlook.ways(beside, devices.named("h100")))


def test_weights_held_in_parts_are_a_share_of_them_on_each_device_and_whole_while_a_policy_samples() -> None:
    whole = memory.training(replace(WAY, processes=4))
    parts = memory.training(replace(WAY, processes=4, sharded=True))
    for name in ("weights", "gradients", "optimizer"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name) / 4, abs=2), name
    drawing = replace(WAY, processes=4, sharded=True, sampled_rows=1)
    assert memory.training(drawing).peak >= memory.training(drawing).weights * 5


def test_a_device_is_named_with_its_count() -> None:
    node = devices.named("h200x8")
    assert (node.count, node.memory, node.text) == (8, 141 * 10**9, "h200 x 8")
    for wrong in ("h201", "h100x0", "", "h100x"):
        with pytest.raises(LookupError):
            devices.named(wrong)

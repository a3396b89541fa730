"""One owner of weights: copies are copies, what is kept comes back whole, and a change is measured on the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stages.core.errors import MissingError, StageError
from stages.policy.models import folders
from stages.policy.models.weights import Policy
from stages.policy.rl.validation import BestWeights
from tests.policy import tiny


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny.model(folder / "model")
    return folder


@pytest.fixture
def policy(home: Path) -> Policy:
    made: Policy = tiny.policy(home / "model")
    return made


def moved(policy: Policy, name: str = "model.norm.weight", by: float = 0.25) -> None:
    """Add to one number of one weight."""
    with torch.no_grad():
        dict(policy.module.named_parameters())[name].view(-1)[1] += by


def same(one: Policy, other: Policy) -> bool:
    mine, theirs = one.module.state_dict(), other.module.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_reference_is_frozen_has_weights_of_its_own_and_is_renewed_whole(policy: Policy) -> None:
    reference = policy.reference()
    assert same(reference, policy) and not any(part.requires_grad for part in reference.module.parameters())
    moved(policy)
    assert not same(reference, policy)
    reference.renew(policy)
    assert same(reference, policy)
    moved(policy, "model.embed_tokens.weight")
    assert not same(reference, policy), "renewing copies, it does not share"


def test_a_model_that_a_trainer_holds_is_not_copied(policy: Policy) -> None:
    policy.module.forward = policy.module.forward  # what TRL and accelerate do: bound to this very module
    with pytest.raises(StageError, match="after a trainer took hold of it"):
        policy.reference()


def test_every_weight_is_named_as_in_a_checkpoint_and_a_tied_head_under_both_its_names(
    home: Path, policy: Policy
) -> None:
    named = dict(policy.named_weights())
    stored = load_file(home / "model" / "model.safetensors")
    assert set(named) - set(stored) == {"lm_head.weight"}, "a file holds tied weights once"
    assert all(torch.equal(named[name], stored[name]) for name in stored)
    assert named["lm_head.weight"].data_ptr() == named["model.embed_tokens.weight"].data_ptr()
    own = {part.data_ptr() for part in policy.module.parameters()}
    assert {weight.data_ptr() for weight in named.values()} == own, "nothing is copied"
    assert not any(weight.requires_grad for weight in named.values())


def test_experts_that_are_fused_in_memory_are_named_one_by_one_as_in_a_checkpoint(tmp_path: Path) -> None:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    shape: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "moe_intermediate_size": 4, "head_dim": 4}
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen3MoeConfig(vocab_size=16, num_experts=2, num_experts_per_tok=1, **shape, **layers)
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert "model.layers.0.mlp.experts.1.down_proj.weight" in stored
    policy = Policy(AutoModelForCausalLM.from_pretrained(tmp_path), None, None)  # type: ignore[arg-type]
    named = dict(policy.named_weights())
    assert named.keys() == stored.keys() and all(torch.equal(named[name], stored[name]) for name in stored)
    assert policy.largest_change(tmp_path) == 0


def test_the_best_weights_come_back_and_torn_ones_leave_the_policy_as_it_was(tmp_path: Path, policy: Policy) -> None:
    best, kept = BestWeights(tmp_path), policy.copy()
    best.keep(policy, 3)
    moved(policy)
    last = policy.copy()
    assert not best.restore(policy, 4) and same(policy, last)
    file = tmp_path / "step-000003" / "weights.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    assert not best.restore(policy, 3) and same(policy, last)
    file.write_bytes(whole)
    assert best.restore(policy, 3) and same(policy, kept)


@pytest.mark.parametrize("change", ["missing", "strange"])
def test_a_snapshot_that_does_not_fit_is_refused_in_words(tmp_path: Path, policy: Policy, change: str) -> None:
    file = tmp_path / "weights.safetensors"
    policy.snapshot(file)
    weights = load_file(file)
    if change == "missing":
        del weights["model.norm.weight"]
    else:
        weights["model.norm.bias"] = torch.zeros(2)
    save_file(weights, file)
    with pytest.raises(StageError, match=r"does not hold the weights of this model .*model\.norm\."):
        policy.restore(file)


def test_a_policy_is_not_renewed_from_one_of_another_shape(policy: Policy) -> None:
    other = policy.copy()
    other.module.resize_token_embeddings(100, mean_resizing=False)
    with pytest.raises(StageError, match="do not have the same weights"):
        policy.renew(other)


def test_what_is_saved_has_the_dtype_asked_for_and_the_contract(tmp_path: Path, policy: Policy) -> None:
    policy.save(tmp_path / "made", "bfloat16")
    stored = load_file(tmp_path / "made" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}
    again = tiny.policy(tmp_path / "made")
    assert again.contract.eos_ids == policy.contract.eos_ids and again.parameters == policy.parameters


def test_the_largest_change_is_that_of_the_weights_without_a_second_model(
    home: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert policy.largest_change(home / "model") == 0
    base = folders.load_model(home / "model").state_dict()
    moved(policy, by=-0.125)
    moved(policy, "model.embed_tokens.weight", by=0.03)
    by_hand = max((part - base[name]).abs().max().item() for name, part in policy.module.state_dict().items())
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", lambda *_, **__: pytest.fail("loaded again"))
    monkeypatch.setattr(folders, "load_model", lambda *_, **__: pytest.fail("loaded again"))
    assert policy.largest_change(home / "model") == by_hand == pytest.approx(0.125)


def test_the_largest_change_reads_every_shard_and_compares_in_float32(tmp_path: Path, policy: Policy) -> None:
    halved = policy.copy()
    halved.module.to(torch.bfloat16).save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    stored = folders.load_model(tmp_path).state_dict()
    by_hand = max((part - stored[name]).abs().max().item() for name, part in policy.module.state_dict().items())
    assert policy.largest_change(tmp_path) == by_hand > 0


def test_a_base_that_lacks_a_weight_is_no_model(tmp_path: Path, home: Path, policy: Policy) -> None:
    weights = load_file(home / "model" / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_bytes((home / "model" / "config.json").read_bytes())
    with pytest.raises(MissingError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight"):
        folders.load_model(tmp_path)
    with pytest.raises(StageError, match=r"lacks the weight model\.layers\.1\.mlp\.up_proj\.weight"):
        policy.largest_change(tmp_path)

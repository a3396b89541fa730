"""An adapter sealed alone is an artifact over its base: the same model as the merged one, for every stage that asks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stages.core.artifact import Adapter, Artifact, Model
from stages.core.errors import InputError, MissingError, TamperedError
from stages.core.recipe import loading
from stages.core.run import runner, sources
from stages.core.storage.store import Store
from stages.policy.models import folders
from tests.families import building
from tests.policy import tiny, tiny_sft

SFT = ("template=plain", "batch_size=4", "learning_rate=1e-2", "adapter.rank=2", "runtime.device=cpu")
QUICK = ("template=plain", "samples=1", "max_tokens=4", "runtime.device=cpu")
IDS = torch.arange(40)[None] + 5


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two bases of one shape, and a mixture of experts; prompts and conversations beside them."""
    home = tmp_path_factory.mktemp("adapters")
    made = Store(home / "store")
    for name, family in (("dense", "SmolLM2"), ("v3", "DeepSeek-V3")):
        sources.resolve(str(building.folder(family, home / name)), Model, made, name=name)
    tiny.prompts(home / "prompts", 4)
    tiny_sft.conversations(home / "said", tiny_sft.rows(6))
    return made


def build(store: Store, stage: str, name: str, *settings: str) -> Artifact:
    home = store.home.parent
    given = {"sft": ("inputs.conversations=" + str(home / "said/conversations.jsonl"),)}
    given["eval"] = given["rl"] = ("inputs.prompts=" + str(home / "prompts/prompts.jsonl"),)
    return runner.run_node(loading.load(None, stage, [*given[stage], *settings], name), store)


@pytest.fixture(scope="module", params=["dense", "v3"])
def pair(request: pytest.FixtureRequest, store: Store) -> tuple[Artifact, Artifact]:
    """The same training sealed merged, and as the adapter alone."""
    base = request.param
    words = '["all-linear","experts"]' if base == "v3" else "all-linear"
    own = (*SFT, f"inputs.model={base}", f"adapter.targets={words}")
    return build(store, "sft", f"{base}-whole", *own), build(store, "sft", f"{base}-apart", *own, "adapter.merge=false")


def test_an_adapter_is_small_names_its_base_and_is_opened_as_the_merged_model(
    store: Store, pair: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    from stages.core.run.opened import opened

    merged, apart = pair
    assert (merged.kind, apart.kind) == ("model", "adapter") and isinstance(apart, Adapter)
    base = store.open(apart.record.inputs["model"])
    assert apart.base == (base.address, base.fingerprint)
    assert not (apart.path / "model.safetensors").exists()
    assert apart.metrics["adapter"] == merged.metrics["adapter"]
    whole = opened(apart, store, tmp_path)
    theirs, mine = (load_file(one.path / "model.safetensors") for one in (merged, whole))
    assert theirs.keys() == mine.keys() and all(torch.equal(theirs[name], mine[name]) for name in mine)
    for file in ("generation_config.json", "contract.json", "tokenizer.json"):
        assert (whole.path / file).read_bytes() == (merged.path / file).read_bytes()


def test_an_adapter_is_evaluated_trained_on_and_adapted_again(store: Store, pair: tuple[Artifact, Artifact]) -> None:
    apart = pair[1]
    scores = [build(store, "eval", f"{one.name}-eval", *QUICK, f"inputs.model={one.address}") for one in pair]
    texts = [(one.path / "completions.jsonl").read_text() for one in scores]
    assert texts[0] == texts[1]
    if apart.name == "dense-apart":
        return
    again = build(
        store, "sft", f"{apart.name}-2", *SFT, f"inputs.model={apart.address}", "adapter.merge=false", "seed=1"
    )
    assert isinstance(again, Adapter) and again.base[0] == apart.address  # an adapter over an adapter
    small = [f"{name}={tiny.SETTINGS[name]}" for name in ("prompts_per_step", "group_size", "minibatches")]
    asked = ("template=plain", "rewards.format=0", "steps=2", "max_completion_tokens=4", "adapter.rank=2")
    made = build(store, "rl", f"{apart.name}-rl", *small, *asked, "runtime.device=cpu", f"inputs.model={again.address}")
    assert made.kind == "model" and (made.path / "model.safetensors").is_file()


def test_a_base_that_is_missing_or_changed_is_one_sentence(store: Store, tmp_path: Path) -> None:
    home = Store(tmp_path / "store")
    base = sources.resolve(str(store.home.parent / "dense"), Model, home, name="dense")
    shutil.copytree(store.home.parent / "said", tmp_path / "said")
    shutil.copytree(store.home.parent / "prompts", tmp_path / "prompts")
    apart = build(home, "sft", "apart", *SFT, "inputs.model=dense", "adapter.merge=false", "epochs=1")
    ask = (*QUICK, f"inputs.model={apart.address}")
    moved = base.path.rename(tmp_path / "aside")
    with pytest.raises(MissingError, match="`apart@1` is an adapter of `dense@1`, which is not in this store"):
        build(Store(home.home), "eval", "e", *ask)
    moved.rename(base.path)
    weights = base.path / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(TamperedError, match=r"model.safetensors"):
        build(Store(home.home), "eval", "e", *ask)


def outside(store: Store, folder: Path, base: str = "dense", **settings: Any) -> Any:
    """An adapter as peft makes and saves it, with matrices that are not zero; returns its model."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(store.open(base).path)
    asked = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False} | settings
    made = get_peft_model(model, LoraConfig(**asked))
    made.save_pretrained(folder)
    return made.eval()


def says(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True, "alpha_pattern": {"down_proj": 3}}])
def test_an_adapter_from_elsewhere_is_imported_merged_or_kept(
    store: Store, tmp_path: Path, settings: dict[str, Any]
) -> None:
    from stages.core.run.opened import opened

    theirs = says(outside(store, tmp_path / "lora", **settings))
    merged = sources.resolve(str(tmp_path / "lora"), Model, store, base="dense")
    assert merged.kind == "model" and merged.record.inputs == {"base": "dense@1"}
    assert (says(folders.load_model(merged.path)) - theirs).abs().max() < 1e-4
    kept = sources.resolve(str(tmp_path / "lora"), Adapter, store, base="dense")
    assert kept.kind == "adapter" and (kept.path / "adapter_model.safetensors").is_file()
    assert (says(folders.load_model(opened(kept, store, tmp_path / "open").path)) - theirs).abs().max() < 1e-4
    assert sources.resolve(str(tmp_path / "lora"), Adapter, store, base="dense") == kept


def test_peft_opens_what_was_sealed_here(store: Store, tmp_path: Path) -> None:
    apart = build(store, "sft", "for-peft", *SFT, "inputs.model=dense", "adapter.merge=false")
    merged = build(store, "sft", "for-peft-whole", *SFT, "inputs.model=dense")
    base = AutoModelForCausalLM.from_pretrained(store.open("dense").path)
    theirs = PeftModel.from_pretrained(base, apart.path).eval()
    assert (says(theirs) - says(folders.load_model(merged.path))).abs().max() < 1e-4


def test_what_is_no_adapter_of_the_base_is_refused_in_one_sentence(store: Store, tmp_path: Path) -> None:
    outside(store, tmp_path / "lora")

    def refused(sentence: str, folder: str = "lora", base: str = "dense") -> None:
        with pytest.raises(InputError, match=sentence):
            sources.resolve(str(tmp_path / folder), Model, store, base=base)

    refused("is on .*self_attn.q_proj, .* which this base does not have", base="v3")
    refused("holds no adapter_config.json, so it is no adapter", folder="../")
    with pytest.raises(InputError, match="holds an adapter, not a model"):
        sources.resolve(str(tmp_path / "lora"), Model, store)
    with pytest.raises(InputError, match="needs its base"):
        sources.resolve(str(tmp_path / "lora"), Adapter, store)
    weights = load_file(tmp_path / "lora/adapter_model.safetensors")
    name = next(name for name in weights if "q_proj.lora_B" in name)
    side = len(weights[name])
    cut = f"matrices of {side - 1} × 4 and 4 × {side}, and the layer is {side} × {side}"
    for folder, changes, sentence in (
        ("narrow", {name: weights[name][:-1].contiguous()}, cut),
        ("more", {"base_model.model.model.embed_tokens.weight": torch.ones(2, 2)}, "which is no matrix of a LoRA"),
    ):
        shutil.copytree(tmp_path / "lora", tmp_path / folder)
        save_file({**weights, **changes}, tmp_path / folder / "adapter_model.safetensors")
        refused(sentence, folder)
    for key, value, sentence in (
        ("use_dora", True, "it is a DoRA"),
        ("peft_type", "LOHA", "it is of peft's type LOHA"),
        ("bias", "all", "it holds biases"),
        ("alpha_pattern", {"(a+)+$": 3}, "by the expression"),
    ):
        shutil.copytree(tmp_path / "lora", tmp_path / key)
        file = tmp_path / key / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
        refused(sentence, key)

"""An adapter changes what a model says without changing the model, and is sealed as what it was in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor

from stages.core.contract import Contract
from stages.core.errors import InputError, RecipeError, StageError
from stages.core.recipe.adaptation import Adaptation
from stages.core.scale import shapes
from stages.policy.models import adapters, folders, layers, targets
from stages.policy.models.lowrank import LowRankLinear
from stages.policy.models.weights import Policy
from tests.families import building

IDS = torch.arange(5, 45)[None]
ADAPTED = ("DeepSeek-V3", "GPT-2", "gpt-oss", "SmolLM2")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("adapters")
    contract = Contract(
        template="", template_name="", eos_ids=[257], pad_id=258, tokenizer_sha256="", max_positions=512
    )
    for family in ADAPTED:
        folders.save_model(building.model(family), building.tokenizer(family), contract, home / family)
    return home


def adapted(folder: Path, *words: str, moved: bool = True, **more: Any) -> Any:
    """The policy of a folder with an adapter, whose matrices are no longer zero unless `moved` is false."""
    policy = Policy.load(folder, folders.load_tokenizer(folder), Contract.read(folder))
    asked = Adaptation(rank=4, targets=list(words) or "all-linear", **more)
    again = lambda: folders.load_model(folder)  # noqa: E731
    made = adapters.adapted(policy, asked, seed=7, tell=lambda _: None, again=again)
    if moved:
        draws = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, weight in made.trained().items():  # type: ignore[attr-defined]
                if ".lora_B." in name:
                    weight.copy_(torch.randn(weight.shape, generator=draws) / 10)
    return made


def says(module: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = module(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("family", ADAPTED)
def test_a_sealed_model_says_what_its_adapter_said_in_training(tmp_path: Path, home: Path, family: str) -> None:
    policy = adapted(home / family, "all-linear", *["experts"] * (family in ("DeepSeek-V3", "gpt-oss")))
    trained, base = says(policy.module), folders.load_model(home / family)
    assert (trained - says(base)).abs().max() > 1
    shown = dict(policy.named_weights())
    figures = policy.save(tmp_path / "sealed", "float32")["adapter"]
    sealed = Policy(folders.load_model(tmp_path / "sealed"), policy.tokenizer, policy.contract)
    assert (says(sealed.module) - trained).abs().max() < 1e-4
    assert 0 < figures["merge_difference"] < 1e-4
    assert all(torch.equal(shown.pop(name), weight) for name, weight in sealed.named_weights())
    assert not shown  # an engine is given the names that a checkpoint has, and no other


@pytest.mark.parametrize("family", ["DeepSeek-V3", "SmolLM2"])
def test_the_reference_is_the_base_until_it_is_replaced_and_shares_its_weights(home: Path, family: str) -> None:
    policy = adapted(home / family)
    reference = policy.reference()
    assert torch.equal(says(reference.module), says(folders.load_model(home / family)))
    reference.renew(policy)
    before = says(policy.module)
    assert torch.equal(says(reference.module), before)
    with torch.no_grad():
        next(iter(policy.trained().values())).add_(1)
    assert torch.equal(says(reference.module), before) and not torch.equal(says(policy.module), before)
    places = {weight.data_ptr() for weight in policy.module.parameters()}
    own = [weight for weight in reference.module.parameters() if weight.data_ptr() not in places]
    assert sum(weight.numel() for weight in own) == policy.trained_numbers
    assert not any(weight.requires_grad for weight in reference.module.parameters())


def test_an_adapter_is_drawn_from_the_seed_and_says_nothing_at_first(home: Path) -> None:
    one, other = (adapted(home / "SmolLM2", moved=False) for _ in range(2))
    drawn = one.trained()
    assert all(torch.equal(drawn[name], weight) for name, weight in other.trained().items())
    assert torch.equal(says(one.module), says(folders.load_model(home / "SmolLM2")))
    # 2 layers: q and o h x h, k and v h/2 x h (2 of 4 heads), gate, up and down i x h: rank x (in + out) numbers each
    h, i = building.SHAPE["hidden_size"], building.SHAPE["intermediate_size"]
    assert one.trained_numbers == 2 * 4 * (2 * 2 * h + 2 * (h + h // 2) + 3 * (h + i))


def test_a_snapshot_holds_the_adapter_alone_and_another_models_is_refused(tmp_path: Path, home: Path) -> None:
    policy = adapted(home / "SmolLM2")
    said = says(policy.module)
    policy.snapshot(tmp_path / "kept.safetensors")
    assert (tmp_path / "kept.safetensors").stat().st_size < 4 * policy.trained_numbers + 8192
    fresh = adapted(home / "SmolLM2", moved=False)
    fresh.restore(tmp_path / "kept.safetensors")
    assert torch.equal(says(fresh.module), said)
    with pytest.raises(StageError, match="does not hold the adapter of this model"):
        adapted(home / "SmolLM2", "attention").restore(tmp_path / "kept.safetensors")


def test_layers_are_chosen_by_what_they_are() -> None:
    model = building.model("DeepSeek-V3")
    last = {
        word: {name.rpartition(".")[2] for name in targets.chosen(model, [word]).linear}
        for word in ("all-linear", "attention", "mlp", "experts")
    }
    attention = {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"}
    assert last["attention"] == attention
    assert last["mlp"] == {"gate_proj", "up_proj", "down_proj"}  # of the dense layer and of the shared experts
    assert last["all-linear"] == attention | last["mlp"]
    assert last["experts"] == set()
    assert targets.chosen(model, ["experts"]).fused == {"model.layers.1.mlp.experts": ["gate_up_proj", "down_proj"]}
    told = targets.told(model, targets.chosen(model, ["all-linear"]))
    assert told.endswith("; left as they are: output layer, routed experts of 1 layer, 1 router")
    with_eyes = building.model("Gemma 3 (with images)")  # eyes are not called when it reads text
    assert all(".language_model." in name for name in targets.chosen(with_eyes, ["all-linear"]).linear)


@pytest.mark.parametrize(
    ("family", "word", "sentence"),
    [
        ("SmolLM2", "q_prj", "`q_prj` in `adapter.targets` matches no layer"),
        ("SmolLM2", "experts", "`experts` in `adapter.targets` matches no layer"),
        ("SmolLM2", "embed_tokens", "`embed_tokens` in `adapter.targets` is no linear layer"),
        ("SmolLM2", "lm_head", "`lm_head` is tied to another weight"),
        ("Mamba", "dt_proj", "is not called when this MambaForCausalLM reads a text"),
    ],
)
def test_targets_that_cannot_be_are_refused_in_a_sentence(family: str, word: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        targets.chosen(building.model(family), [word])


def test_a_rank_above_a_layers_side_and_dropout_on_experts_are_refused(home: Path) -> None:
    policy = Policy(building.model("SmolLM2"), None, None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"`adapter.rank` 999 is above \d+, the shorter side of `model.layers.0.self"):
        adapters.adapted(policy, Adaptation(rank=999), seed=0, tell=lambda _: None, again=lambda: None)
    with pytest.raises(InputError, match=r"`adapter.dropout` must be 0 on routed experts"):
        adapted(home / "DeepSeek-V3", "experts", dropout=0.1)


def test_a_merge_that_changes_what_is_said_is_refused(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = adapted(home / "SmolLM2")
    monkeypatch.setattr(layers, "add", lambda layer: None)  # a merge that is none
    with pytest.raises(StageError, match=r"merging the adapter changes logits by .*, which is no rounding"):
        policy.save(tmp_path / "sealed", "float32")


def test_four_bits_are_refused_where_there_is_no_gpu(home: Path) -> None:
    with pytest.raises(RecipeError, match=r"`adapter.quantize=4bit` needs a GPU, and this run is on `cpu`"):
        adapted(home / "SmolLM2", quantize="4bit")


@pytest.mark.parametrize("family", ["DeepSeek-V3", "SmolLM2"])
@pytest.mark.parametrize("words", [["all-linear"], ["attention"], ["mlp", "experts"]])
def test_an_adapter_has_as_many_numbers_as_a_plan_counts(home: Path, family: str, words: list[str]) -> None:
    if family == "SmolLM2":
        words = [word for word in words if word != "experts"]
    found = shapes.of_config(building.FAMILIES[family][1]().to_dict())
    assert found is not None and found.adapted(4, words) == adapted(home / family, *words).trained_numbers


@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_beside_a_frozen_one_has_the_values_and_gradients_of_pefts(bias: bool) -> None:
    """And leaves to peft what is more than two matrices: dropout, a cast, a weight that is trained itself."""
    torch.manual_seed(0)
    base = torch.nn.Linear(6, 5, bias=bias).double().requires_grad_(False)
    config = LoraConfig(r=2, lora_alpha=3, lora_dropout=0.5, init_lora_weights=False)
    ours, theirs = (
        kind(base, "default", config=config, r=2, lora_alpha=3).double() for kind in (LowRankLinear, Linear)
    )
    theirs.load_state_dict(ours.state_dict())
    x, weights = torch.randn(3, 4, 6, dtype=torch.double, requires_grad=True), torch.randn(3, 4, 5, dtype=torch.double)
    sides = []
    for layer in (ours.eval(), theirs.eval()):
        matrices = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
        out = layer(x)
        sides.append([out, *torch.autograd.grad((out * weights).sum(), [x, *matrices])])
    assert "_LowRank" in type(sides[0][0].grad_fn).__name__ and "_LowRank" not in type(sides[1][0].grad_fn).__name__
    for one, other in zip(*sides, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    ours.enable_adapters(False)
    assert torch.equal(ours(x), base(x))
    ours.enable_adapters(True)
    assert "_LowRank" not in type(ours.train()(x).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        assert ours.eval().float()(x.float()).dtype == torch.bfloat16
    base.double().requires_grad_(True)
    assert "_LowRank" not in type(ours.double()(x).grad_fn).__name__

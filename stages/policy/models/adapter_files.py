"""An adapter's files on their base: two folders enter, the model that they make leaves as a third.

Files are in peft's format, of our own runs or from elsewhere. What one holds is compared with its base first, by name
and shape, for peft puts an adapter on any model whose shapes fit. Each layer has a rank of its own, and what is more
than the two matrices of a LoRA is refused by name.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor

from stages.core.contract import Contract
from stages.core.errors import InputError
from stages.core.recipe.adaptation import Adaptation
from stages.policy.models import folders, targets
from stages.policy.models.adapters import SETTINGS, WEIGHTS, AdaptedPolicy
from stages.policy.models.layers import BASE, NAME, attach, stacked
from stages.policy.models.reading import listed, outside, read_config, read_json
from stages.policy.models.weights import Policy

_MATRIX = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_MORE = {
    "use_dora": "it is a DoRA",
    "modules_to_save": "it holds whole layers beside its matrices (modules_to_save)",
    "trainable_token_indices": "it holds trained tokens beside its matrices",
    "layer_replication": "it repeats layers of its base",
    "lora_bias": "it holds biases",
}
"""Settings of peft under which two matrices a layer are not all -> what they mean."""
_MERGE = "merge it where it was made: `model.merge_and_unload().save_pretrained('FOLDER')`, and import that"


class Pair(NamedTuple):
    """The two matrices of a layer: the weight is used as W + scale · B A."""

    a: Tensor
    b: Tensor


class Held(NamedTuple):
    """An adapter as its files hold it."""

    pairs: dict[str, Pair]
    """Layer by peft's name of it -> its matrices."""
    scale: Callable[[str, int], float]
    """(layer, rank) -> how often their product counts."""
    base: str
    """What it says it was trained on: a hint, and no more."""


def read(folder: Path) -> Held:
    """Read an adapter's folder. Raises InputError for files that cannot be read and for what is no plain LoRA."""
    settings = read_json(folder / SETTINGS)
    kind = settings.get("peft_type")
    fault = "" if kind == "LORA" else f"it is of peft's type {kind}, and no LORA"
    fault = fault or next((said for key, said in _MORE.items() if settings.get(key)), "")
    fault = fault or "it holds biases" * (settings.get("bias", "none") != "none")
    fault = fault or f"it holds no {WEIGHTS}, and pickled weights are not read" * (not (folder / WEIGHTS).is_file())
    if fault:
        raise InputError(f"the adapter of `{folder}` cannot be used: {fault}", hint=_MERGE)
    with outside(f"`{folder / WEIGHTS}` is no whole safetensors file", "fetch it again"):
        tensors = load_file(folder / WEIGHTS)
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = _MATRIX.fullmatch(name)
        if found is None or tensor.dim() != 2 or not tensor.is_floating_point():
            raise InputError(f"the adapter of `{folder}` holds `{name}`, which is no matrix of a LoRA", hint=_MERGE)
        halves.setdefault(found[1], {})[found[2]] = tensor.float()
    lone = next((name for name, both in halves.items() if len(both) != 2), "")
    if lone or not halves:
        what = f"one of the two matrices of `{lone}`" if lone else "any matrix"
        raise InputError(f"the adapter of `{folder}` lacks {what}", hint="fetch it again")
    base = settings.get("base_model_name_or_path")
    pairs = {name: Pair(both["A"], both["B"]) for name, both in halves.items()}
    return Held(pairs, _scale(settings, folder), base if isinstance(base, str) else "")


def whole(base: Path, adapter: Path, folder: Path) -> dict[str, Any]:
    """Write into `folder` the model that an adapter makes of its base, merged, and return figures of both.

    Config, tokenizer and contract are the adapter's where its folder holds a contract, as ours do, else the base's; the
    config's number type is that of the weights. Raises InputError for an adapter of another base.
    """
    own = adapter if (adapter / "contract.json").is_file() else base
    policy = put_on(base, adapter)
    policy.tokenizer, policy.contract = folders.load_tokenizer(own), Contract.read(own)
    config = read_config(own)
    if hasattr(config.get_text_config(), "max_position_embeddings"):  # a distillation may have raised it
        policy.module.config.get_text_config().max_position_embeddings = (
            config.get_text_config().max_position_embeddings
        )
    return policy.save(folder, str(config.dtype or "float32").removeprefix("torch."))


def import_adapter(base: Path, adapter: Path, folder: Path, *, kept: bool) -> dict[str, Any]:
    """Write an adapter from elsewhere into `folder`, whole with its base or `kept` as it is, and return figures.

    Either way the two are put together first. Raises InputError for an adapter of another base.
    """
    policy = put_on(base, adapter)
    said = read(adapter).base
    notes = {"notes": [f"it says that its base is {said}"]} if said else {}
    if kept:
        policy.asked = replace(policy.asked, merge=False)
    figures = policy.save(folder, str(read_config(base).dtype or "float32").removeprefix("torch."))
    if kept:  # ranks and scales of single layers are as they were
        for name in (WEIGHTS, SETTINGS):
            shutil.copyfile(adapter / name, folder / name)
    return {**figures, **notes}


def put_on(base: Path, adapter: Path) -> AdaptedPolicy:
    """A policy of a base's folder with an adapter's files on it. Raises InputError for an adapter of another base."""
    held = read(adapter)
    policy = Policy.load(base, folders.load_tokenizer(base), Contract.read(base))
    parts = targets.sorted_parts(policy.module)
    where = targets.Chosen(
        [name for name in parts.linear if name in held.pairs],
        {name: tensors for name, tensors in parts.fused.items() if name in held.pairs},
    )
    fused = {called: one for name, tensors in where.fused.items() for called, one in stacked(name, tensors).items()}
    hint = f"name the base that it was trained on{f', {held.base}' * bool(held.base)}"
    if strange := sorted(set(held.pairs) - {*where.linear, *fused}):
        raise InputError(
            f"the adapter of `{adapter}` is on {listed(strange)}, which this base does not have", hint=hint
        )
    if absent := sorted(set(fused) - set(held.pairs)):
        raise InputError(f"the adapter of `{adapter}` lacks the matrices of {listed(absent)}", hint="fetch it again")
    ranks = {}
    for name, pair in held.pairs.items():
        fault, ranks[name] = _fit(pair, _sides(policy.module.get_submodule(name.replace(BASE, "")), fused.get(name)))
        if fault:
            raise InputError(f"the adapter of `{adapter}` has for `{name}` {fault} in this base", hint=hint)
    policy.module.requires_grad_(False)
    asked = Adaptation(rank=max(ranks.values()))
    attach(policy.module, where, LoraConfig(r=asked.rank, lora_alpha=asked.rank), ranks)
    with torch.no_grad():
        for path, layer in policy.module.named_modules():
            if isinstance(layer, LoraLayer):
                for half, matrix in zip(("lora_A", "lora_B"), held.pairs[path], strict=True):
                    getattr(layer, half)[NAME].weight.copy_(matrix)
                layer.scaling[NAME] = held.scale(path, ranks[path])
    return AdaptedPolicy(policy.module, policy.tokenizer, policy.contract, asked=asked, where=where)


def _sides(layer: Any, tensor: str | None) -> tuple[int, int, int]:
    """Experts, outputs and inputs of a layer, or of one of the tensors of a module of experts."""
    if tensor is None:
        out, into = layer.weight.shape
        return (1, out, into) if isinstance(layer, torch.nn.Linear) else (1, into, out)
    experts, out, into = getattr(layer, tensor).shape
    return (experts, into, out) if getattr(layer, "is_transposed", False) else (experts, out, into)


def _fit(pair: Pair, sides: tuple[int, int, int]) -> tuple[str, int]:
    """Why two matrices do not fit a layer, or "", and their rank."""
    experts, out, into = sides
    rank = pair.a.shape[0] // experts
    if rank and pair.a.shape == (rank * experts, into) and pair.b.shape == (out, rank * experts):
        return "", rank
    shapes = [" × ".join(map(str, one.shape)) for one in (pair.b, pair.a)]
    return f"matrices of {shapes[0]} and {shapes[1]}, and the layer is {out} × {into}", rank


def _scale(settings: dict[str, Any], folder: Path) -> Callable[[str, int], float]:
    """How often a product counts: alpha over the rank, or over its root (rsLoRA, arXiv 2312.03732)."""
    alpha, own = settings.get("lora_alpha"), settings.get("alpha_pattern") or {}
    values = [alpha, *own.values()] if isinstance(own, dict) else [None]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and one > 0 for one in values):
        raise InputError(f"`{folder / SETTINGS}` names an alpha that is no number above 0", hint="fetch it again")
    if odd := next((key for key in own if re.search(r"[^\w.]", key)), ""):
        what = f"`{folder / SETTINGS}` names layers by the expression `{odd[:40]}`, which is not read"
        raise InputError(what, hint=_MERGE)
    root = bool(settings.get("use_rslora"))

    def scale(name: str, rank: int) -> float:
        found: Any = next((own[key] for key in own if name == key or name.endswith(f".{key}")), alpha)
        return float(found) / (math.sqrt(rank) if root else rank)

    return scale

"""Which layers of a model an adapter is put on, by what they are and not by how a library spells them.

A model and the words of a recipe enter; names of layers and of experts' tensors leave, or a sentence that says what
matches nothing. It exists because names mislead: peft 0.21 moves whatever is called `gate_proj` on a DeepSeek-V3 to its
routed experts, so that `all-linear` adapts router and experts and leaves dense and shared feed-forward layers out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from stages.core.errors import InputError, nearest
from stages.core.recipe.adaptation import WORDS
from stages.policy.models import families

_ROUTERS = ("gate", "router", "shared_expert_gate")
"""Last names of layers that send a token to experts, in a model that has some."""
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""What a config calls the number of its routed experts."""


@dataclass(frozen=True)
class Sorted:
    """The parts of a model that an adapter may be put on, each by its name."""

    linear: dict[str, str]
    """Layer -> `attention`, `mlp`, `expert`, `router` or `head`."""
    fused: dict[str, list[str]]
    """Module that holds all experts of a layer -> its tensors [experts, …, …]."""
    routers: list[str]
    """Modules that send tokens to experts, linear layers or not."""


@dataclass(frozen=True)
class Chosen:
    """Where an adapter is put."""

    linear: list[str] = field(default_factory=list)
    """Names of layers, in the model's order."""
    fused: dict[str, list[str]] = field(default_factory=dict)
    """As in `Sorted`."""


def sorted_parts(model: Any) -> Sorted:
    """Look at every module of a model and say what it is."""
    head, count = model.get_output_embeddings(), expert_count(model.config)
    linear: dict[str, str] = {}
    fused: dict[str, list[str]] = {}
    routers: list[str] = []
    for name, part in model.named_modules():
        names = name.split(".")
        if count and _is_router(names, part, count):
            routers.append(name)
        if isinstance(part, nn.Linear | Conv1D):
            linear[name] = _kind(names, routers, name, is_head=part is head or names[-1] == "score")
        stacked = [own for own, weight in part.named_parameters(recurse=False) if weight.dim() == 3]
        if stacked and "expert" in names[-1]:
            fused[name] = stacked
    return Sorted(linear, fused, routers)


def expert_count(config: Any) -> int:
    """Routed experts of a layer, 0 for a dense model."""
    text = config.get_text_config()
    return max((int(families.value(text, name) or 0) for name in _EXPERTS), default=0)


def chosen(model: Any, words: list[str]) -> Chosen:
    """The layers that the words of a recipe mean (`adaptation.WORDS`, or names: a layer's last names or all of them).

    Raises InputError for a word that matches nothing, or something that no adapter can be put on.
    """
    parts = sorted_parts(model)
    used = _used(model, [name for name, kind in parts.linear.items() if kind != "expert"])
    taken: set[str] = set()
    fused: dict[str, list[str]] = {}
    for word in words:
        found = _matching(word, parts)
        if word == "experts":
            fused = parts.fused
        elif word in WORDS:
            found = [name for name in found if name in used]
        elif idle := next((name for name in found if parts.linear[name] != "expert" and name not in used), None):
            what = f"`{idle}` is not called when this {type(model).__name__} reads a text: an adapter would do nothing"
            raise InputError(what, hint=f"leave `{word}` out of `adapter.targets`")
        if not found and not (word == "experts" and fused):
            raise _unmatched(word, parts, model)
        taken.update(found)
    tied = set(model.all_tied_weights_keys) | set(model.all_tied_weights_keys.values())
    for name in sorted(taken):
        if f"{name}.weight" in tied:
            what = f"`{name}` is tied to another weight, and an adapter on one of the two would untie them"
            raise InputError(what, hint="leave it out of `adapter.targets`")
    return Chosen([name for name in parts.linear if name in taken], fused)


def told(model: Any, where: Chosen) -> str:
    """What is adapted and what is not, as one phrase: layers by their last names, experts and routers each."""
    parts = sorted_parts(model)
    counted = Counter(name.rpartition(".")[2] for name in where.linear)
    said = [f"{count} {name}" for name, count in counted.items()]
    said += [f"the routed experts of {_some(len(where.fused), 'layer')}"] * bool(where.fused)
    taken = set(where.linear)
    left = Counter(kind for name, kind in parts.linear.items() if name not in taken)
    routers = [name for name in parts.routers if name not in taken]
    rest = [
        *[_some(left["attention"], "attention layer")] * bool(left["attention"]),
        *[_some(left["mlp"], "feed-forward layer")] * bool(left["mlp"]),
        *[_some(left["expert"], "layer") + " of experts"] * bool(left["expert"]),
        *["output layer"] * bool(left["head"]),
        *[f"routed experts of {_some(len(parts.fused), 'layer')}"] * bool(parts.fused and not where.fused),
        *[_some(len(routers), "router")] * bool(routers),
    ]
    return f"on {', '.join(said)}" + (f"; left as they are: {', '.join(rest)}" if rest else "")


def _some(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


@torch.no_grad()
def _used(model: Any, names: list[str]) -> set[str]:
    """Which of some layers are called when a model reads a text: not those of its eyes, nor any whose weights a kernel
    reads past them."""
    found: set[str] = set()
    training = model.training
    handles = [
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: found.add(name))  # type: ignore[misc]
        for name in names
    ]
    try:
        embedding = model.get_input_embeddings().weight
        ids = torch.arange(1, 9, device=embedding.device) % embedding.shape[0]
        model.eval()(input_ids=ids[None], use_cache=False)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found


def _is_router(names: list[str], part: Any, count: int) -> bool:
    """Whether a module of a model with `count` experts sends tokens to them: by its name, and by what it gives."""
    if names[-1] not in _ROUTERS and "router" not in type(part).__name__.lower():
        return False
    weight = getattr(part, "weight", None)
    return weight is not None and weight.dim() == 2 and min(weight.shape) in (1, count)


def _kind(names: list[str], routers: list[str], name: str, *, is_head: bool) -> str:
    if is_head:
        return "head"
    if any(name == router or name.startswith(f"{router}.") for router in routers):
        return "router"
    if "experts" in names:
        return "expert"
    return "attention" if any("attn" in one or "attention" in one for one in names) else "mlp"


def _matching(word: str, parts: Sorted) -> list[str]:
    kinds: Mapping[str, tuple[str, ...]] = {
        "all-linear": ("attention", "mlp"),
        "attention": ("attention",),
        "mlp": ("mlp",),
        "experts": ("expert",),
    }
    if word in kinds:
        return [name for name, kind in parts.linear.items() if kind in kinds[word]]
    return [name for name in parts.linear if name == word or name.endswith(f".{word}")]


def _unmatched(word: str, parts: Sorted, model: Any) -> InputError:
    known = sorted({name.rpartition(".")[2] for name in parts.linear})
    if any(name == word or name.endswith(f".{word}") for name, _ in model.named_modules()):
        what = f"`{word}` in `adapter.targets` is no linear layer of this {type(model).__name__}"
    else:
        what = f"`{word}` in `adapter.targets` matches no layer of this {type(model).__name__}"
    hint = f"{nearest(word, [*known, *WORDS])}there are {', '.join(known)}; or say {', '.join(WORDS)}"
    return InputError(what, hint=hint)

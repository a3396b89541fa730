"""A model's shapes without its weights: a config enters, with the headers of the weights where they are here; widths
and numbers of parameters leave.

Nothing but the config's figures decides how much memory a step takes, so no torch is needed, and a model that is not
on this machine can be planned for when its config was published (`published`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Config = Mapping[str, Any]

TWO_MATRICES = frozenset(
    (
        "gpt2",
        "opt",
        "gpt_neo",
        "gpt_neox",
        "gptj",
        "gpt_bigcode",
        "bloom",
        "falcon",
        "phi",
        "starcoder2",
        "codegen",
        "mpt",
        "biogpt",
        "xglm",
    )
)
"""Types whose feed-forward layer has no gate."""
_NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "wide": ("intermediate_size", "n_inner", "ffn_dim"),
    "experts": ("n_routed_experts", "num_local_experts", "num_experts"),
}
"""Figure -> what configs call it."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """A decoder's widths. All counts are of numbers, not of bytes."""

    vocabulary: int
    """Rows of the embedding."""
    hidden: int
    layers: int
    query: int
    """Width of all query heads of a layer together."""
    keys: int
    """Width of all keys of a layer that attention reads; values are as wide."""
    cached: int
    """What a token keeps in a layer for those after it: its keys and values, or their latent."""
    wide: int
    """Feed-forward width that one token meets in a layer, its experts' together."""
    parameters: int
    """All weights, tied ones once."""
    active: int
    """Weights that one token meets."""
    largest: int
    """The largest single weight."""
    linear: tuple[tuple[str, int, int, int], ...]
    """(attention, mlp or experts; in, out, how many) of all linear layers, as an adapter takes them: an expert's two
    inner ones are one."""
    positions: int = 0
    """Tokens that a row may have; 0 = the config says none."""
    exact: bool = True
    """Whether `parameters` were counted or follow from a known architecture; False = estimated."""

    def adapted(self, rank: int, targets: str | list[str]) -> int:
        """Numbers in an adapter of this rank on these layers; names of single layers count as `all-linear`."""
        words = {targets} if isinstance(targets, str) else set(targets)
        kinds = words & {"attention", "mlp", "experts"}
        if words - kinds:
            kinds |= {"attention", "mlp"}
        return sum(rank * (into + out) * times for kind, into, out, times in self.linear if kind in kinds)


def of_folder(folder: Path) -> Shapes | None:
    """The shapes of a model folder: its config's, and its parameters as the headers of its weights count them.

    None where there is no config, or one that does not say how wide the model is.
    """
    file = folder / "config.json"
    if not file.is_file():
        return None
    found = of_config(json.loads(file.read_text(encoding="utf-8")))
    counted = stored(folder)
    if found is None or not counted:
        return found
    # A router's or an expert's share of what is there stays what the config makes of it.
    return replace(found, parameters=counted, active=min(found.active, counted), exact=True)


def stored(folder: Path) -> int:
    """How many numbers the safetensors files of a folder hold, by their headers alone; 0 = there are none."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            if size > file.stat().st_size:
                return 0
            header = json.loads(opened.read(size))
        total += sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")
    return total


def of_config(config: Config) -> Shapes | None:
    """The shapes that a config.json says; None where it does not say how wide the model is."""
    config = config.get("text_config") or config
    kind = str(config.get("model_type", ""))
    hidden, layers, heads = (_figure(config, name) for name in ("hidden", "layers", "heads"))
    vocabulary = _number(config.get("vocab_size"))
    if not (hidden and layers and heads and vocabulary):
        return None
    attention = _latent(config, hidden, heads) if config.get("kv_lora_rank") else _plain(config, hidden, heads)
    gates = 2 if kind in TWO_MATRICES else 3
    wide = _figure(config, "wide") or 4 * hidden
    feed = _Feed.of(config, hidden, wide, layers, gates)
    tied = bool(config.get("tie_word_embeddings", kind in ("gpt2", "gemma", "gemma2", "gemma3_text")))
    embedding = vocabulary * hidden
    shell = embedding * (1 if tied else 2) + hidden
    each = attention.weights + 2 * hidden
    return Shapes(
        vocabulary=vocabulary,
        hidden=hidden,
        layers=layers,
        query=attention.query,
        keys=attention.keys,
        cached=attention.cached,
        wide=feed.met // layers,
        parameters=shell + layers * each + feed.all,
        active=shell + layers * each + feed.met * gates * hidden,
        largest=max(embedding, hidden * wide),
        linear=(*((*one, layers) for one in attention.linear), *feed.linear),
        positions=_number(config.get("max_position_embeddings")),
        exact=kind in ("llama", "qwen2", "qwen3", "mistral", "deepseek_v3"),
    )


@dataclass(frozen=True)
class _Attention:
    """One layer's attention."""

    weights: int
    query: int
    keys: int
    cached: int
    linear: tuple[tuple[str, int, int], ...]


def _plain(config: Config, hidden: int, heads: int) -> _Attention:
    kind = config.get("model_type")
    width = _number(config.get("head_dim")) or hidden // heads
    groups = _number(config.get("num_key_value_heads")) or heads
    query, keys = heads * width, groups * width
    linear = (hidden, query), (hidden, keys), (hidden, keys), (query, hidden)
    weights = sum(into * out for into, out in linear)
    if kind == "qwen2" or config.get("attention_bias"):
        weights += query + 2 * keys + (hidden if kind != "qwen2" else 0)
    if kind == "qwen3":
        weights += 2 * width
    return _Attention(weights, query, keys, 2 * keys, tuple(("attention", into, out) for into, out in linear))


def _latent(config: Config, hidden: int, heads: int) -> _Attention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434 §2.1): a token keeps one latent and one rotary key."""
    nope, rope = int(config["qk_nope_head_dim"]), int(config["qk_rope_head_dim"])
    value, latent = int(config["v_head_dim"]), int(config["kv_lora_rank"])
    inner = _number(config.get("q_lora_rank"))
    query = heads * (nope + rope)
    linear = [(hidden, latent + rope), (latent, heads * (nope + value)), (heads * value, hidden)]
    linear += [(hidden, inner), (inner, query)] if inner else [(hidden, query)]
    weights = sum(into * out for into, out in linear) + latent + (inner or 0)
    return _Attention(weights, query, query, latent + rope, tuple(("attention", into, out) for into, out in linear))


@dataclass(frozen=True)
class _Feed:
    """All layers' feed-forward parts."""

    all: int
    """Weights, routers among them."""
    met: int
    """Widths that one token meets, summed over the layers."""
    linear: tuple[tuple[str, int, int, int], ...]
    """As in `Shapes`."""

    @classmethod
    def of(cls, config: Config, hidden: int, wide: int, layers: int, gates: int) -> _Feed:
        experts = _figure(config, "experts")
        if experts <= 1:
            return cls(layers * gates * hidden * wide, layers * wide, _gated(hidden, wide, gates, layers))
        narrow = _number(config.get("moe_intermediate_size")) or wide
        chosen = _number(config.get("num_experts_per_tok")) or 2
        shared = _number(config.get("n_shared_experts")) * narrow
        shared += _number(config.get("shared_expert_intermediate_size"))
        dense = _dense(config, layers)
        routed = layers - dense
        router = experts * hidden  # what balances it (DeepSeek-V3) is a buffer, and no weight
        weights = dense * gates * hidden * wide + routed * (gates * hidden * (experts * narrow + shared) + router)
        linear = _gated(hidden, wide, gates, dense) + _gated(hidden, shared, gates, routed if shared else 0)
        inner = ("experts", hidden, (gates - 1) * narrow, routed * experts)
        linear += (inner, ("experts", narrow, hidden, routed * experts))
        return cls(weights, dense * wide + routed * (chosen * narrow + shared), linear)


def _gated(hidden: int, wide: int, gates: int, times: int) -> tuple[tuple[str, int, int, int], ...]:
    """The linear layers of so many feed-forward layers."""
    return (*(("mlp", hidden, wide, times),) * (gates - 1), ("mlp", wide, hidden, times)) if times else ()


def _dense(config: Config, layers: int) -> int:
    """How many layers of a mixture have no experts: the first ones (DeepSeek), or named and skipped ones (Qwen)."""
    named, step = config.get("mlp_only_layers"), _number(config.get("decoder_sparse_step")) or 1
    named = named if isinstance(named, list) else []
    plain = sum(layer in named or (layer + 1) % step > 0 for layer in range(layers))
    return min(layers, max(plain, _number(config.get("first_k_dense_replace"))))


def _figure(config: Config, name: str) -> int:
    return next((found for key in _NAMES[name] if (found := _number(config.get(key)))), 0)


def _number(value: Any) -> int:
    """A positive whole number, 0 for anything else: a config is text from outside."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

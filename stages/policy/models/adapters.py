"""A policy whose weights stay as they are beside low-rank matrices that are trained: LoRA (arXiv 2106.09685) by peft.

A `Policy` and what a recipe asks for enter; an `AdaptedPolicy` leaves that every trainer holds like any other. Its
module is the model itself with peft's layers where its own stood, so that sampling, shared prefixes and trainers see no
wrapper. What is kept, measured and restored is what is trained; copies share what is not. In the end the adapter is
merged, logits before and after are compared, and a plain model is written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from stages.core.errors import InputError, StageError
from stages.core.recipe.adaptation import Adaptation
from stages.policy.models import folders, layers, targets
from stages.policy.models.weights import Policy
from stages.policy.ranks import sharding
from stages.policy.seeding import derive

MERGED = 1e-3
"""Most that logits may change by merging, of the largest of them: float32 makes 1e-6 to 1e-5 of it."""
PROBE_TOKENS = 64
"""Tokens of each of the two rows on which logits before and after a merge are compared."""
WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
"""What peft calls the files of an adapter."""


def adapted(
    policy: Policy,
    asked: Adaptation,
    *,
    seed: int,
    tell: Callable[[str], None],
    again: Callable[[], Any],
    heads: tuple[str, ...] = (),
) -> Policy:
    """Return a policy with an adapter of random A and zero B, drawn from `seed`, on its module, where one is asked for.

    All else is frozen. `tell` hears what is adapted and what is not. `again` loads the module anew, as it was; `heads`
    are layers that are trained whole beside the adapter. Raises InputError for targets that match nothing and for a
    rank above a layer's sides, RecipeError where the device holds no weights in 4 bits.
    """
    if not asked.rank:
        return policy
    module = policy.module
    where = targets.chosen(module, asked.words)
    said = targets.told(module, where)
    _refuse_rank(module, where, asked)
    parameters = policy.parameters
    module.requires_grad_(False)
    if asked.quantize == "4bit":
        from stages.policy.models.quantised import quantise

        said += f"; {quantise(module)}"
    config = LoraConfig(r=asked.rank, lora_alpha=asked.alpha, lora_dropout=asked.dropout)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "adapter") % 2**63)
        layers.attach(module, where, config)
    made = AdaptedPolicy(module, policy.tokenizer, policy.contract, asked=asked, where=where, heads=heads, again=again)
    share = made.trained_numbers / parameters
    tell(f"an adapter of rank {asked.rank}, {made.trained_numbers:,} numbers ({share:.2%} of the model's), {said}")
    return made


def _refuse_rank(module: Any, where: targets.Chosen, asked: Adaptation) -> None:
    """Raise InputError for a rank above the shorter side of a layer, where a product of two matrices saves nothing."""
    sides = {name: tuple(module.get_submodule(name).weight.shape) for name in where.linear}
    for name, tensors in where.fused.items():
        sides |= {f"{name}.{one}": tuple(getattr(module.get_submodule(name), one).shape[1:]) for one in tensors}
    if not sides:
        return
    narrow = min(sides, key=lambda name: min(sides[name]))
    most = min(sides[narrow])
    if asked.rank > most:
        what = f"`adapter.rank` {asked.rank} is above {most}, the shorter side of `{narrow}`"
        raise InputError(what, hint=f"lower it: `adapter.rank={most}` at most, or leave that layer out of the targets")


def load(
    folder: Path,
    tokenizer: Any,
    contract: Any,
    asked: Adaptation,
    *,
    device: str,
    seed: int,
    tell: Callable[[str], None],
) -> Policy:
    """Return the policy in a folder on a device, with the adapter that is asked for. Raises as `adapted`."""
    policy = Policy.load(folder, tokenizer, contract, device=device)
    return adapted(policy, asked, seed=seed, tell=tell, again=lambda: folders.load_model(folder))


class AdaptedPolicy(Policy):
    """A policy over frozen weights; what is trained is the adapter, and heads that are named."""

    adapted = True

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        contract: Any,
        *,
        asked: Adaptation,
        where: targets.Chosen,
        heads: tuple[str, ...] = (),
        again: Callable[[], Any] = lambda: None,
    ) -> None:
        super().__init__(module, tokenizer, contract)
        self.asked, self.where, self.heads, self.again = asked, where, heads, again
        self.ready()

    # ---- what is trained ----

    def ready(self) -> None:
        """Freeze all but what is trained, for a layer that came since (a trimmed embedding) would be trained too; what
        is trained is float32, however the base is held."""
        for name, weight in self.module.named_parameters():
            weight.requires_grad_(self._trains(name))
            if weight.requires_grad:
                weight.data = weight.data.float()

    def train_whole(self, *heads: str) -> None:
        """Train the adapter, and these layers whole."""
        self.heads = heads
        self.ready()

    def _trains(self, name: str) -> bool:
        return ".lora_" in name or any(name.startswith(f"{head}.") for head in self.heads)

    def trained(self) -> dict[str, Tensor]:
        """What is trained, by its name in the module."""
        return {name: weight for name, weight in self.module.named_parameters() if self._trains(name)}

    @property
    def trained_numbers(self) -> int:
        """How many numbers that is."""
        return sum(weight.numel() for weight in self.trained().values())

    @property
    def update_flops(self) -> int:
        """2 a parameter forwards and 2 backwards; 2 more where the gradient of a weight is taken."""
        return 4 * self.parameters + 2 * self.trained_numbers

    def layers(self) -> Iterator[tuple[str, Any]]:
        """Yield each adapted weight by the name that it has in the model without an adapter, and peft's layer."""
        for path, layer in self.module.named_modules():
            if isinstance(layer, LoraLayer):
                own = layer.parameter_name if isinstance(layer, ParamWrapper) else "weight"
                yield f"{path.replace(layers.BASE, '')}.{own}", layer

    # ---- copies ----

    def copy(self) -> AdaptedPolicy:
        """Return the same policy with what is trained of its own; what is frozen is shared."""
        if "forward" in vars(self.module):
            raise StageError("a model was copied after a trainer took hold of it, so the copy would be no copy")
        frozen = [one for one in self.module.parameters() if not one.requires_grad] + list(self.module.buffers())
        shared = [*frozen, *(one.quant_state for one in frozen if hasattr(one, "quant_state"))]
        made = copy.copy(self)
        made.module = copy.deepcopy(self.module, {id(one): one for one in shared})
        made.ready()
        return made

    def reference(self) -> AdaptedPolicy:
        """Return the base: the adapter off, until `renew` or `restore` gives it one that stays frozen."""
        made = self.copy()
        made.module.eval().requires_grad_(False)
        made._switch(on=False)
        return made

    def renew(self, other: Policy) -> None:
        """Take over what `other` trains. Raises StageError when the two do not train the same."""
        if not isinstance(other, AdaptedPolicy):
            raise StageError("an adapter can only be renewed by an adapter")
        self._take(other.trained(), "the other policy")

    # ---- weights ----

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each weight as it is with the adapter merged, under the name it has in a checkpoint of the base."""
        yield from revert_weight_conversion(self.module, self._merged()).items()

    def largest_change(self, folder: Path) -> float:
        """Return the largest number that the adapter adds to a weight: the base itself is as it was."""
        return max((layers.delta(layer).abs().max().item() for _, layer in self.layers()), default=0.0)

    @torch.no_grad()
    def _merged(self) -> dict[str, Tensor]:
        """All weights by their names in the module without an adapter, those that are adapted merged."""
        own, parts = dict(self.layers()), self.module.named_modules()
        packed = {f"{name.replace(layers.BASE, '')}.weight": one for name, one in parts if layers.packed(one)}
        found: dict[str, Tensor] = {}
        for name, weight in self.module.state_dict().items():
            plain = name.replace(layers.BASE, "")
            if ".lora_" in name or ".weight." in plain:
                continue  # the adapter's own, and how 4 bits are packed
            if plain in own:
                found[plain] = layers.base_weight(own[plain]) + layers.delta(own[plain])
            else:
                found[plain] = layers.unpacked(packed[plain]) if plain in packed else weight
        return found

    # ---- files ----

    def snapshot(self, file: Path) -> None:
        """Write what is trained into a safetensors file that `restore` reads."""
        sharding.write(self.trained(), file)

    def restore(self, file: Path) -> None:
        """Load a snapshot; raises StageError when something is missing or strange."""
        self._take(load_file(str(file)), file.name)

    def initial(self, folder: Path) -> None:
        """Write the base as a model folder, for an engine that is renewed before it is asked."""
        taken = self._strip()
        folders.save_model(self.module, self.tokenizer, self.contract, folder)
        for name, layer in taken.items():
            layers.put(self.module, name, layer)

    def save(self, folder: Path, dtype: str) -> dict[str, Any]:
        """Merge the adapter, write a model folder as `Policy.save` does, and return figures of both; where the adapter
        alone is sealed, write that, and merge in memory to learn the same.

        `merge_difference` is the largest of logits that merging made, `held_difference` what fewer bits had made of
        the base, `stored_difference` what a coarser `dtype` makes of it all. Raises StageError where merging changed
        more than rounding does.
        """
        figures = self.figures()
        if self.asked.kept:
            self._write(folder, dtype)
        unmerged = self._logits()
        if self._held_otherwise():
            self._read_base()
            figures["held_difference"] = _apart(unmerged, self._logits())
            unmerged = self._logits()
        for _, layer in self.layers():
            layers.add(layer)
        self._strip()
        figures["merge_difference"] = _apart(unmerged, self._logits())
        if not figures["merge_difference"] <= MERGED * max(1.0, unmerged.abs().max().item()):
            raise StageError(
                f"merging the adapter changes logits by {figures['merge_difference']:.3g}, which is no rounding: this "
                f"{type(self.module).__name__} uses its weights otherwise than its layers do",
                hint="choose other layers: `adapter.targets=…`",
            )
        if self.asked.kept:
            folders.cast(self.module, dtype)
        else:
            super().save(folder, dtype)
        if dtype != "float32":
            figures["stored_difference"] = _apart(unmerged, self._logits())
        return {"adapter": figures}

    def figures(self) -> dict[str, Any]:
        """What the record says of the adapter: rank, numbers, layers by their last names, experts, routers."""
        parts = targets.sorted_parts(self.module)
        return {
            "rank": self.asked.rank,
            "alpha": self.asked.alpha,
            "parameters": self.trained_numbers,
            "largest_change": self.largest_change(Path()),
            "layers": len(self.where.linear),
            "expert_layers": len(self.where.fused),
            "routers": len(set(self.where.linear) & set(parts.routers)),
        }

    # ---- inside ----

    def _write(self, folder: Path, dtype: str) -> None:
        """Write the adapter alone: matrices and settings in peft's format, and the config, tokenizer and contract of
        the whole model, whose weights would be of `dtype`."""
        folder.mkdir(parents=True, exist_ok=True)
        held = {
            f"base_model.model.{name.replace(f'.{layers.NAME}.', '.')}": one for name, one in self.trained().items()
        }
        save_file({name: one.detach().cpu().contiguous() for name, one in held.items()}, str(folder / WEIGHTS))
        fused = [f"{name}.{tensor}" for name, tensors in self.where.fused.items() for tensor in tensors]
        LoraConfig(
            r=self.asked.rank,
            lora_alpha=self.asked.alpha,  # type: ignore[arg-type]
            lora_dropout=self.asked.dropout,
            target_modules=list(self.where.linear),
            target_parameters=fused or None,
            task_type="CAUSAL_LM",
            inference_mode=True,
        ).save_pretrained(str(folder))
        self.module.config.dtype = folders.torch_dtype(dtype)
        self.module.config.architectures = [type(self.module).__name__]
        folders.save_model(self.module, self.tokenizer, self.contract, folder, weights=False)

    @torch.no_grad()
    def _take(self, given: dict[str, Tensor], whose: str) -> None:
        mine = self.trained()
        odd = sorted(set(mine) ^ set(given)) or [name for name in mine if mine[name].shape != given[name].shape]
        if odd:
            raise StageError(
                f"{whose} does not hold the adapter of this model (it differs in {odd[0]})",
                hint="remove the unfinished work and start afresh: `r1 artifacts prune`",
            )
        for name, weight in mine.items():
            sharding.put(weight, given[name])
        self._switch(on=True)

    def _switch(self, *, on: bool) -> None:
        for layer in self.module.modules():
            if isinstance(layer, LoraLayer) and layer.disable_adapters == on:
                flags = {one: one.requires_grad for one in layer.parameters()}
                layer.enable_adapters(on)
                for one, flag in flags.items():
                    one.requires_grad_(flag)

    def _strip(self) -> dict[str, Any]:
        """Put the model's own layers back in their places; returns what stood there, by name."""
        taken = {path: one for path, one in self.module.named_modules() if isinstance(one, LoraLayer)}
        taken = {path: one for path, one in taken.items() if not path.endswith(layers.BASE)}
        for path, layer in taken.items():
            base = layer.get_base_layer()
            layers.put(self.module, path, layers.plain(base) if layers.packed(base) else base)
        return taken

    def _held_otherwise(self) -> bool:
        """Whether the base is held in fewer bits than the 32 it is read in."""
        frozen = (weight for name, weight in self.module.named_parameters() if not self._trains(name))
        return any(weight.dtype != torch.float32 for weight in frozen)

    def _read_base(self) -> None:
        """Put the base's weights as they are read in the place of those that were held in fewer bits."""
        fresh = self.again()
        for path, layer in list(self.module.named_modules()):
            if layers.packed(layer):
                own = fresh.get_submodule(path.replace(layers.BASE, ""))
                layers.put(self.module, path, own.to(self.device).requires_grad_(False))
        for name, weight in self.module.named_parameters():
            if not self._trains(name) and weight.dtype != torch.float32:
                weight.data = fresh.get_parameter(name.replace(layers.BASE, "")).data.to(weight.device)

    @torch.no_grad()
    def _logits(self) -> Tensor:
        """Logits of two short rows in the weights' own number type, whatever a trainer has put around the module."""
        rows = self.module.get_input_embeddings().weight.shape[0]
        length = min(PROBE_TOKENS, self.contract.max_positions)
        said = (self.tokenizer(folders.PROBE)["input_ids"] * PROBE_TOKENS)[:length]
        spread = [place * 7919 for place in range(length)]
        ids = torch.tensor([said, spread], device=self.device) % rows
        training = self.module.training
        self.module.eval()
        found: Tensor = type(self.module).forward(self.module, input_ids=ids, use_cache=False).logits
        self.module.train(training)
        return found.float().cpu()


def _apart(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()

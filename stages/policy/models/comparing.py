"""What a model's files hold, compared with what the architecture of its config needs, before a byte is copied.

The headers of the weights and the config enter; the empty model that they fill exactly leaves, or one sentence that
names what is missing, left over or of another shape. transformers itself fills the empty model on torch's meta device,
so its rules decide: old names, joined experts, the prefix of a base model, tied weights, tensors ignored by design.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.initialization import no_init_weights

from stages.core.errors import InputError
from stages.policy.models.reading import Stored, listed, outside

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_PREFIXES = ("module.", "_orig_mod.", "base_model.model.", "model.module.", "_fsdp_wrapped_module.")
_ADAPTER = re.compile(r"\.(lora_[AB]|lora_embedding_[AB]|base_layer|original_module|modules_to_save)\.")


def compared(folder: Path, config: Any, tensors: Mapping[str, Stored], *, judge: bool = False) -> Any:
    """The model of `config` on the meta device (shapes without numbers), once it is sure that `tensors` fill it.

    `judge` asks for the form with a score instead of a head over the vocabulary. Raises InputError where
    `from_pretrained` would fail, or would make up, leave out or fail to understand a weight.
    """
    _check_depth(folder, config, tensors)
    auto = AutoModelForSequenceClassification if judge else AutoModelForCausalLM
    what = f"transformers cannot build the model of `{folder / 'config.json'}`"
    with outside(what, "mend its config.json, or fetch it again"), torch.device("meta"), no_init_weights():
        model = auto.from_config(config)
    found = _filled(folder, model, tensors)
    whole = {name: tensor for name, tensor in tensors.items() if tensor.floating}
    odd = sorted(name for name in set(tensors) - set(whole) if tensors[name].dtype != "BOOL")  # that one is a mask
    if odd and not any(found.values()):
        needed = _filled(folder, model, whole)["missing"]
        own = model.state_dict()
        if any(own[name].is_floating_point() for name in needed):
            _refuse_stored(folder, odd[0], tensors[odd[0]].dtype)
    elif odd and any(found.values()):
        _refuse_stored(folder, odd[0], tensors[odd[0]].dtype)
    _refuse(folder, type(model).__name__, config, tensors, found)
    return model


def _check_depth(folder: Path, config: Any, tensors: Mapping[str, Stored]) -> None:
    """Raise InputError before a config that asks for more layers than there are tensors keeps the machine busy."""
    for part in {id(config): config, id(config.get_text_config()): config.get_text_config()}.values():
        layers = getattr(part, "num_hidden_layers", 0)
        if isinstance(layers, int) and layers > len(tensors):
            what = f"config.json of `{folder}` asks for {layers} layers, and its weights are {len(tensors)} tensors"
            raise InputError(what, hint="fetch config.json and the weights of the same model")


def _filled(folder: Path, model: Any, tensors: Mapping[str, Stored]) -> dict[str, list[str]]:
    """Let transformers fill an empty model with empty tensors: names missing, unexpected, and of another shape."""
    state = {
        name: torch.empty(one.shape, dtype=_TYPES.get(one.dtype, torch.int8), device="meta")
        for name, one in tensors.items()
    }
    joined = _odd_one_out(tensors)
    hint = f"look at {joined}: its shape is not that of its like" if joined else "save the model again"
    with outside(f"the weights of `{folder}` do not fit the architecture of its config.json", hint):
        _, told = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=state,
            device_map={"": "meta"},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    shapes = [f"{name} is {_shape(held)} instead of {_shape(wanted)}" for name, held, wanted in told["mismatched_keys"]]
    return {
        "missing": sorted(told["missing_keys"]),
        "unexpected": sorted(told["unexpected_keys"]),
        "mismatched": sorted(shapes),
    }


def _odd_one_out(tensors: Mapping[str, Stored]) -> str:
    """A tensor whose shape is not that of most tensors called the same but for their numbers, or nothing."""
    like: dict[str, dict[tuple[int, ...], list[str]]] = {}
    for name, tensor in tensors.items():
        like.setdefault(re.sub(r"\d+", "*", name), {}).setdefault(tensor.shape, []).append(name)
    mixed = [group for group in like.values() if len(group) > 1]
    return min((names for group in mixed for names in group.values()), key=len)[0] if mixed else ""


def _refuse(
    folder: Path, architecture: str, config: Any, tensors: Mapping[str, Stored], found: Mapping[str, list[str]]
) -> None:
    missing, unexpected, mismatched = found["missing"], found["unexpected"], found["mismatched"]
    if not (missing or unexpected or mismatched):
        return
    if any(_ADAPTER.search(name) for name in tensors):
        hint = "merge the adapter and save again: `model.merge_and_unload().save_pretrained('FOLDER')`"
        raise InputError(f"the weights of `{folder}` hold an adapter beside its base, unmerged", hint=hint)
    prefix = _prefix(tensors)
    if prefix:
        what = f"the tensors of `{folder}` carry the prefix `{prefix}` of a training wrapper"
        raise InputError(what, hint=f"take it off: `{_strip(folder, prefix)}")
    if mismatched:
        what = f"the weights of `{folder}` have other shapes than its config.json: {listed(mismatched)}"
        hint = "fetch config.json and the weights of the same model"
        if "embed" in mismatched[0] or "lm_head" in mismatched[0]:
            hint = "set vocab_size in config.json to the rows of the embedding, or save again after resizing"
        raise InputError(what, hint=hint)
    said = [f"lack {listed(missing)}"] * bool(missing)
    said += [f"hold {listed(unexpected)}, which it does not know"] * bool(unexpected)
    hint = f"save the whole model again as {architecture}; transformers would make up or drop these weights"
    what = f"the weights of `{folder}` are not those of a {architecture}: they {' and '.join(said)}"
    raise InputError(what, hint=hint)


def _refuse_stored(folder: Path, name: str, dtype: str) -> None:
    what = f"`{folder}` holds quantised weights ({name} is stored as {dtype}), which cannot be trained"
    raise InputError(what, hint=UNQUANTISED)


UNQUANTISED = "import the unquantised model it was made from"
"""The way out for a folder of quantised weights."""


def _prefix(tensors: Iterable[str]) -> str:
    """What wrappers of training put before the names of most tensors, as one text, or nothing."""
    names, taken = list(tensors), ""
    while True:
        for prefix in _PREFIXES:
            if sum(name.startswith(taken + prefix) for name in names) > len(names) / 2:
                taken += prefix
                break
        else:
            return taken


def _strip(folder: Path, prefix: str) -> str:
    """A command that takes the prefix off in a copy."""
    return (
        'python -c "import glob, shutil; from safetensors.torch import load_file as load, save_file as save; '
        f"to = shutil.copytree('{folder}', '{folder}-bare'); "
        f"[save({{k.removeprefix('{prefix}'): v for k, v in load(f).items()}}, f, {{'format': 'pt'}}) "
        f"for f in glob.glob(to + '/*.safetensors')]\"`, then import `{folder}-bare`"
    )


def _shape(sizes: Iterable[int]) -> str:
    return "×".join(map(str, sizes)) or "one number"

"""Which files of a folder are the model, and whether it is one that can be trained here at all.

A folder enters; its weights' files leave, chosen as transformers chooses, with the names of what was left aside.
Pickles, adapters, quantised weights and models that write no text are refused here, from names and config alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from stages.core.errors import InputError
from stages.policy.models import families
from stages.policy.models.comparing import UNQUANTISED
from stages.policy.models.reading import outside, read_json

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of weights that can run code when they are read."""
_CONVERT = (
    'convert them where you trust them: `python -c "from transformers import AutoModelForCausalLM as M; '
    "M.from_pretrained('FOLDER').save_pretrained('FOLDER-safe')\"`"
)
_OTHER_KINDS = (
    "Classification",
    "QuestionAnswering",
    "MaskedLM",
    "PreTraining",
    "MultipleChoice",
    "RewardModel",
    "TokenClassification",
    "EncoderModel",
)
"""What the name of an architecture holds when it is made for something other than writing text."""
_UNPACK = (
    'unpack it once: `python -c "from transformers import AutoModelForCausalLM as M, {config} as C; '
    "M.from_pretrained('{folder}', quantization_config=C(dequantize=True), dtype='bfloat16')"
    ".save_pretrained('{folder}-bf16', save_original_format=False)\"`, and copy the tokenizer's files there"
)
_CAN_UNPACK = {"mxfp4": "Mxfp4Config", "fp8": "FineGrainedFP8Config"}
"""Quantisations that transformers undoes on loading -> the config that asks for it."""


def gguf_in(path: Path) -> Path | None:
    """The one GGUF that `path` is or holds; None for a folder with safetensors. Raises InputError otherwise."""
    if path.is_file():
        if path.suffix == ".gguf":
            return path
        what = "pickled weights, which can run code when read" if path.suffix in PICKLES else "no model"
        hint = _CONVERT if path.suffix in PICKLES else "give its folder, or a .gguf file"
        raise InputError(f"`{path}` is {what}", hint=hint)
    with outside(f"`{path}` cannot be read", "give a folder that you may read"):
        files = sorted(file for file in path.iterdir() if file.is_file())
    refuse_adapter(path)
    if any(file.suffix == ".safetensors" for file in files):
        return None
    found = [file for file in files if file.suffix == ".gguf"]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise InputError(f"`{path}` holds {len(found)} GGUF files ({names})", hint="name the one to import")
    if any(file.suffix in PICKLES for file in files):
        raise InputError(f"`{path}` holds pickled weights only, which can run code when read", hint=_CONVERT)
    raise InputError(f"`{path}` holds no safetensors and no GGUF", hint="give the folder that holds the weights")


def refuse_adapter(folder: Path) -> None:
    """Raise InputError for a folder with an adapter, alone or beside a model, which transformers would attach."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        return
    base = read_json(file).get("base_model_name_or_path")
    base = base if isinstance(base, str) and base else "BASE"
    merge = (
        'python -c "from peft import AutoPeftModelForCausalLM as M; '
        f"M.from_pretrained('{folder}').merge_and_unload().save_pretrained('{folder}-merged')\""
    )
    if (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file():
        what = f"`{folder}` holds a model and, beside it, an adapter of {base} that transformers would attach"
        hint = "remove adapter_config.json and adapter_model.safetensors if the model is what you want; "
        raise InputError(what, hint=f"{hint}else merge: `{merge}`")
    what = f"`{folder}` holds an adapter, not a model: its base is {base}"
    raise InputError(what, hint=f"import it over its base: `r1 artifacts import {folder} --base ADDRESS`")


def refuse_other_kinds(folder: Path, config: Any, raw: dict[str, Any], *, judge: bool = False) -> None:
    """Raise InputError when a config is of no causal language model."""
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or getattr(config, "is_encoder_decoder", False):
        what = f"`{folder}` is a {config.model_type}, which is no causal language model"
        raise InputError(what, hint="import a decoder, such as a Qwen or Llama model")
    if fault := families.refusal(config):
        raise InputError(
            f"`{folder}` is of no use here: {fault}", hint="import a decoder, such as a Qwen or Llama model"
        )
    named = raw.get("architectures")
    named = [one for one in named if isinstance(one, str)] if isinstance(named, list) else []
    known = _writers()
    if named and not judge and not known.intersection(named) and any(word in named[0] for word in _OTHER_KINDS):
        what = f"`{folder}` is a {named[0]}, which scores or labels text and writes none"
        raise InputError(what, hint="import the language model it was trained from")


def refuse_quantised(folder: Path, raw: dict[str, Any]) -> None:
    """Raise InputError for a config.json, as it is written, that says in any form that its weights are quantised."""
    for part in (raw, raw.get("text_config")):
        given = part.get("quantization_config", part.get("compression_config")) if isinstance(part, dict) else None
        if given is not None:
            method = given.get("quant_method") if isinstance(given, dict) else None
            _refuse_quantised(folder, str(method or "a method of its own"))


def _writers() -> set[str]:
    """Names of all classes that transformers builds for a causal language model."""
    found: set[str] = set()
    for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        found |= {names} if isinstance(names, str) else set(names)
    return found


def _refuse_quantised(folder: Path, method: str) -> None:
    hint = UNQUANTISED
    if method in _CAN_UNPACK:
        hint = _UNPACK.replace("{config}", _CAN_UNPACK[method]).replace("{folder}", str(folder))
    hint += "; if its weights are unpacked already, remove quantization_config from config.json"
    raise InputError(f"`{folder}` is quantised ({method}), which cannot be trained", hint=hint)


def weight_files(folder: Path, raw: dict[str, Any]) -> tuple[list[Path], list[str]]:
    """The safetensors that from_pretrained reads, and the names of those that it leaves aside.

    In transformers' order: the file that config.json names, model.safetensors, the shards of the index. Raises
    InputError when none of these is there whole.
    """
    if raw.get("transformers_weights"):
        what = f"config.json of `{folder}` names its weights itself (`transformers_weights`)"
        raise InputError(what, hint="rename them to model.safetensors and remove that line")
    there = sorted(file for file in folder.glob("*.safetensors") if file.is_file())
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        chosen = [folder / "model.safetensors"]
    elif index.is_file():
        chosen = _shards(folder, index)
    else:
        found = ", ".join(file.name for file in there) or "none"
        hint = "rename the weights to model.safetensors, or fetch the index of the shards"
        raise InputError(f"`{folder}` holds no model.safetensors (found {found})", hint=hint)
    return chosen, [file.name for file in there if file not in chosen]


def _shards(folder: Path, index: Path) -> list[Path]:
    held = read_json(index).get("weight_map")
    if not isinstance(held, dict) or not held or not all(isinstance(name, str) for name in held.values()):
        raise InputError(f"`{index}` names no shards", hint="fetch the folder again")
    names = sorted(set(held.values()))
    if any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise InputError(f"`{index}` names files outside its folder or of another kind", hint="fetch the folder again")
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise InputError(f"`{folder}` lacks {absent[0]}, which its index names", hint="fetch the folder again")
    return [folder / name for name in names]

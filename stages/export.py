"""A model in, what the world can run out: a plain folder or a GGUF, checked by being read back.

DeepSeek released R1 and six students as weights that others load (DeepSeek-R1, arXiv 2501.12948v2, section 1).
What leaves is what was trained: chat template, end tokens and padding are the contract's, an adapter is merged into its
base, and what another type of number loses is measured and written down. Where a release goes (a folder, the hub) and
its model card are `r1 export`'s to say.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, Literal

from stages.core.artifact import Artifact, Draft, Model, Release
from stages.core.errors import InputError
from stages.core.recipe.ranges import check, idle

if TYPE_CHECKING:
    from pathlib import Path

    from stages.core.run.runner import Work

VERSION = 1
RELEASED = (
    *("*.gguf", "model*.safetensors", "model.safetensors.index.json", "config.json", "generation_config.json"),
    *("tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "added_tokens.json", "chat_template.jinja"),
    "contract.json",
)
"""Names of files that others need; what a sealed model has beside them stays."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    format: Literal["folder", "gguf"] = "folder"
    """`folder`: config, safetensors and tokenizer, as transformers and vLLM load them. `gguf`: one file for llama.cpp
    and what is built on it, of Llama, Qwen2 and Qwen3 shapes.
    """
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored"
    """Number type of a folder's weights; `stored` leaves them as they are, byte for byte."""
    quantization: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] = "f16"
    """Number type of a GGUF's matrices, in llama.cpp's words; vectors stay float32."""

    def __post_init__(self) -> None:
        unread = ("quantization",) if self.format == "folder" else ("dtype",)
        check(self, "export", idle(self, f"under format {self.format}", *unread))


@dataclass(frozen=True, kw_only=True)
class Inputs:
    model: Model
    """What is released; an adapter with its base."""


def kind_of(_: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Release


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Write the release under `work.path`; returns what it holds and what it lost.

    Raises InputError for a judge, and for what a GGUF cannot hold; StageError where a GGUF is read back as another
    model.
    """
    if (inputs.model.path / "judge.json").is_file():
        raise InputError(f"`{inputs.model.address}` is a judge and writes nothing", hint="export the model it judges")
    figures = _folder(recipe, inputs.model, work) if recipe.format == "folder" else _gguf(recipe, inputs.model, work)
    size = sum(file.stat().st_size for file in released(work.path))
    return Draft(Release, {"format": recipe.format, **figures, "bytes": size})


def _folder(recipe: Recipe, model: Model, work: Work) -> dict[str, Any]:
    from stages.policy.models import folders
    from stages.policy.release import checking

    if recipe.dtype == "stored":
        for file in released(model.path):
            shutil.copyfile(file, work.path / file.name)
        return {"dtype": str(folders.read_config(model.path).dtype).removeprefix("torch.")}
    tokenizer, contract = folders.load_tokenizer(model.path), model.contract
    ids = checking.probe_ids(tokenizer, contract)
    loaded = folders.load_model(model.path)
    whole_TV = checking.logits_of(loaded, ids)
    folders.save_model(folders.cast(loaded, recipe.dtype), tokenizer, contract, work.path)
    again_TV = checking.logits_of(folders.load_model(work.path), ids)
    return {"dtype": recipe.dtype, **checking.moved(whole_TV, again_TV)}


def _gguf(recipe: Recipe, model: Model, work: Work) -> dict[str, Any]:
    from stages.policy.models import folders
    from stages.policy.release import checking, packing

    tokenizer, contract = folders.load_tokenizer(model.path), model.contract
    packing.refuse_unwritable(folders.read_config(model.path), tokenizer, contract)
    loaded = folders.load_model(model.path)
    ids = checking.probe_ids(tokenizer, contract)
    whole_TV = checking.logits_of(loaded, ids)
    file = work.path / f"{model.name}-{recipe.quantization}.gguf"
    facts = {"name": model.name, "template": _template(model.path)}
    counted = packing.write(loaded, tokenizer, contract, file, kind=recipe.quantization, facts=facts)
    held_TV = checking.logits_of(loaded, ids)
    del loaded
    work.note(f"{file.name} is written and now read back, by transformers")
    found = checking.read_back(file, tokenizer, contract, whole_TV=whole_TV, held_TV=held_TV)
    if counted["kept"]:
        work.note(f"{counted['kept']} matrices do not divide into blocks of {recipe.quantization} and are f16")
    return {"quantization": recipe.quantization, **counted, **found}


def released(folder: Path) -> list[Path]:
    """The files of a model's folder that others need, in order."""
    known = [file for file in sorted(folder.iterdir()) if any(fnmatch(file.name, name) for name in RELEASED)]
    return [file for file in known if file.is_file()]


def _template(folder: Path) -> str:
    file = folder / "chat_template.jinja"
    return file.read_text(encoding="utf-8") if file.is_file() else ""

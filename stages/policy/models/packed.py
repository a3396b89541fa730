"""A GGUF file, the format of llama.cpp, becomes a plain model folder: dequantised, whole, with every end it names.

A .gguf file enters; config, safetensors, tokenizer and contract.json leave. transformers does the reading; what it
forgets of such a file (ends of turns, digits that stand alone, weights that are not there) is mended or refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

from stages.core.errors import InputError
from stages.core.storage import disk
from stages.policy.models.chat import turn_end
from stages.policy.models.folders import build_contract, cast, save_model
from stages.policy.models.reading import outside, read_tokenizer, unlike
from stages.policy.models.special import fit_vocabulary, settle_ends, settle_special

_ENDS = ("eos", "eot", "eom")
"""What a file may name a token for: the end of a text, of a turn, of a message."""
_INSTEAD = "import its safetensors instead"


def import_gguf(
    file: Path, folder: Path, pad_token: str | None, told: Callable[[Path, Path | None, str], None] | None
) -> dict[str, Any]:
    """Write the model of a GGUF into `folder` and return what was read; see `import_model`.

    Raises InputError when transformers cannot read it, or when it lacks a weight or holds an unknown one.
    """
    with _read_once(file) as whole:
        fields = whole.fields
        _refuse_parts(file, fields)
        _refuse_stretched(file, whole)
        loaded = _loaded(file)
        tokenizer = read_tokenizer(file.parent, gguf_file=file.name)
    for name, weight in loaded.named_parameters():
        if not weight.detach().sum().isfinite() and not weight.detach().isfinite().all():
            raise InputError(f"the weights of `{file}` hold NaN or an infinity in {name}", hint=_INSTEAD)
    rows = int(loaded.get_input_embeddings().weight.shape[0])
    if _value(fields, "tokenizer.ggml.pre") == "smollm":
        # transformers keeps the byte level of this pre-tokenizer and forgets that it splits numbers into digits first.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    config = loaded.config.get_text_config()
    tokenizer.clean_up_tokenization_spaces = False  # a WordPiece habit, and the reader's default
    if isinstance(config.bos_token_id, int) and 0 <= config.bos_token_id < len(tokenizer):
        tokenizer.bos_token = tokenizer.convert_ids_to_tokens(config.bos_token_id)
    notes = fit_vocabulary(tokenizer, rows)
    # transformers 5.17 names the bos token as eos in Llama tokenizers from GGUF, and a config has its class's default
    # where the file names no end.
    said = {f"{word} of the file": _value(fields, f"tokenizer.ggml.{word}_token_id") for word in _ENDS}
    if all(one is None for one in said.values()) and tokenizer.eos_token_id != tokenizer.bos_token_id:
        said["its tokenizer"] = tokenizer.eos_token_id
    said["the chat template"] = turn_end(tokenizer)
    ends, differing = settle_ends(said, rows, tokenizer.bos_token_id)
    pad, replaced = settle_special(tokenizer, config.pad_token_id, ends, rows, pad_token)
    kind = _value(fields, "general.file_type")
    model = _plain(loaded, {0: torch.float32, 1: torch.float16}.get(kind, torch.bfloat16))
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    contract = build_contract(folder, pad_id=pad, eos_ids=ends, end_id=tokenizer.eos_token_id)
    save_model(model, tokenizer, contract, folder)
    digest = disk.hash_file(file)
    if told is not None:
        told(file, None, digest)
    notes += differing
    return {
        "sha256": digest,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "architecture": type(model).__name__,
        "eos_ids": ends,
        "pad_token": tokenizer.pad_token,
        "pad_replaced": replaced,
        **({"notes": notes} if notes else {}),
    }


@contextmanager
def _read_once(file: Path) -> Iterator[Any]:
    """Hold the file as its reader has it, and let transformers have the same reading.

    transformers 5.17 parses a GGUF anew for config, weights and tokenizer, and rebuilds the table of its names for each
    module: four fifths of an import's time.
    """
    import gguf

    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    with outside(f"`{file}` is no GGUF that transformers can read", _INSTEAD):
        whole = reader(str(file))
    gguf.GGUFReader = lambda path, *rest: whole if Path(path) == file else reader(path, *rest)  # type: ignore[misc,assignment]
    gguf.get_tensor_name_map = cache(names)
    try:
        yield whole
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names  # type: ignore[misc]


def _value(fields: Mapping[str, Any], key: str) -> Any:
    return fields[key].contents() if key in fields else None


def _refuse_parts(file: Path, fields: Mapping[str, Any]) -> None:
    """Raise InputError for a GGUF that is one part of a model, or something beside one."""
    with outside(f"`{file}` is no GGUF that transformers can read", _INSTEAD):
        parts, kind = _value(fields, "split.count"), _value(fields, "general.type")
    if isinstance(parts, int) and parts > 1:
        what = f"`{file}` is one of {parts} parts of a model"
        raise InputError(what, hint=f"join them: `llama-gguf-split --merge {file} whole.gguf`")
    if kind not in (None, "model"):
        raise InputError(f"`{file}` holds a GGUF of type {kind}, not a model", hint="give the file of the model itself")


def _refuse_stretched(file: Path, whole: Any) -> None:
    """Raise InputError for rotary frequencies that are stretched in any way (Llama 3.1, yarn): transformers 5.17 reads
    nothing of it from a GGUF, and would make another model without a word."""
    kinds = {key: _value(whole.fields, key) for key in whole.fields if key.endswith(".rope.scaling.type")}
    found = [f"`{key}` {kind}" for key, kind in kinds.items() if kind not in ("none", "", None)]
    found += [f"the tensor `{one.name}`" for one in whole.tensors if one.name.startswith("rope_")]
    if found:
        what = f"`{file}` stretches its positions ({found[0]}), which transformers does not read from a GGUF"
        raise InputError(what, hint=_INSTEAD)


def _loaded(file: Path) -> Any:
    """The model, dequantised. Raises InputError when weights are missing, unknown or of another shape."""
    with outside(f"`{file}` is no GGUF that transformers can read", _INSTEAD), redirect_stderr(StringIO()):
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        loaded, told = AutoModelForCausalLM.from_pretrained(
            file.parent,
            config=config,
            gguf_file=file.name,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    if fault := unlike(told, "s"):
        raise InputError(f"`{file}` {fault}", hint=f"convert the whole model again, or {_INSTEAD}")
    return loaded


def _plain(loaded: Any, dtype: torch.dtype) -> Any:
    """The same weights in a model that knows nothing of GGUF: transformers refuses to save one that still does."""
    config = loaded.config
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, name):
            delattr(config, name)
    config.dtype = dtype
    config.get_text_config().vocab_size = int(loaded.get_input_embeddings().weight.shape[0])  # it counts the tokens
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    return cast(plain, str(dtype).removeprefix("torch."))

"""A GGUF file, the format of llama.cpp, becomes a plain model folder: dequantised, whole, with every end it names.

A .gguf file enters; config, safetensors, tokenizer and contract.json leave. transformers does the reading; what it
forgets of such a file (ends of turns, digits that stand alone, weights that are not there) is mended or refused here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from stages.core.errors import InputError
from stages.core.storage import disk
from stages.policy.models import splits
from stages.policy.models.chat import turn_end
from stages.policy.models.folders import SPECIAL, build_contract, cast, save_model
from stages.policy.models.reading import outside, read_tokenizer, unlike
from stages.policy.models.special import fit_vocabulary, settle_ends, settle_special

_ENDS = ("eos", "eot", "eom")
"""What a file may name a token for: the end of a text, of a turn, of a message."""
_CONTROL, _WHOLE = 3, 4
"""Kinds of token that a text never falls into by merges: those that no one writes, and those that stand for words."""
_INSTEAD = "import its safetensors instead"


class Unpacked(NamedTuple):
    """What a GGUF holds, once what transformers forgets of one is mended."""

    model: Any
    """Dequantised to float32, and no longer to be saved by transformers itself."""
    tokenizer: Any
    ends: list[int]
    pad: int
    replaced: bool
    """Whether its own padding ended completions, and was replaced."""
    kind: Any
    """The file's number for what its matrices are; None where it does not say."""
    notes: list[str]


def import_gguf(
    file: Path, folder: Path, pad_token: str | None, told: Callable[[Path, Path | None, str], None] | None
) -> dict[str, Any]:
    """Write the model of a GGUF into `folder` and return what was read; see `import_model`.

    Raises InputError when transformers cannot read it, or when it lacks a weight or holds an unknown one.
    """
    found = unpacked(file, pad_token)
    tokenizer, ends = found.tokenizer, found.ends
    model = _plain(found.model, {0: torch.float32, 1: torch.float16}.get(found.kind, torch.bfloat16))
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    contract = build_contract(folder, pad_id=found.pad, eos_ids=ends, end_id=tokenizer.eos_token_id)
    save_model(model, tokenizer, contract, folder)
    digest = disk.hash_file(file)
    if told is not None:
        told(file, None, digest)
    return {
        "sha256": digest,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "architecture": type(model).__name__,
        "eos_ids": ends,
        "pad_token": tokenizer.pad_token,
        "pad_replaced": found.replaced,
        **({"notes": found.notes} if found.notes else {}),
    }


def unpacked(file: Path, pad_token: str | None = None) -> Unpacked:
    """Read a GGUF into memory. Raises InputError as `import_gguf`."""
    with _read_once(file) as whole:
        fields = whole.fields
        _refuse_parts(file, fields)
        _refuse_stretched(file, whole)
        loaded = _loaded(file)
        tokenizer = _own_tokens(read_tokenizer(file.parent, gguf_file=file.name), fields)
    for name, weight in loaded.named_parameters():
        if not weight.detach().sum().isfinite() and not weight.detach().isfinite().all():
            raise InputError(f"the weights of `{file}` hold NaN or an infinity in {name}", hint=_INSTEAD)
    rows = int(loaded.get_input_embeddings().weight.shape[0])
    way = _value(fields, "tokenizer.ggml.pre")
    known = _value(fields, "tokenizer.ggml.model") != "gpt2" or splits.split_as(tokenizer.backend_tokenizer, way or "")
    config = loaded.config.get_text_config()
    tokenizer.clean_up_tokenization_spaces = False  # a WordPiece habit, and the reader's default
    if isinstance(config.bos_token_id, int) and 0 <= config.bos_token_id < len(tokenizer):
        tokenizer.bos_token = tokenizer.convert_ids_to_tokens(config.bos_token_id)
    notes = fit_vocabulary(tokenizer, rows)
    if not known:
        notes.append(
            f"its tokenizer splits texts in the way called {way!r}, of which only what transformers knows is read"
        )
    # transformers 5.17 names the bos token as eos in Llama tokenizers from GGUF, and a config has its class's default
    # where the file names no end.
    said = {f"{word} of the file": _value(fields, f"tokenizer.ggml.{word}_token_id") for word in _ENDS}
    if all(one is None for one in said.values()) and tokenizer.eos_token_id != tokenizer.bos_token_id:
        said["its tokenizer"] = tokenizer.eos_token_id
    said["the chat template"] = turn_end(tokenizer)
    ends, differing = settle_ends(said, rows, tokenizer.bos_token_id)
    pad, replaced = settle_special(tokenizer, config.pad_token_id, ends, rows, pad_token)
    return Unpacked(loaded, tokenizer, ends, pad, replaced, _value(fields, "general.file_type"), notes + differing)


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


def _own_tokens(tokenizer: Any, fields: Mapping[str, Any]) -> Any:
    """The tokenizer with the whole tokens that a byte-level file names, and no others.

    transformers 5.17 knows three of Qwen2's class for every file of its architecture: `<think>` of a distilled R1 falls
    into pieces, and a file without `<|im_end|>` gets one behind the rows of its embedding.
    """
    kinds = _value(fields, "tokenizer.ggml.token_type")
    if _value(fields, "tokenizer.ggml.model") != "gpt2" or not kinds:
        return tokenizer
    words = _value(fields, "tokenizer.ggml.tokens")
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    shape = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    own = [
        {"id": number, "content": words[number], **shape, "special": kind == _CONTROL}
        for number, kind in enumerate(kinds)
        if kind in (_CONTROL, _WHOLE)
    ]
    if {(one["id"], one["special"]) for one in own} == {(one["id"], one["special"]) for one in parts["added_tokens"]}:
        return tokenizer
    named = {name: getattr(tokenizer, name) for name in SPECIAL if getattr(tokenizer, name) in words}
    whole = Tokenizer.from_str(json.dumps({**parts, "added_tokens": own}))
    return PreTrainedTokenizerFast(tokenizer_object=whole, chat_template=tokenizer.chat_template, **named)


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

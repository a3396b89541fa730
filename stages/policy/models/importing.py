"""Models from outside: a folder or a GGUF file becomes a plain model folder with a contract.

A source as a person writes it enters; config, safetensors, tokenizer and contract.json leave in `folder`, with what
was really read: the hash of the weights. Everything that the files say is compared before a byte is copied. Pickled
weights are refused, code of a repository is never run, and a padding token that ends completions is replaced, for a
model trained on it never learns to stop.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from stages.core.errors import ContractError, InputError, MissingError
from stages.core.storage import disk
from stages.policy.models import families
from stages.policy.models.chat import turn_end
from stages.policy.models.choosing import gguf_in, refuse_adapter, refuse_other_kinds, refuse_quantised, weight_files
from stages.policy.models.comparing import compared
from stages.policy.models.finite import Finite
from stages.policy.models.folders import build_contract, load_tokenizer, save_tokenizer
from stages.policy.models.reading import Stored, outside, read_config, read_headers, read_json
from stages.policy.models.special import fit_vocabulary, settle_ends, settle_special

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
Told = Callable[[Path, Path | None, str], None]
"""Hears of each file of weights that was read whole: the file, its copy (None where it was not copied), its sha256."""
_JUDGE = "judge.json"
_COMPARED = 1 << 22
"""Numbers that are compared at once."""


def import_model(
    source: str | Path, folder: Path, pad_token: str | None = None, *, told: Told | None = None
) -> dict[str, Any]:
    """Write the model at `source` into `folder` (made if missing) and return what was read.

    `source`: a folder with config.json, safetensors and a tokenizer (the hub's cache holds such folders); a .gguf file,
    or a folder that holds exactly one. Safetensors are read once and copied byte for byte; a GGUF is dequantised, and
    stored in bfloat16 unless it is float32 or float16. The contract has no template, the house's tags, and the end ids
    of all places that name any. Without `pad_token` the model's own padding is kept where it ends nothing, else the
    first of PAD_TOKENS, or any other special token, that does not. Returns sha256 (of the weights file as read; of the
    list of hashes when there are several), parameters, architecture, dtype, eos_ids, pad_token, pad_replaced, abilities
    (see `families`) and, where something was left aside, disagreed or was changed, notes. `told` hears the hash of each
    file of weights.

    Raises MissingError, InputError (pickled, quantised or incomplete weights, weights that are no numbers, adapters, no
    language model, files that cannot be read) and ContractError (no padding token, tokens without a row in the
    embedding).
    """
    path = Path(source).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        raise MissingError(f"there is no `{source}`", hint="give a folder or a .gguf file")
    gguf = gguf_in(path)
    if gguf is None:
        figures = _import_folder(path, folder, pad_token, told)
    else:
        from stages.policy.models.packed import import_gguf

        figures = import_gguf(gguf, folder, pad_token, told)
    return {**figures, "abilities": families.abilities(read_config(folder))}


def refuse_foreign(folder: Path) -> None:
    """Raise InputError or MissingError where a folder's config or tokenizer is not one that `import_model` takes; its
    weights need not be there."""
    refuse_adapter(folder)
    judge, raw = (folder / _JUDGE).is_file(), _raw(folder)
    refuse_other_kinds(folder, read_config(folder), raw, judge=judge)
    _tokenizer(folder)


@dataclass(frozen=True)
class _Source:
    """A folder whose files agree."""

    raw: dict[str, Any]
    """config.json as it is written."""
    files: list[Path]
    tensors: dict[str, Stored]
    architecture: str
    rows: int
    """Rows of the embedding."""
    notes: list[str]


def _import_folder(path: Path, folder: Path, pad_token: str | None, told: Told | None) -> dict[str, Any]:
    source = _checked(path)
    tokenizer, as_written = _tokenizer(path)
    notes = source.notes + as_written + fit_vocabulary(tokenizer, source.rows)
    ends, differing = settle_ends(_ends_said(path, source.raw, tokenizer), source.rows, tokenizer.bos_token_id)
    text = _text(source.raw)
    pad, replaced = settle_special(tokenizer, text.get("pad_token_id"), ends, source.rows, pad_token)
    hashes = {}
    for file in source.files:
        hashes[file.name] = disk.copy_hashed(file, folder / file.name, Finite(file))
        if told is not None:
            told(file, folder / file.name, hashes[file.name])
    if (folder / "model.safetensors").is_file():
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    for name in (_JUDGE, *["model.safetensors.index.json"] * (source.files[0].name != "model.safetensors")):
        if (path / name).is_file():
            disk.copy_hashed(path / name, folder / name)
    _write_settings(folder, source, ends, pad)
    save_tokenizer(tokenizer, folder)
    build_contract(folder, pad_id=pad, eos_ids=ends, end_id=tokenizer.eos_token_id).write(folder / "contract.json")
    stored = Counter[str]()
    for tensor in source.tensors.values():
        stored[tensor.dtype] += torch.Size(tensor.shape).numel() * tensor.floating
    notes += differing
    return {
        "sha256": weights_sha256(hashes),
        "parameters": stored.total(),
        "dtype": DTYPES[stored.most_common(1)[0][0]],
        "architecture": source.architecture,
        "eos_ids": ends,
        "pad_token": tokenizer.pad_token,
        "pad_replaced": replaced,
        **({"notes": notes} if notes else {}),
    }


def _tokenizer(path: Path) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The folder's tokenizer, and a note where AutoTokenizer would make another one of it.

    transformers 5.17 builds the class that tokenizer_config.json names with that class's own parts: of a byte-level BPE
    under `LlamaTokenizerFast` (DeepSeek-R1-Distill-Llama) it makes one that drops every blank. What the model was
    trained with stands in tokenizer.json; it is taken where it can be sealed so that transformers reads it back.
    Raises ContractError where it cannot, and InputError as `read_tokenizer`.
    """
    try:
        return load_tokenizer(path, grown=True), []
    except ContractError as error:
        with outside(f"the tokenizer of `{path}` cannot be read"):
            written = PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
        if not _comes_back(written, path / "config.json"):
            raise error
    named = read_json(path / "tokenizer_config.json").get("tokenizer_class")
    return written, [f"transformers makes another tokenizer of its class {named}; tokenizer.json is taken as it is"]


def _comes_back(tokenizer: PreTrainedTokenizerBase, config: Path) -> bool:
    """Whether transformers reads this tokenizer back as it is from a sealed folder with such a config.json."""
    with TemporaryDirectory() as trial, suppress(ContractError):
        shutil.copyfile(config, Path(trial) / config.name)
        save_tokenizer(tokenizer, Path(trial))
        return True
    return False


def _checked(path: Path) -> _Source:
    """The folder's files, once config, headers and architecture agree; see `compared`."""
    judge = (path / _JUDGE).is_file()
    raw = _raw(path)
    config = read_config(path)
    refuse_other_kinds(path, config, raw, judge=judge)
    files, aside = weight_files(path, raw)
    tensors = read_headers(files)
    model = compared(path, config, tensors, judge=judge)
    _refuse_two_heads(path, model, tensors)
    notes = [f"left aside, as transformers does: {', '.join(aside)}"] if aside else []
    embedding = model.get_input_embeddings()
    named = (config.architectures or [type(model).__name__])[0]
    return _Source(raw, files, tensors, named, int(embedding.weight.shape[0]), notes)


def _raw(folder: Path) -> dict[str, Any]:
    """config.json as it is written, of weights that are not quantised; {} where there is none."""
    file = folder / "config.json"
    raw = read_json(file) if file.is_file() else {}
    refuse_quantised(folder, raw)
    return raw


def _refuse_two_heads(path: Path, model: Any, tensors: Mapping[str, Stored]) -> None:
    """Raise InputError when config.json ties two weights (the head to the embedding) and the files hold both, unequal:
    transformers would untie them, and other tools would not."""
    for tied, kept in getattr(model, "all_tied_weights_keys", {}).items():
        if tied not in tensors or kept not in tensors:
            continue
        one, other = (_slice(path / tensors[name].file, name) for name in (tied, kept))
        shape = tensors[tied].shape
        step = max(1, _COMPARED * shape[0] // max(1, torch.Size(shape).numel()))
        same = tensors[tied].shape == tensors[kept].shape and tensors[tied].dtype == tensors[kept].dtype
        if not same or any(not torch.equal(one[i : i + step], other[i : i + step]) for i in range(0, shape[0], step)):
            what = f"config.json of `{path}` ties {tied} to {kept}, and the weights hold both and they differ"
            raise InputError(what, hint='write `"tie_word_embeddings": false` into config.json to keep both')


def _slice(file: Path, name: str) -> Any:
    with outside(f"`{file}` is no whole safetensors file", "fetch it again"):
        return safe_open(file, "pt").get_slice(name)


def _text(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the language model in a config: its own, and over them those of its `text_config`."""
    inner = raw.get("text_config")
    return {**raw, **(inner if isinstance(inner, dict) else {})}


def _ends_said(path: Path, raw: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What each place says of the end tokens; a class's default only where none says anything."""
    file = path / "generation_config.json"
    inner = raw.get("text_config")
    said = {
        file.name: read_json(file).get("eos_token_id") if file.is_file() else None,
        "config.json": raw.get("eos_token_id"),
        "text_config": inner.get("eos_token_id") if isinstance(inner, dict) else None,
        "the tokenizer": tokenizer.eos_token_id,
        "the chat template": turn_end(tokenizer),
    }
    if all(value is None for value in said.values()):
        said["the architecture"] = getattr(read_config(path).get_text_config(), "eos_token_id", None)
    return said


def _write_settings(folder: Path, source: _Source, ends: Sequence[int], pad: int) -> None:
    """Write config.json and generation_config.json with the settled end and padding ids; a begin id that has no row is
    dropped."""
    raw = {key: value for key, value in source.raw.items() if key != "auto_map"}  # names code that is not copied
    begin = _text(raw).get("bos_token_id")
    if not isinstance(begin, int) or not 0 <= begin < source.rows:
        begin = None
    settled = {"eos_token_id": ends[0] if len(ends) == 1 else list(ends), "pad_token_id": pad}
    if isinstance(raw.get("text_config"), dict):
        raw["text_config"] = {**raw["text_config"], **settled}
    write_json(folder / "config.json", {**raw, **settled})
    write_json(folder / "generation_config.json", {"bos_token_id": begin, **settled})


def weights_sha256(hashes: Mapping[str, str]) -> str:
    """The hash of the one file; of several, the hash of the lines `sha256  name`."""
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a map as JSON that a person can read."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

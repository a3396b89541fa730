"""Models from outside: a folder or a GGUF file becomes a plain model folder with a contract.

A source as a person writes it enters; config, safetensors, tokenizer and contract.json leave in `folder`, with what
was really read: the hash of the weights. Pickled weights are refused, code of a repository is
never run, and a padding token that ends completions is replaced, for a model trained on it never learns to stop.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import pre_tokenizers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from stages.core.errors import ContractError, InputError, MissingError
from stages.policy.models.folders import build_contract, load_tokenizer, save_model, save_tokenizer

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of weights that can run code when they are read."""
PAD_TOKENS = (
    "<|pad|>",
    "<pad>",
    "[PAD]",
    "<|fim_pad|>",
    "<|finetune_right_pad_id|>",
    "<|vision_pad|>",
    "<|endoftext|>",
    "<unk>",
    "<|unk|>",
)
"""Tokens that may serve as padding, best first, where a model's own padding token is missing or ends completions."""
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def import_model(source: str | Path, folder: Path, pad_token: str | None = None) -> dict[str, Any]:
    """Write the model at `source` into `folder` (made if missing) and return what was read.

    `source`: a folder with config.json, safetensors and a tokenizer (the hub's cache holds such folders); a .gguf file,
    or a folder that holds exactly one. Safetensors are copied byte for byte; a GGUF is dequantised, and
    stored in bfloat16 unless it is float32 or float16. The contract has no template, the house's tags, and end ids
    from generation_config, config or tokenizer. Without `pad_token` the model's own padding is kept where it ends
    nothing, else the first of PAD_TOKENS, or any other special token, that does not. Returns sha256 (of the weights
    file as read; of the list of hashes when there are several),
    parameters, architecture, dtype, eos_ids, pad_token and pad_replaced. Raises MissingError, InputError (pickled
    weights, or no language model) and ContractError (no padding token).
    """
    path = Path(source).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        raise MissingError(f"there is no `{source}`", hint="give a folder or a .gguf file")
    gguf = _gguf_in(path)
    return _import_gguf(gguf, folder, pad_token) if gguf else _import_folder(path, folder, pad_token)


def refuse_foreign(folder: Path) -> None:
    """Raise InputError or MissingError where a folder's config or tokenizer is not one that `import_model` takes; its
    weights need not be there."""
    _config(folder)
    load_tokenizer(folder)


def _gguf_in(path: Path) -> Path | None:
    """The one GGUF that `path` is or holds; None for a folder with safetensors. Raises InputError otherwise."""
    if path.is_file():
        if path.suffix == ".gguf":
            return path
        what = "pickled weights, which can run code when read" if path.suffix in PICKLES else "no model"
        hint = _CONVERT if path.suffix in PICKLES else "give its folder, or a .gguf file"
        raise InputError(f"`{path}` is {what}", hint=hint)
    if any(path.glob("*.safetensors")):
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise InputError(f"`{path}` holds {len(found)} GGUF files ({names})", hint="name the one to import")
    if any(file.suffix in PICKLES for file in path.iterdir()):
        raise InputError(f"`{path}` holds pickled weights only, which can run code when read", hint=_CONVERT)
    raise InputError(f"`{path}` holds no safetensors and no GGUF", hint="give the folder that holds the weights")


_CONVERT = (
    'convert them where you trust them: `python -c "from transformers import AutoModelForCausalLM as M; '
    "M.from_pretrained('FOLDER').save_pretrained('FOLDER-safe')\"`"
)


def _import_folder(path: Path, folder: Path, pad_token: str | None) -> dict[str, Any]:
    config = _config(path)
    weights = _weight_files(path)
    figures = _weight_figures(weights)
    tokenizer = load_tokenizer(path)
    eos_ids = _eos_ids(path, config.eos_token_id, tokenizer)
    pad, replaced = _settle_special(tokenizer, config.pad_token_id, eos_ids, pad_token)
    for file in [*weights, *path.glob("*.safetensors.index.json"), *path.glob("judge.json")]:
        shutil.copyfile(file, folder / file.name)
    eos = eos_ids[0] if len(eos_ids) == 1 else eos_ids
    raw = json.loads((path / "config.json").read_text(encoding="utf-8"))
    raw.pop("auto_map", None)  # names code that is not copied
    _write_json(folder / "config.json", {**raw, "eos_token_id": eos, "pad_token_id": pad})
    settings = {"bos_token_id": raw.get("bos_token_id"), "eos_token_id": eos, "pad_token_id": pad}
    _write_json(folder / "generation_config.json", settings)
    save_tokenizer(tokenizer, folder)
    build_contract(folder, pad_id=pad, eos_ids=eos_ids).write(folder / "contract.json")
    return {
        "sha256": _sha256_of(weights),
        **figures,
        "architecture": (config.architectures or [type(config).__name__])[0],
        "eos_ids": eos_ids,
        "pad_token": tokenizer.pad_token,
        "pad_replaced": replaced,
    }


def _import_gguf(file: Path, folder: Path, pad_token: str | None) -> dict[str, Any]:
    from gguf import GGUFReader

    try:
        fields = GGUFReader(str(file)).fields
        with redirect_stderr(StringIO()):  # its progress bar heeds no setting
            loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    except (ValueError, LookupError, OSError, RuntimeError, OverflowError) as error:
        what = f"`{file}` is no GGUF that transformers can read ({error})"
        raise InputError(what, hint="import safetensors instead") from error
    kind = int(fields["general.file_type"].contents()) if "general.file_type" in fields else -1
    if "tokenizer.ggml.pre" in fields and fields["tokenizer.ggml.pre"].contents() == "smollm":
        # transformers keeps the byte level of this pre-tokenizer and forgets that it splits numbers into digits first.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    # transformers 5.17 names the bos token as eos in Llama tokenizers from GGUF; the config holds the file's own ids.
    eos_ids = _ids(loaded.config.eos_token_id) or _ids(tokenizer.eos_token_id)
    tokenizer.clean_up_tokenization_spaces = False  # a WordPiece habit, and the reader's default
    if loaded.config.bos_token_id is not None:
        tokenizer.bos_token = tokenizer.convert_ids_to_tokens(loaded.config.bos_token_id)
    pad, replaced = _settle_special(tokenizer, loaded.config.pad_token_id, eos_ids, pad_token)
    model = _plain(loaded, {0: torch.float32, 1: torch.float16}.get(kind, torch.bfloat16))
    model.config.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    save_model(model, tokenizer, build_contract(folder, pad_id=pad, eos_ids=eos_ids), folder)
    return {
        "sha256": _sha256_of([file]),
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "architecture": type(model).__name__,
        "eos_ids": eos_ids,
        "pad_token": tokenizer.pad_token,
        "pad_replaced": replaced,
    }


def _plain(loaded: Any, dtype: torch.dtype) -> Any:
    """The same weights in a model that knows nothing of GGUF: transformers refuses to save one that still does."""
    config = loaded.config
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, name):
            delattr(config, name)
    config.dtype = dtype
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict({name: tensor.to(dtype) for name, tensor in loaded.state_dict().items()}, assign=True)
    plain.tie_weights()
    return plain


def _config(path: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(
            f"`{path}` has no config.json of an architecture that transformers knows ({str(error).splitlines()[0]})",
            hint="a model that needs code of its own cannot be imported",
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        what = f"`{path}` is a {config.model_type}, which is no causal language model"
        raise InputError(what, hint="import a decoder, such as a Qwen or Llama model")
    return config


def _weight_files(path: Path) -> list[Path]:
    """The safetensors that from_pretrained would read: those of the index, else model.safetensors, else the only
    one."""
    index = path / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        absent = [name for name in names if not (path / name).is_file()]
        if absent:
            raise InputError(f"`{path}` lacks {absent[0]}, which its index names", hint="fetch the folder again")
        return [path / name for name in names]
    if (path / "model.safetensors").is_file():
        return [path / "model.safetensors"]
    found = ", ".join(sorted(file.name for file in path.glob("*.safetensors")))
    hint = "merge an adapter into its model first" if "adapter" in found else "rename the weights to model.safetensors"
    raise InputError(f"`{path}` holds no model.safetensors (found {found})", hint=hint)


def _weight_figures(files: Iterable[Path]) -> dict[str, Any]:
    """Parameters (tied weights are stored, and counted, once) and the dtype most of them have, from the headers
    alone."""
    sizes: Counter[str] = Counter()
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (no mapping: it has no iterator)
                    part = opened.get_slice(name)
                    sizes[part.get_dtype()] += torch.Size(part.get_shape()).numel()
        except SafetensorError as error:
            raise InputError(f"`{file}` is no whole safetensors file ({error})", hint="fetch it again") from error
    most = sizes.most_common(1)[0][0]
    if most not in DTYPES:
        what = f"the weights are stored as {most}, which cannot be trained"
        raise InputError(what, hint="import the unquantised model")
    return {"parameters": sizes.total(), "dtype": DTYPES[most]}


def _ids(value: int | Sequence[int] | None) -> list[int]:
    return [] if value is None else [int(value)] if isinstance(value, int) else [int(i) for i in value]


def _eos_ids(path: Path, in_config: int | Sequence[int] | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """End ids from the first that names any: generation_config.json, config.json, the tokenizer."""
    file = path / "generation_config.json"
    given = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.is_file() else None
    return _ids(given) or _ids(in_config) or _ids(tokenizer.eos_token_id)


def _settle_special(
    tokenizer: PreTrainedTokenizerBase, config_pad: int | None, eos_ids: list[int], asked: str | None
) -> tuple[int, bool]:
    """Give the tokenizer an end token among `eos_ids` and a padding token that is none; returns its id and whether it
    is new."""
    if not eos_ids:
        raise ContractError("the model names no end token", hint="add eos_token_id to its generation_config.json")
    if tokenizer.eos_token_id not in eos_ids:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(eos_ids[0])
    vocabulary = tokenizer.get_vocab()
    if asked is not None:
        if asked not in vocabulary or vocabulary[asked] in eos_ids:
            reason = "ends completions" if asked in vocabulary else "is no token of this model"
            raise ContractError(f"the padding token `{asked}` {reason}", hint="choose another: `--pad-token TOKEN`")
        chosen = asked
    else:
        own = tokenizer.pad_token if tokenizer.pad_token_id is not None else None
        if own is None and config_pad is not None and config_pad >= 0:
            own = tokenizer.convert_ids_to_tokens(config_pad)
        chosen = _pad_token(tokenizer, own, eos_ids)
    replaced = vocabulary[chosen] != tokenizer.pad_token_id
    tokenizer.pad_token = chosen
    return vocabulary[chosen], replaced


def _pad_token(tokenizer: PreTrainedTokenizerBase, own: str | None, eos_ids: list[int]) -> str:
    vocabulary = tokenizer.get_vocab()
    special = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    # A bos token last: it may open a prompt, and then means something.
    special.sort(key=lambda token: token == tokenizer.bos_token)
    for token in [own, *PAD_TOKENS, *special]:
        if token is not None and token in vocabulary and vocabulary[token] not in eos_ids:
            return str(token)
    raise ContractError(
        "the model has no special token for padding that is not also an end token",
        hint="name one it can spare: `--pad-token TOKEN`",
    )


def _sha256_of(files: Sequence[Path]) -> str:
    """Hash of the one file; of several, the hash of the lines `sha256  name`."""
    digests = []
    for file in files:
        with file.open("rb") as opened:
            digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    lines = "".join(f"{digest}  {file.name}\n" for digest, file in zip(digests, files, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

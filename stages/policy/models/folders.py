"""Models and tokenizers in and out of folders, with nothing lost between.

A folder enters and a model (evaluation mode) or a tokenizer leaves; or both enter with their contract and a folder
leaves that plain transformers loads. It exists for one trap: transformers may rebuild a tokenizer into something
else, without a word, when it reads it back. Everything saved or loaded here is checked for that.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from stages.core.contract import Contract
from stages.core.errors import ContractError, InputError, MissingError
from stages.policy.models import families
from stages.policy.models.chat import sealed
from stages.policy.models.reading import outside, read_config, read_tokenizer, unlike

# Progress leaves as events here; transformers would draw bars on the terminal for each folder read.
transformers_logging.disable_progress_bar()

PROBE = (
    "A conversation between User and Assistant.\n\n<think> 12 + 305 = 317, isn't it?  </think>\t"
    "<answer> -7 </answer>\r\nset 7; add 5; rep 3 dbl (x*y)^2 \\boxed{1/2}  end "
    "我们先算：九加八等于十七。 caf\u00e9 cafe\u0301 \u216b \U0001f600"
)
"""Text in which tokenizers that differ at all tend to differ: spaces, digits, contractions, Chinese, composed and
decomposed letters."""
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
"""Special tokens that are written out even where there is none, or a class with defaults would invent them."""
NO_LIMIT = 32_768
"""Positions that a contract grants a model whose architecture counts none (Mamba, Bloom): enough for any recipe."""
_REWRITE = (
    "where the model was trained with what transformers makes of it, write that down: `python -c "
    "\"from transformers import AutoTokenizer as T; T.from_pretrained('FOLDER').save_pretrained('FOLDER')\"`; a "
    "folder of this architecture can hold no other"
)
PROBED_TOKENS = 4_000
"""Most tokens of a vocabulary that are tried one by one."""


def load_tokenizer(path: Path | str, *, grown: bool = False) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer as `AutoTokenizer` does, and make sure that it is the one in tokenizer.json.

    The trap (transformers 5.17): for `model_type: qwen2`, and some forty others, AutoTokenizer holds the hub's
    tokenizer class to be wrong and takes Qwen2Tokenizer whatever tokenizer_config.json says. That class keeps
    vocabulary, merges, added tokens and post-processor of tokenizer.json, and replaces the normalizer by NFC, the
    pre-tokenizer by Qwen2's regular expression (digits one by one) with a byte level, and the decoder by a byte
    level. No tokenizer_config.json escapes. So a tokenizer beside a Qwen2 config round-trips exactly when it is a
    byte-level BPE with those same parts; save it with `"tokenizer_class": "Qwen2Tokenizer"` and with every special
    token written out, `"unk_token": null` too, as the class would else make `<|endoftext|>` of each.
    `save_pretrained` of a PreTrainedTokenizerFast with these parts does that but for the class name, which does not
    matter.

    `grown` takes a tokenizer to which its other files add tokens that tokenizer.json does not hold, as transformers
    does: so come many models whose makers added a `[PAD]`.

    Raises MissingError without a folder or a tokenizer, InputError for one that cannot be read, ContractError when the
    two tokenize differently.
    """
    folder = Path(path)
    if not (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        raise MissingError(f"`{folder}` holds no tokenizer", hint="save one there: `tokenizer.save_pretrained`")
    tokenizer = read_tokenizer(folder)
    file = folder / "tokenizer.json"
    if file.is_file() and not _same_parts(tokenizer, _parts(file), grown=grown):
        with outside(f"`{file}` cannot be read"):
            plain = PreTrainedTokenizerFast(tokenizer_file=str(file))
        difference = tokenizer_difference(tokenizer, plain)
        if difference:
            raise ContractError(
                f"transformers reads this tokenizer back as another one (a {type(tokenizer).__name__}): {difference}",
                hint=_REWRITE.replace("FOLDER", str(folder)),
                where=str(folder),
            )
    return tokenizer


def _parts(file: Path) -> str:
    """A tokenizer.json as the library writes it, whatever its spacing."""
    with outside(f"`{file}` cannot be read"):
        return str(Tokenizer.from_file(str(file)).to_str())


def _decisive(text: str) -> dict[str, Any]:
    """A tokenizer.json but for padding and truncation: they are how it was last called, not what it is."""
    return {key: value for key, value in json.loads(text).items() if key not in ("padding", "truncation")}


def _same_parts(one: PreTrainedTokenizerBase, written: str, *, grown: bool = False) -> bool:
    """Whether a tokenizer is made of these very parts, which makes every text the same ids: nothing has to be tried.

    `grown` lets it have more added tokens.
    """
    backend = getattr(one, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else ""
    if not text or text == written:
        return bool(text)
    mine, parts = _decisive(text), _decisive(written)
    if grown:
        mine["added_tokens"] = [token for token in mine["added_tokens"] if token in parts.get("added_tokens", [])]
    return mine == parts


def tokenizer_difference(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> str:
    """Say in a phrase how two tokenizers differ in vocabulary, encoding or decoding, or "" when nothing was found.

    Made of the same parts they cannot differ in ids; else they are tried on PROBE, on the text of each token (of at
    most PROBED_TOKENS, evenly spread) and on pairs of tokens.
    """
    backend = getattr(other, "backend_tokenizer", None)
    if backend is not None and _same_parts(one, backend.to_str()):
        ids = _encoded(other, [PROBE])[0]
        return "" if one.decode(ids) == other.decode(ids) else "the probe's ids are read as another text"
    mine, theirs = one.get_vocab(), other.get_vocab()
    if mine != theirs:
        odd = sorted(set(mine.items()) ^ set(theirs.items()))
        return f"{len(odd)} entries of the vocabulary differ, such as {odd[0][0]!r}"
    ids = sorted(theirs.values())
    ids = ids[:: -(-len(ids) // PROBED_TOKENS)]
    texts = [PROBE, *other.batch_decode([[i] for i in ids])]
    texts += [a + b for a, b in zip(texts[1:], texts[:0:-1], strict=True)]
    for text, a, b in zip(texts, _encoded(one, texts), _encoded(other, texts), strict=True):
        if a != b:
            place = next((i for i, (m, n) in enumerate(zip(a, b, strict=False)) if m != n), min(len(a), len(b)))
            return f"{text[:40]!r} becomes {len(a)} tokens, not {len(b)}, and differs from token {place} on"
    for i, a_text, b_text in zip(ids, one.batch_decode([[i] for i in ids]), texts[1:], strict=False):
        if a_text != b_text:
            return f"token {i} is read as {a_text!r} instead of {b_text!r}"
    return ""


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(list(texts))["input_ids"]
    return ids


def tokenizer_sha256(path: Path | str) -> str:
    """Hash of what decides the ids: tokenizer.json's content, whatever its spacing; hex."""
    file = Path(path) / "tokenizer.json"
    if not file.is_file():
        raise MissingError(f"`{path}` holds no tokenizer.json", hint="save it there: `tokenizer.save_pretrained`")
    content = _decisive(file.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a recipe's word (`float32`, `bfloat16`, `float16`, `float64`); InputError for another word."""
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f"`{name}` is no dtype for weights", hint="use float32, bfloat16 or float16")
    return found


def cast(model: Any, dtype: str) -> Any:
    """Turn a model's weights into `dtype`, in place, and return it; those that its architecture keeps in float32
    however it is loaded (a router's correction bias, DeepSeek-V3 section 2.1.2) stay as they are."""
    kind = torch_dtype(dtype)
    kept = re.compile("|".join(f"({part.replace('*', '.*')})" for part in model._get_dtype_plan(kind)) or r"(?!)")
    whole = {
        name: part.data
        for name, part in (*model.named_parameters(), *model.named_buffers())
        if kept.search(name) and part.dtype == torch.float32
    }
    model.to(kind)
    for name, part in (*model.named_parameters(), *model.named_buffers()):
        if name in whole:
            part.data = whole[name]
    return model


def load_model(path: Path | str, dtype: str = "float32", device: str = "cpu") -> Any:
    """Load a folder's causal language model in evaluation mode, with torch's fused attention; never runs code of the
    folder.

    Raises MissingError when the folder holds no config or no safetensors, or when these lack a weight, hold one too
    many or one of another shape: transformers would make one up at random. InputError when it cannot be loaded.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise MissingError(f"`{folder}` holds no model", hint="it must hold config.json and *.safetensors")
    if (folder / "adapter_config.json").is_file():
        what = f"`{folder}` holds an adapter, and no whole model"
        raise MissingError(what, hint="name it by its address in the store: it is opened over its base")
    kind, attention = torch_dtype(dtype), attention_of(folder)
    with outside(f"transformers cannot load the model of `{folder}`", "import it again: `r1 artifacts import`"):
        model, loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=kind,
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    if fault := unlike(loaded):
        raise MissingError(
            f"the weights of `{folder}` {fault}", hint="import the whole model again: `r1 artifacts import`"
        )
    return model.to(device).eval()


def attention_of(folder: Path) -> str | None:
    """The attention that a folder's model is loaded with, see `families.attention`."""
    return families.attention(read_config(folder))


def save_model(
    model: Any, tokenizer: PreTrainedTokenizerBase, contract: Contract, folder: Path, *, weights: bool = True
) -> None:
    """Write weights (safetensors; tied weights once), config, tokenizer, generation settings and contract.json into
    `folder`; all but the weights where these are not wanted.

    End and padding ids in config and generation_config are the contract's; where it has a template, so is the chat
    template: other programs then ask the model as it was asked here. The folder then loads with plain
    `transformers.from_pretrained`. Raises ContractError when the tokenizer would not come back as it is, or is not
    the contract's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    eos = contract.eos_ids[0] if len(contract.eos_ids) == 1 else list(contract.eos_ids)
    plain = getattr(model, "module", model)
    plain.config.eos_token_id, plain.config.pad_token_id = eos, contract.pad_id
    # A fresh one: a sampling setting left in the old one (a temperature without do_sample) would make saving fail.
    plain.generation_config = GenerationConfig(
        bos_token_id=plain.config.bos_token_id, eos_token_id=eos, pad_token_id=contract.pad_id
    )
    if weights:
        plain.save_pretrained(folder)
    else:
        plain.config.save_pretrained(folder)
        plain.generation_config.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    found = tokenizer_sha256(folder)
    if contract.tokenizer_sha256 and contract.tokenizer_sha256 != found:
        raise ContractError(
            f"the contract names tokenizer {contract.tokenizer_sha256[:12]}, the model is saved with {found[:12]}",
            hint="a stage must hand on the tokenizer it was given",
        )
    if contract.template:
        (folder / "chat_template.jinja").write_text(sealed(contract, tokenizer), encoding="utf-8")
    contract.write(folder / "contract.json")


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer into the folder of a model (its config.json must be there) and make sure that it comes back.

    Raises ContractError when it would tokenize differently or name other special tokens.
    """
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    written = json.loads(file.read_text(encoding="utf-8"))
    if written.get("chat_template", "") is None:  # llama.cpp takes that for the word on it, and no template's file
        del written["chat_template"]
    missing: dict[str, bool | None] = {
        name: None for name in SPECIAL if name not in written and getattr(tokenizer, name) is None
    }
    if written.get("clean_up_tokenization_spaces"):  # older programs would take blanks out of what it says
        missing["clean_up_tokenization_spaces"] = False
    file.write_text(json.dumps({**written, **missing}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    again = load_tokenizer(folder)
    difference = tokenizer_difference(again, tokenizer)
    changed = [name for name in SPECIAL if getattr(again, name) != getattr(tokenizer, name)]
    if changed:
        difference = f"its {changed[0]} is {getattr(again, changed[0])!r}, not {getattr(tokenizer, changed[0])!r}"
    if difference:
        raise ContractError(f"the tokenizer does not come back as it was saved: {difference}", where=str(folder))


def build_contract(
    folder: Path,
    *,
    pad_id: int,
    eos_ids: Sequence[int],
    end_id: int = -1,
    template: str = "",
    template_name: str = "",
) -> Contract:
    """The contract of a model folder whose template is given (default: none), with the house's tags; checks pad
    against eos. `end_id`: the end that responses are trained to end in; the first of `eos_ids` where it is none."""
    contract = Contract(
        template=template,
        template_name=template_name,
        eos_ids=list(eos_ids),
        end_id=end_id,
        pad_id=pad_id,
        tokenizer_sha256=tokenizer_sha256(folder),
        max_positions=positions(read_config(folder)),
    )
    contract.check(needs_tags=bool(template))
    return contract


def positions(config: Any) -> int:
    """Tokens that a model of this config can hold: its own limit, or NO_LIMIT where its architecture sets none."""
    text = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len", "max_sequence_length"):
        found = getattr(text, name, None)
        if isinstance(found, (int, float)) and not isinstance(found, bool) and 0 < found < float("inf"):
            return int(found)
    return NO_LIMIT

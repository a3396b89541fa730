"""The one place where files from outside are read: config, tokenizer, small JSON and the headers of weights.

A path enters and what transformers, tokenizers, safetensors or gguf make of it leaves; whatever these raise becomes
one sentence with a way out. It exists because a library's complaint about a file is no bug of this project, and a
reader of the complaint needs to know which file is meant and what to do about it.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from stages.core.errors import InputError, MissingError, R1Error

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMOTE = ("trust_remote_code", "contains custom code")
_CONVERT_WORDS = (
    "write it as tokenizer.json where sentencepiece and tiktoken are installed: `python -c "
    "\"from transformers import AutoTokenizer as T; T.from_pretrained('{folder}').save_pretrained('{folder}')\"`"
)
_SHOWN = 3
"""Most names that a sentence lists."""
_FETCH = "fetch the folder again, or save it again with `save_pretrained`"


@dataclass(frozen=True)
class Stored:
    """A tensor as the header of a safetensors file describes it."""

    dtype: str
    """safetensors' word: F32, BF16, I32, F8_E4M3, …"""
    shape: tuple[int, ...]
    file: str
    """Name of the file that holds it."""

    @property
    def floating(self) -> bool:
        """Whether it is one of the kinds of number that weights are trained in."""
        return self.dtype in ("F64", "F32", "F16", "BF16")


@contextmanager
def outside(what: str, hint: str = _FETCH) -> Iterator[None]:
    """Turn whatever a library raises over a file from outside into InputError: `what`, its first line, `hint`.

    R1Error, a full disk, a lack of memory and Ctrl-C pass unchanged. Put nothing but the library's own call inside, so
    that no fault of this project hides here. transformers' reports on standard error are silent meanwhile.
    """
    try:
        with _silent():
            yield
    except (R1Error, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # tokenizers' panics are no Exception
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise InputError(f"{what} ({first_line(error)})", hint=hint) from error


def first_line(error: BaseException) -> str:
    """The first line that an error says, printable and at most 200 characters, or its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[: 1 + lines[0].endswith(":")]) if lines else type(error).__name__
    if isinstance(error, KeyError):
        said = f"nothing is known of {said}"
    return "".join(letter if letter.isprintable() else "?" for letter in said[:200]).rstrip(" :.")


def listed(names: Sequence[str]) -> str:
    """Some names in a sentence: the first three, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def unlike(told: Mapping[str, Any], s: str = "") -> str:
    """What transformers' report of a loading finds wrong, as `lack NAME, and 2 more`, or "" where nothing is.

    `s` ends the verbs of one thing: `lacks`, `holds`.
    """
    wrong = [f"lack{s} {name}" for name in sorted(told["missing_keys"])]
    wrong += [f"hold{s} {name}, which its architecture does not know" for name in sorted(told["unexpected_keys"])]
    wrong += [f"hold{s} {name} in another shape" for name, *_ in sorted(told["mismatched_keys"])]
    return wrong[0] + (f", and {len(wrong) - 1} more" if wrong[1:] else "") if wrong else ""


def read_json(file: Path) -> dict[str, Any]:
    """The map that a JSON file holds. Raises InputError when it cannot be read, or holds something else."""
    with outside(f"`{file}` cannot be read as JSON"):
        found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise InputError(f"`{file}` holds a {type(found).__name__} instead of a map of settings", hint=_FETCH)
    return found


def read_config(folder: Path) -> Any:
    """transformers' config of a folder, never running code of it. Raises MissingError without config.json and
    InputError for one that transformers does not understand."""
    file = folder / "config.json"
    if not file.is_file():
        raise MissingError(f"`{folder}` has no config.json", hint="give the folder that `save_pretrained` wrote")
    raw = read_json(file)
    kind = raw.get("model_type")
    hint = f"mend `{file}`, or fetch it again"
    if "auto_map" in raw:
        hint = "a model that needs code of its own cannot be imported; take a version for transformers' own classes"
    elif not isinstance(kind, str):
        hint = f'name its family in `{file}`, for example `"model_type": "llama"`'
    for name in ("dtype", "torch_dtype"):
        if isinstance(raw.get(name), str) and not isinstance(getattr(torch, raw[name], None), torch.dtype):
            what = f"`{file}` names the {name} `{raw[name][:40]}`, which torch has not"
            raise InputError(what, hint=f'write what the weights are stored in, such as `"{name}": "bfloat16"`')
    with outside(f"`{folder}` has no config.json of an architecture that transformers knows", hint):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def read_tokenizer(folder: Path, **options: Any) -> PreTrainedTokenizerBase:
    """The tokenizer that AutoTokenizer makes of a folder, never running code of it; `options` go to it.

    Raises InputError when it cannot be read, with the way to convert one that needs other packages or code.
    """
    hint = _CONVERT_WORDS.replace("{folder}", str(folder))
    try:
        with outside(f"the tokenizer of `{folder}` cannot be read"):
            made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
            made(["a"], truncation=False)  # a setting of the wrong kind shows at the first text
            return made
    except InputError as error:
        if any(word in error.what for word in _REMOTE):
            what = f"the tokenizer of `{folder}` needs code of its own, which is never run here"
            raise InputError(what, hint="take a version of the model with a tokenizer.json") from error
        if not options and not (folder / "tokenizer.json").is_file():
            raise InputError(error.what, hint=hint) from error
        raise


def read_headers(files: Sequence[Path]) -> dict[str, Stored]:
    """Every tensor in some safetensors files, by name, from their headers alone.

    Raises InputError for a file that is not whole, and for a name that two of them hold.
    """
    found: dict[str, Stored] = {}
    for file in files:
        with outside(f"`{file}` is no whole safetensors file", "fetch it again"), safe_open(file, "pt") as opened:
            shown = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            held = {name: Stored(part.get_dtype(), tuple(part.get_shape()), file.name) for name, part in shown.items()}
        twice = sorted(held.keys() & found.keys())
        if twice:
            what = f"`{found[twice[0]].file}` and `{file.name}` both hold the tensor {twice[0]}"
            raise InputError(what, hint="keep only the shards of one saving in the folder")
        found |= held
    return found


@contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers from telling on standard error what is told in an error, or is of no interest, here."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)

"""The tokens that end and pad: what all places of a model say of them, settled so that each exists in the embedding.

Config, generation settings, tokenizer and chat template enter; end ids, a padding id and words about every disagreement
leave. Places disagree in most finetuned models, and an end token that one of them forgets is never trained, or never
stops a completion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from stages.core.errors import ContractError
from stages.policy.models.chat import sample
from stages.policy.models.reading import listed, outside

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
_SPARE = re.compile("reserved|unused|place.?holder|dummy|extra|pad", re.IGNORECASE)
"""What families call tokens that they keep for later."""


def ids_of(value: Any, place: str) -> list[int]:
    """The token ids that a setting holds: none, one, or a list. Raises ContractError for anything else."""
    given = [] if value is None else value if isinstance(value, list) else [value]
    if any(not isinstance(one, int) or isinstance(one, bool) for one in given):
        hint = "write a token id, or a list of ids, there"
        raise ContractError(f"the end token in {place} is {str(value)[:60]}, which is no token id", hint=hint)
    return [int(one) for one in given]


def settle_ends(said: Mapping[str, Any], rows: int, begin: int | None = None) -> tuple[list[int], list[str]]:
    """All ids that end a completion by any of some places, in the order of the places, and the words on what differs.

    `said` maps a place (`generation_config.json`, `the tokenizer`) to its id, its list of ids or None; `rows`: rows of
    the embedding; `begin`: the tokenizer's begin token. An id outside of the embedding cannot be written by the model
    and is dropped with a word, and so is the begin token where another end is named (some classes name it by default).
    Raises ContractError when no place names an end that exists.
    """
    named = {place: ids_of(value, place) for place, value in said.items()}
    notes = []
    for place, ids in named.items():
        wrong = [one for one in ids if not 0 <= one < rows]
        if wrong:
            notes.append(f"{place} names {_listed(wrong)} as an end token, which the embedding of {rows} rows lacks")
    named = {place: [one for one in ids if 0 <= one < rows] for place, ids in named.items()}
    ends = list(dict.fromkeys(one for ids in named.values() for one in ids))
    if begin in ends and begin != (said.get("the tokenizer")) and len(ends) > 1:
        notes.append(f"token {begin}, named as an end, begins texts and is no end here")
        ends.remove(begin)
    if not ends:
        raise ContractError("the model names no end token", hint="add eos_token_id to its generation_config.json")
    named = {place: [one for one in ids if one in ends] for place, ids in named.items()}
    if len({frozenset(ids) for ids in named.values() if ids}) > 1:
        told = "; ".join(f"{place} {_listed(ids)}" for place, ids in named.items() if ids)
        notes.append(f"places disagree on the end tokens, and all of them end a completion here: {told}")
    return ends, notes


def settle_special(
    tokenizer: PreTrainedTokenizerBase, config_pad: Any, eos_ids: Sequence[int], rows: int, asked: str | None
) -> tuple[int, bool]:
    """Give the tokenizer an end token among `eos_ids` and a padding token of the embedding that is none of them.

    The tokenizer's own are kept where they fit. Returns the padding id and whether it is new. Raises ContractError
    when the token asked for cannot pad, or nothing can.
    """
    if tokenizer.eos_token_id not in eos_ids:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(eos_ids[0])
    vocabulary = tokenizer.get_vocab()
    if asked is not None:
        if asked not in vocabulary or vocabulary[asked] in eos_ids or vocabulary[asked] >= rows:
            reason = "ends completions" if vocabulary.get(asked) in eos_ids else "is no token of this model"
            raise ContractError(f"the padding token `{asked}` {reason}", hint="choose another: `--pad-token TOKEN`")
        chosen = asked
    else:
        own = tokenizer.pad_token if tokenizer.pad_token_id is not None else None
        if own is None and isinstance(config_pad, int) and 0 <= config_pad < rows:
            own = tokenizer.convert_ids_to_tokens(config_pad)
        chosen = _pad_token(tokenizer, own, eos_ids, rows)
    replaced = vocabulary[chosen] != tokenizer.pad_token_id
    tokenizer.pad_token = chosen
    return vocabulary[chosen], replaced


def _pad_token(tokenizer: PreTrainedTokenizerBase, own: str | None, eos_ids: Sequence[int], rows: int) -> str:
    vocabulary = tokenizer.get_vocab()
    special = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    # Tokens that a prompt may hold, where they mean something, come last, and those kept for nothing first.
    template = f"{tokenizer.chat_template or ''} {sample(tokenizer)}"
    special.sort(key=lambda token: (token == tokenizer.bos_token, token in template, not _SPARE.search(token)))
    free = [token for token in PAD_TOKENS if token not in template]
    for token in [own, *free, *special]:
        if token is not None and vocabulary.get(token, rows) < rows and vocabulary[token] not in eos_ids:
            return str(token)
    raise ContractError(
        "the model has no special token for padding that is not also an end token",
        hint="name one it can spare: `--pad-token TOKEN`",
    )


def fit_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> list[str]:
    """Take from a tokenizer the special tokens that the embedding has no row for, and return the words on them.

    Such tokens (a `[PAD]` added without resizing, a mark for images in a model of text) would end a run the first time
    a text holds them; without them that text is read as ordinary letters. Raises ContractError for any other token
    beyond the embedding: the model was meant to write it.
    """
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows}
    if not beyond:
        return []
    names = sorted(beyond, key=lambda token: beyond[token])
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    told = f"the tokenizer gives ids up to {max(beyond.values())} ({_listed(names)}), the embedding has {rows} rows"
    resize = "give them rows before importing: `model.resize_token_embeddings(len(tokenizer))`, and save both"
    wanted = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token}
    if not set(names) <= special or set(names) & wanted:
        raise ContractError(told, hint=resize)
    _forget(tokenizer, set(names), told)
    return [f"{told}: taken off, since no text needs them"]


def _forget(tokenizer: PreTrainedTokenizerBase, names: set[str], told: str) -> None:
    """Remove special tokens from a tokenizer, in place."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["content"] not in names]
    vocabulary = parts["model"].get("vocab")
    if isinstance(vocabulary, dict):
        parts["model"]["vocab"] = {token: number for token, number in vocabulary.items() if token not in names}
    parts["padding"] = None
    with outside(told, "give them rows: `model.resize_token_embeddings(len(tokenizer))`, and save both"):
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(parts))
    for name, token in tokenizer.special_tokens_map.items():  # a pad token, and a family's own, such as image_token
        if token in names:
            setattr(tokenizer, name, None)
    tokenizer.extra_special_tokens = [token for token in tokenizer.extra_special_tokens if token not in names]


def _listed(values: Sequence[Any]) -> str:
    return listed([str(value)[:40] for value in values])

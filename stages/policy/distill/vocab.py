"""One vocabulary for two models: tokenizers are compared, and rows beyond them cut off.

Two models and their tokenizers enter; the number of token ids they share leaves, or a refusal in words. The trap:
Qwen2.5 pads the same 151,665 tokens to 151,936 embedding rows up to 3B and to 152,064 from 7B on, so that whoever
compares `config.vocab_size` (TRL's trainer does) refuses the commonest distillation there is, and whoever compares
nothing crashes or trains on rows that no text can reach. What decides whether log-probabilities can be compared is
whether the same text becomes the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedTokenizerFast

from stages.core.contract import Contract
from stages.core.errors import InputError
from stages.policy.models.folders import load_tokenizer, tokenizer_difference, tokenizer_sha256
from stages.policy.models.reading import listed, outside


def refuse_other_tokenizer(student: Path, teacher: Path, what: str, way_out: str) -> None:
    """Raise InputError when the two folders' tokenizers make other ids of any text: `what` needs one, `way_out` not."""
    if difference := _difference(student, teacher):
        said = f"{what} needs one tokenizer, and the student's is not the teacher's: {difference}"
        raise InputError(said, hint=way_out)


def refuse_apart(student: Path, teacher: Path, what: str, way_out: str) -> None:
    """The same, but the teacher may know tokens of its own (see `only_taught`)."""
    if not only_taught(student, teacher):
        refuse_other_tokenizer(student, teacher, what, way_out)


def only_taught(student: Path, teacher: Path) -> list[str]:
    """The texts of tokens that only the teacher has, where its tokenizer is the student's with these added at the end;
    [] for any other pair.

    Qwen3's is Qwen2.5's with four more. Every id that the student gives then means the same text to both, and what is
    one token to the teacher alone it can read in the student's pieces.
    """
    mine, theirs = (_contents(folder / "tokenizer.json") for folder in (student, teacher))
    known = mine.pop("added_tokens"), theirs.pop("added_tokens")
    own, other = ({token["id"]: token for token in each} for each in known)
    more = {number: token["content"] for number, token in other.items() if number not in own}
    for parts, added in ((mine, own), (theirs, other)):
        words = parts["model"].get("vocab") if isinstance(parts.get("model"), dict) else None
        if not isinstance(words, dict):
            return []
        words |= {token["content"]: number for number, token in added.items()}
    for text in more.values():
        theirs["model"]["vocab"].pop(text)
    same = mine == theirs and all(other.get(number) == token for number, token in own.items())
    return list(more.values()) if same and more and min(more) > max(mine["model"]["vocab"].values()) else []


def _contents(file: Path) -> dict[str, Any]:
    with outside(f"`{file}` cannot be read"):
        found = json.loads(file.read_text(encoding="utf-8"))
    return {"added_tokens": [], **{key: part for key, part in found.items() if key not in ("padding", "truncation")}}


def _difference(student: Path, teacher: Path) -> str:
    if tokenizer_sha256(student) == tokenizer_sha256(teacher):
        return ""
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(teacher / "tokenizer.json"))
    return tokenizer_difference(load_tokenizer(student), theirs)


TRACES_WORK = "`mode=traces` works with any tokenizer: the student then learns from the teacher's text"
"""The way out of most refusals."""


def refuse_foreign_end(contract: Contract, student: Path) -> None:
    """Raise InputError where a response ends in a token that the student's tokenizer has not."""
    if contract.end_id > max(load_tokenizer(student).get_vocab().values()):
        what = f"the teacher ends a response in token {contract.end_id}, which the student's tokenizer has not"
        raise InputError(what, hint=TRACES_WORK)


def told(texts: Sequence[str]) -> str:
    """A sentence on the tokens that only a teacher has."""
    return f"{listed(texts)}: one token each to the teacher alone, which reads them here in the student's pieces"


def vocabulary_of(*folders: Path) -> int:
    """The number of ids that the first model's tokenizer can make and the embeddings of all hold: 0 … this - 1."""
    return min(max(load_tokenizer(folders[0]).get_vocab().values()) + 1, *map(embedding_rows, folders))


def embedding_rows(folder: Path) -> int:
    """Rows of the embedding of the model in a folder, read off its config."""
    return _rows(AutoConfig.from_pretrained(folder, local_files_only=True))


def trim(model: Any, rows: int) -> dict[str, Tensor]:
    """Cut a model's embeddings and output layer to their first `rows` rows, in place; returns what `restore` needs."""
    if _rows(model.config) <= rows:
        return {}
    tensors = _tensors(model)
    cut = {name: tensor.detach()[rows:].clone() for name, tensor in tensors.items()}
    model.resize_token_embeddings(rows, mean_resizing=False)
    return cut


def restore(model: Any, cut: dict[str, Tensor]) -> None:
    """Give a trimmed model the rows back that `trim` cut off, as they were."""
    if not cut:
        return
    rows = _rows(model.config)
    model.resize_token_embeddings(rows + len(cut["embedding"]), mean_resizing=False)
    with torch.no_grad():
        for name, tensor in _tensors(model).items():
            tensor[rows:] = cut[name].to(tensor.device)


def _tensors(model: Any) -> dict[str, Tensor]:
    """The tensors with a row for each token, by a name of ours; tied ones once."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    found = {"embedding": embedding}
    if head.weight is not embedding:
        found["head"] = head.weight
    if head.bias is not None:
        found["bias"] = head.bias
    return found


def _rows(config: Any) -> int:
    return int(config.get_text_config().vocab_size)

"""One vocabulary for two models: tokenizers are compared, and rows beyond them cut off.

Two models and their tokenizers enter; the number of token ids they share leaves, or a refusal in words. The trap:
Qwen2.5 pads the same 151,665 tokens to 151,936 embedding rows up to 3B and to 152,064 from 7B on, so that whoever
compares `config.vocab_size` (TRL's trainer does) refuses the commonest distillation there is, and whoever compares
nothing crashes or trains on rows that no text can reach. What decides whether log-probabilities can be compared is
whether the same text becomes the same ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedTokenizerFast

from stages.core.errors import InputError
from stages.policy.models.folders import load_tokenizer, tokenizer_difference, tokenizer_sha256


def refuse_other_tokenizer(student: Path, teacher: Path, what: str, way_out: str) -> None:
    """Raise InputError when the two folders' tokenizers make other ids of any text: `what` needs one, `way_out` not."""
    if tokenizer_sha256(student) == tokenizer_sha256(teacher):
        return
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(teacher / "tokenizer.json"))
    difference = tokenizer_difference(load_tokenizer(student), theirs)
    if difference:
        said = f"{what} needs one tokenizer, and the student's is not the teacher's: {difference}"
        raise InputError(said, hint=way_out)


TRACES_WORK = "`mode=traces` works with any tokenizer: the student then learns from the teacher's text"
"""The way out of most refusals."""


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

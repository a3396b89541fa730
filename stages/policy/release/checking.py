"""A GGUF that was written is read again, by transformers, and its logits say what it lost.

The file, the logits of the model it was made from, and the model with the weights that the file should hold enter;
figures leave, or an error where the file holds another model than it should. The two losses are told apart: what the
kind of number costs is measured and reported, and beyond that nothing may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.core.contract import Contract
from stages.core.errors import StageError
from stages.policy.models.folders import PROBE
from stages.policy.models.packed import unpacked

POSITIONS = 512
"""Tokens of the probe at most: enough for a wrong rope base to show."""
BOUND = 1e-3
"""Largest difference of a logit, as a share of the largest logit, that float32 rounding may make."""


def probe_ids(tokenizer: Any, contract: Contract) -> list[int]:
    """Token ids of a text in every script, repeated to POSITIONS or what the model can hold."""
    ids: list[int] = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    room = min(POSITIONS, contract.max_positions or POSITIONS)
    return (ids * (room // len(ids) + 1))[:room]


def logits_of(model: Any, ids: Sequence[int]) -> Tensor:
    """Logits [T, V] in float32 of the ids in one row."""
    with torch.inference_mode():
        found: Tensor = model(torch.tensor([list(ids)])).logits[0].float()
    return found.clone()


def read_back(file: Path, tokenizer: Any, contract: Contract, *, whole_TV: Tensor, held_TV: Tensor) -> dict[str, float]:
    """Read a GGUF with transformers and compare: with `held_TV`, the logits of the weights it should hold, and with
    `whole_TV`, those of the model before it was packed.

    Returns `reading_difference` (largest, to `held_TV`) and what `moved` says of the kind of number. Raises StageError
    where the file is read as another model, tokenizer or set of ends.
    """
    found = unpacked(file)
    ids = probe_ids(tokenizer, contract)
    theirs: list[int] = found.tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    mine: list[int] = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    if theirs != mine:
        raise _unlike(file, f"its tokenizer makes {len(theirs)} tokens of a text, and the model's makes {len(mine)}")
    if set(found.ends) != set(contract.eos_ids):
        raise _unlike(file, f"it ends in {sorted(found.ends)}, and the model in {sorted(contract.eos_ids)}")
    try:
        again_TV = logits_of(found.model.eval(), ids)
    except RuntimeError as error:  # transformers leaves some keys unread, such as the width of Qwen3's heads
        raise _unlike(file, f"its shapes do not fit ({str(error).splitlines()[0]})") from error
    difference, largest = (again_TV - held_TV).abs().max().item(), held_TV.abs().max().item()
    if not difference <= BOUND * max(1.0, largest):
        raise _unlike(file, f"its logits are off by {difference:.3g} from those of the weights that it holds")
    return {"reading_difference": difference, **moved(whole_TV, again_TV)}


def moved(whole_TV: Tensor, again_TV: Tensor) -> dict[str, float]:
    """How far logits [T, V] moved: `logit_difference` (largest), `logit_difference_mean`, `top1_same` (share of
    positions whose likeliest token stayed) and `kl` (nats a token)."""
    moved_TV = (again_TV - whole_TV).abs()
    whole, again = whole_TV.log_softmax(-1), again_TV.log_softmax(-1)
    return {
        "logit_difference": moved_TV.max().item(),
        "logit_difference_mean": moved_TV.mean().item(),
        "top1_same": (whole_TV.argmax(-1) == again_TV.argmax(-1)).float().mean().item(),
        "kl": (whole.exp() * (whole - again)).sum(-1).mean().item(),
    }


def _unlike(file: Path, how: str) -> StageError:
    return StageError(f"`{file.name}` is read back as another model: {how}", hint="export it with `format=folder`")

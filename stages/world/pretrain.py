"""Pre-training of a bundled base: documents in, a small model's folder out (the one command is `r1 world build`).

Rows of a batch share their header (its text is computed once, by the same shared-prefix pass that RL uses), and the
loss falls on the response: what a tiny base could learn of the random digits of a problem is nothing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.world.documents import HEADER_RATES, HEADERS, Document, documents

if TYPE_CHECKING:
    import torch


CHECKPOINT = 250  # steps
PIECES = 4  # of like length, so that little is padding


@dataclass(frozen=True)
class Training:
    """How a base is made. `documents` and `batch` in documents; tokens never cut."""

    world: str = "base"
    start: str = ""
    """The training whose model this one goes on from; empty = fresh weights."""
    tokenizer: str = ""
    """The bundled base whose tokenizer it takes, as a student of log-probabilities must; empty = one of its own."""
    family: Literal["qwen2", "llama"] = "qwen2"
    documents: int = 220_000
    batch: int = 128
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    inner: int = 256
    vocab: int = 896
    learning_rate: float = 3e-3
    warmup: int = 150
    weight_decay: float = 0.05
    seed: int = 0


_CONTROL: dict[str, Any] = {"start": "base", "documents": 60_000, "learning_rate": 1e-3, "seed": 2}
_NANO: dict[str, Any] = {"documents": 220_000, "hidden": 64, "inner": 160}
BASES = {
    "early": Training(world="early"),
    "middle": Training(world="middle", start="early", documents=200_000, learning_rate=2e-3, seed=1),
    "base": Training(start="middle", documents=80_000, learning_rate=1.5e-3, seed=3),
    "base-flat": Training(world="base-flat", documents=120_000),
    "base-unmixed": Training(world="base-unmixed", **_CONTROL),
    "base-unrepaired": Training(world="base-unrepaired", **_CONTROL),
    "qwen-nano": Training(**_NANO, tokenizer="base"),
    "llama-nano": Training(**_NANO, family="llama", vocab=768),
}
"""How each bundled base was made; `early` and `middle` are not shipped, the base goes on from them.

Two controls go on from the base in a world without the cause in question, so that they know as much; `base-flat` must
never have learned to compute and starts afresh. The two students have a third of the base's parameters, one of them
with the base's tokenizer, the other in another family with a tokenizer of its own.
"""


def build(training: Training, folder: Path, said: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Train tokenizer and model on a world and save them to `folder`; returns the run's figures.

    A training that goes on from another finds it beside `folder`, or builds it there first; a tokenizer that it takes
    is looked for there too, and is the shipped base's otherwise. Killed at any moment, the same call goes on from its
    last checkpoint (every CHECKPOINT steps).
    """
    import torch

    torch.manual_seed(training.seed)
    model, tokenizer = _started(training, folder.parent, said) if training.start else _fresh(training, folder.parent)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, betas=(0.9, 0.95), weight_decay=training.weight_decay
    )
    steps = training.documents // training.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, training.warmup))
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "tokens": 0, "training": asdict(training)}
    state.update(_resume(folder, asdict(training), model, optimizer, schedule))
    begun = time.time() - state["seconds"]
    for step, batch in enumerate(batches(training, tokenizer), 1):
        if step <= state["step"]:
            continue
        loss, tokens = accumulate(model, batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.time() - begun
        state.update(step=step, seconds=seconds, tokens=state["tokens"] + tokens)
        if step % 50 == 0:
            said(f"step {step}/{steps}  loss {loss:.4f}  {seconds / step * (steps - step) / 60:.1f} min left")
        if step % CHECKPOINT == 0:
            _checkpoint(folder, state, model, optimizer, schedule)
    _save(model, tokenizer, folder, {**state, "seconds": round(state["seconds"])})
    return state


def _fresh(training: Training, beside: Path) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    from stages.world import sources
    from stages.world.tokenizer import train as train_tokenizer

    if training.tokenizer:
        folder = beside / training.tokenizer
        tokenizer = AutoTokenizer.from_pretrained(folder if folder.is_dir() else sources.HOME / "bases" / folder.name)
    else:
        texts = (document.text for document in documents("early", 20_000))
        tokenizer = train_tokenizer(texts, training.vocab, training.family)
    return new_model(training, tokenizer), tokenizer


def _started(training: Training, beside: Path, said: Callable[[str], None]) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = beside / training.start
    if not (folder / "world.json").exists():
        said(f"{training.start} comes first")
        build(BASES[training.start], folder, said)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder)


def new_model(training: Training, tokenizer: Any) -> Any:
    """A model of the family with fresh weights, tied embeddings and the tokenizer's end and pad ids."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    families = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
    config, model = families[training.family]
    return model(
        config(
            vocab_size=len(tokenizer),
            hidden_size=training.hidden,
            num_hidden_layers=training.layers,
            num_attention_heads=training.heads,
            num_key_value_heads=training.kv_heads,
            intermediate_size=training.inner,
            max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )


def batches(training: Training, tokenizer: Any) -> Iterator[list[dict[str, torch.Tensor]]]:
    """Batches of one header each, cut into pieces of like length.

    A piece: prefix_P, ids_BT, real_BT (False = padding, after the end of a row) and mask_BT (True = trained on).
    """
    waiting: dict[str, list[Document]] = {name: [] for name in HEADER_RATES}
    end = tokenizer.eos_token_id
    for document in documents(training.world, training.documents, seed=training.seed):
        queue = waiting[document.header]
        queue.append(document)
        if len(queue) < training.batch:
            continue
        before, after = HEADERS[document.header].split("{prompt}")
        prefix = tokenizer(before.removesuffix(" "))["input_ids"]
        asked = tokenizer([f" {d.prompt}{after}" for d in queue])["input_ids"]
        given = tokenizer([d.response for d in queue])["input_ids"]
        rows = sorted(((ask + give + [end], len(ask)) for ask, give in zip(asked, given, strict=True)), key=_length)
        size = -(-len(rows) // PIECES)
        yield [_piece(prefix, rows[at : at + size]) for at in range(0, len(rows), size)]
        queue.clear()


def _length(row: tuple[list[int], int]) -> int:
    return len(row[0])


def _piece(prefix: list[int], rows: list[tuple[list[int], int]]) -> dict[str, torch.Tensor]:
    import torch

    length = max(map(_length, rows))
    ids_BT = torch.zeros((len(rows), length), dtype=torch.long)
    real_BT = torch.zeros((len(rows), length), dtype=torch.bool)
    mask_BT = torch.zeros((len(rows), length), dtype=torch.bool)
    for row, (ids, asked) in enumerate(rows):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
        real_BT[row, : len(ids)] = True
        mask_BT[row, asked : len(ids)] = True
    return {"prefix_P": torch.tensor(prefix), "ids_BT": ids_BT, "real_BT": real_BT, "mask_BT": mask_BT}


def accumulate(model: Any, batch: list[dict[str, torch.Tensor]]) -> tuple[float, int]:
    """Add the gradient of the batch's mean next-token loss; returns that loss (nats) and its trained tokens."""
    total = sum(int(piece["mask_BT"].sum()) for piece in batch)
    loss = 0.0
    for piece in batch:
        part = loss_sum(model, piece) / total
        part.backward()
        loss += part.item()
    return loss, total


def loss_sum(model: Any, piece: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed next-token loss (nats) of one piece; the header runs once for all its rows."""
    import torch

    from stages.policy.models.prefix import suffix_logits

    logits_BTV = suffix_logits(model, piece["prefix_P"], piece["ids_BT"], piece["real_BT"])
    next_BT = piece["mask_BT"][:, 1:]
    logits_NV, targets_N = logits_BTV[:, :-1][next_BT], piece["ids_BT"][:, 1:][next_BT]
    return torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="sum")


def _rate(step: int, steps: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _checkpoint(folder: Path, state: dict[str, Any], model: Any, optimizer: Any, schedule: Any) -> None:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    whole = {**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**whole, "schedule": schedule.state_dict()}, folder / "partial.new")
    (folder / "partial.new").replace(folder / "partial.pt")


def _resume(folder: Path, training: dict[str, Any], model: Any, optimizer: Any, schedule: Any) -> dict[str, Any]:
    import torch

    path = folder / "partial.pt"
    if not path.exists():
        return {}
    saved = torch.load(path, weights_only=True)
    if saved["training"] != training:
        return {}
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    return {key: saved[key] for key in ("step", "seconds", "tokens")}


def _save(model: Any, tokenizer: Any, folder: Path, card: dict[str, Any]) -> None:
    import torch

    from stages.world.tokenizer import save as save_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    (folder / "world.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (folder / "partial.pt").unlink(missing_ok=True)

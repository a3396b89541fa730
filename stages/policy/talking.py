"""A question in, a model's words out one by one: what `r1 chat` talks to.

A model artifact and a contract enter; pieces of text leave as they are drawn, by transformers' own `generate`. One
conversation at a time needs no engine of many rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TextIteratorStreamer

from stages.core.contract import Contract
from stages.core.encoding import Reader
from stages.core.errors import InputError
from stages.core.rendering import Message
from stages.core.run.runtime import Runtime
from stages.policy.models import device, folders


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How words are drawn."""

    temperature: float = 0.6
    """Divides the logits; 0 takes the likeliest. R1 was published with 0.6 and top_p 0.95 (its model card)."""
    top_p: float = 0.95
    """Share of the probability that may be sampled; in (0, 1]."""
    max_tokens: int | None = None
    """Tokens of an answer; None: what the model has room for."""


class Talker:
    """A model that answers, loaded once."""

    def __init__(self, folder: Path, contract: Contract, runtime: Runtime) -> None:
        self.contract = contract
        self.device = device.place(runtime)
        self.tokenizer = folders.load_tokenizer(folder)
        self.reader = Reader(self.tokenizer.backend_tokenizer, contract)
        dtype = "float32" if self.device == "cpu" else "bfloat16"
        self.model = folders.load_model(folder, dtype, self.device)
        self.cut = False
        """Whether the last answer had no room to end."""

    def say(self, problem: str, turns: Sequence[Message], manner: Manner, seed: int) -> Iterator[str]:
        """Pieces of the answer as they are drawn, without the end token; the same seed draws the same.

        Raises InputError where the conversation leaves no room, and as `Contract.render`.
        """
        ids = self.reader.prompt(problem, turns)
        room = self.contract.max_positions - len(ids)
        if room < 1:
            what = f"this conversation has {len(ids)} tokens, and the model holds {self.contract.max_positions}"
            raise InputError(what, hint="begin anew: /new")
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=False)
        drawn = {"do_sample": True, "temperature": manner.temperature, "top_p": manner.top_p, "top_k": 0}
        told: dict[str, Any] = {
            **(drawn if manner.temperature > 0 else {"do_sample": False}),
            "max_new_tokens": min(room, manner.max_tokens or room),
            "eos_token_id": list(self.contract.eos_ids),
            "pad_token_id": self.contract.pad_id,
            "streamer": streamer,
        }
        failed: list[BaseException] = []
        thread = threading.Thread(target=self._draw, args=(ids, told, seed, failed), daemon=True)
        thread.start()
        yield from _without_end(
            streamer, [str(self.tokenizer.convert_ids_to_tokens(one)) for one in told["eos_token_id"]]
        )
        thread.join()
        if failed:
            raise failed[0]

    def _draw(self, ids: list[int], told: dict[str, Any], seed: int, failed: list[BaseException]) -> None:
        try:
            torch.manual_seed(seed)
            row = torch.tensor([ids], device=self.device)
            found = self.model.generate(row, attention_mask=torch.ones_like(row), **told)
            self.cut = int(found[0, -1]) not in self.contract.eos_ids
        except BaseException as error:  # noqa: BLE001 (raised again by who listens)
            failed.append(error)
            told["streamer"].end()


def _without_end(pieces: Iterator[str], ends: Sequence[str]) -> Iterator[str]:
    """The pieces, one late, so that an end token can be taken off the last."""
    before = ""
    for piece in pieces:
        if before:
            yield before
        before = piece
    yield before.removesuffix(next((end for end in ends if before.endswith(end)), ""))

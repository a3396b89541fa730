"""A model that is asked: rendered prompts enter, completions leave, and what they cost in operations.

Evaluation, sampling and the workers that judge and rewrite all ask a model through this file: one way to find the room
for an answer, to cut a batch to the memory and to turn tokens into text. The weights are loaded when the first prompt
is really asked, so a run whose shards are all there loads none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.core.artifact import Model
from stages.core.contract import Contract
from stages.core.errors import InputError
from stages.core.rows import Prompt
from stages.core.runner import Work
from stages.policy import device, memory, models
from stages.policy.generate import Completion, Sampling, generate

LONGEST = 32768
"""Tokens of a completion whose limit nobody set: what the paper evaluates and samples with."""
BATCH_ROWS = 512
"""Most rows that are sampled at once."""


class Speaker:
    """A model with its tokenizer and the contract it is asked under."""

    def __init__(self, model: Model, contract: Contract, dtype: str, work: Work) -> None:
        self.path, self.contract, self.dtype, self.work = model.path, contract, dtype, work
        self.tokenizer = models.load_tokenizer(model.path)

    @cached_property
    def model(self) -> Any:
        """The weights, on the device the runtime names."""
        where = device.place(self.work.runtime)
        self.work.emit("device", device=device.described(where))
        return models.load_model(self.path, dtype=self.dtype, device=where)

    def prompt_ids(self, rows: Sequence[Prompt]) -> dict[str, list[int]]:
        """Return prompt id -> the token ids of its rendered text."""
        return {row.id: list(self.tokenizer(self.contract.render(row.problem))["input_ids"]) for row in rows}

    def room(self, prompt_ids: Mapping[str, Sequence[int]], wanted: int | None) -> int:
        """Return the tokens a completion may have: `wanted` (None: LONGEST) or what the longest prompt leaves, if less.

        Says so where `wanted` is cut. Raises InputError for a prompt that leaves none.
        """
        longest = max(prompt_ids, key=lambda one: len(prompt_ids[one]))
        room = self.contract.max_positions - len(prompt_ids[longest])
        if room < 1:
            raise InputError(
                f"problem {longest} takes {len(prompt_ids[longest])} tokens and leaves no room in "
                f"{self.contract.max_positions} positions",
                hint="leave long problems out when preparing: `r1 recipes keys prepare`",
            )
        if wanted is not None and wanted > room:
            text = f"max_tokens {wanted} is cut to {room}: the model has no more positions"
            self.work.emit("warning", text=text)
        return min(room, LONGEST if wanted is None else wanted)

    def say(self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling, seed: int) -> list[Completion]:
        """Return one completion for each prompt, as many at once as the runtime says or the memory holds."""
        longest = max(map(len, prompt_ids), default=0) + sampling.max_tokens
        rows = self.work.runtime.micro_batch or min(BATCH_ROWS, memory.rows_sampled_at_once(self.model, longest))
        return generate(self.model, prompt_ids, sampling, contract=self.contract, seed=seed, batch_rows=rows)

    def text(self, completion: Completion) -> str:
        """Return a completion as text, without end and padding tokens; tags stay even where they are special tokens."""
        silent = {*self.contract.eos_ids, self.contract.pad_id}
        return str(self.tokenizer.decode([i for i in completion.ids if i not in silent], skip_special_tokens=False))

    def flops(self, tokens: int) -> float:
        """Return the operations it takes to process so many tokens: 2 N D (2001.08361, section 2.1), N = parameters."""
        return 2.0 * parameters(self.path) * tokens


def parameters(folder: Path) -> int:
    """Return how many parameters the weights of a folder hold, tied ones once: read off the files' headers."""
    from safetensors import safe_open

    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            total += sum(_count(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


def _count(shape: Iterable[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count

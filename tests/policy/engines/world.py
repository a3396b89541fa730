"""The embedded base, held-out prompts as its token ids, and the trainer's own log-probabilities: what engines are held
against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.core import templates
from stages.core.contract import Contract
from stages.core.sampling import Request, Sampling


@dataclass
class Base:
    """The embedded base in a folder."""

    folder: Path

    @classmethod
    def fetched(cls, folder: Path) -> Base:
        from stages.world import sources

        sources.fetch("world:base", "model", folder)
        return cls(folder)

    @cached_property
    def contract(self) -> Contract:
        return templates.with_template(Contract.read(self.folder), "r1_zero")

    @cached_property
    def model(self) -> Any:
        from stages.policy.models import folders

        return folders.load_model(self.folder)

    def prompts(self, count: int) -> list[list[int]]:
        from stages.policy.models import folders
        from stages.world import problems

        words = folders.load_tokenizer(self.folder)
        texts = [self.contract.render(row.problem) for row in problems.prompts("heldout", count, 0)]
        ids: list[list[int]] = words(texts)["input_ids"]
        return ids

    def requests(self, prompts: Sequence[Sequence[int]], **how: Any) -> list[Request]:
        """One request a prompt, seeded with its number."""
        sampling = Sampling(**how)
        return [Request(prompt_ids=ids, sampling=sampling, seed=1000 + n, key=n) for n, ids in enumerate(prompts)]


def logits_of(model: Any, ids: Sequence[int]) -> Any:
    """Logits [T, V] of one text in float32: row t is what follows token t."""
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([list(ids)])).logits[0].float()


def logprobs_of(model: Any, prompt: Sequence[int], completion: Sequence[int], temperature: float = 1.0) -> list[float]:
    """The model's log-probability of each completion token at a temperature."""
    import torch

    logits_TV = logits_of(model, [*prompt, *completion])[len(prompt) - 1 : -1] / temperature
    picked = logits_TV.log_softmax(-1).gather(1, torch.tensor(list(completion))[:, None])[:, 0]
    found: list[float] = picked.tolist()
    return found

"""Completions of the transformers engine for a list of prompts, as tests want them: one call, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stages.core.contract import Contract
from stages.core.sampling import Completion, Request, Sampling
from stages.policy.engines.client import in_order
from stages.policy.engines.local.engine import LocalEngine
from stages.policy.seeding import derive


def generate(
    model: Any,
    prompt_ids: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    contract: Contract,
    seed: int,
    batch_rows: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """One completion for each prompt; the seed of row n is derived from (seed, n)."""
    asked = [
        Request(prompt_ids=ids, sampling=sampling, seed=derive(seed, row), key=row)
        for row, ids in enumerate(prompt_ids)
    ]
    engine = LocalEngine(model, contract, batch_rows=batch_rows)
    return in_order(asked, engine.sample(asked), on_progress)


def watched(monkeypatch: Any, fatal: Callable[[int], object] = lambda number: None) -> list[int]:
    """From now on, the rows of each batch that the transformers engine samples; `fatal` hears its number before it."""
    sizes: list[int] = []
    sampled = LocalEngine._sampled

    def counted(self: LocalEngine, rows: list[Request]) -> Any:
        sizes.append(len(rows))
        fatal(len(sizes))
        return sampled(self, rows)

    monkeypatch.setattr(LocalEngine, "_sampled", counted)
    return sizes


def interrupt_at(number: int) -> Callable[[int], None]:
    """A `fatal` that is Ctrl-C at one batch."""

    def fatal(batch: int) -> None:
        if batch == number:
            raise KeyboardInterrupt

    return fatal

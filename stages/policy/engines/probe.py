"""Whether an engine samples from the weights it was given: its log-probabilities of some texts against the trainer's.

An engine, texts and what the trainer holds of them enter; a gap in nats leaves, or an error that ends the run. The most
reported fault of RL with a separate sampler is rollouts that silently come from old weights: a layer that was not
renewed, a tied head, a stale cache. How far apart the two are when they have the same weights is measured first, for
this model, number type and device; a later gap well above that is no rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from stages.core.errors import EngineError
from stages.core.sampling import Engine, Text
from stages.policy.models.agreement import BOUNDS, Row, refuse_apart

FACTOR, FLOOR = 10.0, 1e-6
"""A renewal fails above FACTOR times the first gap, never below FLOOR nats. On the embedded base in float32 the
first gap is 1.6e-7; one Adam step of 1e-6 with a whole layer left old makes 1.6e-5 to 3.1e-5, one matrix 2.9e-6."""


class Probe:
    """Compares an engine with the trainer whose weights it takes.

    Texts should be what the policy itself says, some hundred tokens of the newest rollout: rounding grows with how
    unlikely a text is. `trainer` is, for each text, the trainer's log-probability of each completion token at
    temperature 1, in nats, under the weights that the engine was just given.
    """

    def __init__(self, engine: Engine, dtype: str) -> None:
        self.engine, self.dtype = engine, dtype
        self.bound = BOUNDS[dtype]

    def rehearse(
        self,
        weights: Iterable[tuple[str, Any]],
        texts: Sequence[Text],
        trainer: Sequence[Sequence[float]],
        version: int = 0,
    ) -> float:
        """Renew the engine once with the weights as they are, as `version`; returns the gap, which sets later bounds.

        To be called before the first step, also of a resumed run: an engine that cannot renew is found out here. Raises
        EngineError for such a one, and for one that runs another model.
        """
        self.engine.renew(weights, version)
        found = refuse_apart(
            rows_of(self.engine, texts, trainer),
            self.dtype,
            places=(f"the {self.engine.name} engine", "the trainer"),
            reasons="likely: it does not run the same model, or computes in another number type",
            hint="use `runtime.engine=transformers`",
            error=EngineError,
        )
        self.bound = min(BOUNDS[self.dtype], max(FLOOR, FACTOR * found))
        return found

    def check(self, texts: Sequence[Text], trainer: Sequence[Sequence[float]]) -> float:
        """Return the gap after a renewal, in nats a token; raises EngineError with both numbers above the bound."""
        found = gap(self.engine, texts, trainer)
        if not found <= self.bound:
            raise EngineError(
                f"the {self.engine.name} engine does not sample the trainer's weights: after they were renewed it is "
                f"{found:.3g} nats a token from the trainer, above {self.bound:.3g}",
                hint="resume the run, which opens the engine anew, or use `runtime.engine=transformers`",
            )
        return found


def gap(engine: Engine, texts: Sequence[Text], trainer: Sequence[Sequence[float]]) -> float:
    """Mean |engine - trainer| of the log-probabilities of all completion tokens, in nats; see `rows_of`."""
    return torch.cat([(row.one_T - row.other_T).abs() for row in rows_of(engine, texts, trainer)]).mean().item()


def rows_of(engine: Engine, texts: Sequence[Text], trainer: Sequence[Sequence[float]]) -> list[Row]:
    """What an engine and a trainer say of each completion token of the texts, in nats.

    Raises ValueError where the two are not of the same tokens.
    """
    numbered = [text._replace(key=number) for number, text in enumerate(texts)]
    read = {text.key: reading.logprobs for text, reading in engine.read(numbered)}
    pairs = [(own, read[number]) for number, own in enumerate(trainer)]
    if any(len(own) != len(theirs) for own, theirs in pairs):
        raise ValueError("an engine and a trainer speak of other tokens")
    return [
        Row(f"text {number + 1}", torch.tensor(theirs), torch.tensor(own)) for number, (own, theirs) in enumerate(pairs)
    ]

"""What an adapter is asked for, without a tensor: low-rank matrices that are trained in place of a model's own weights.

A recipe holds one `Adaptation` under `adapter`; its rank says whether there is one at all. LoRA (arXiv 2106.09685): a
weight W of shape [out, in] is frozen, and used as W + alpha / rank · B A, with A [rank, in] random and B [out, rank]
zero at first, so that training starts from the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.recipe.ranges import Rule

WORDS = ("all-linear", "attention", "mlp", "experts")
"""What `targets` may say besides the names of layers."""


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """An adapter: of which rank, on which layers, and what is sealed in the end."""

    rank: int = 0
    """Rank of the trained matrices, 1 or more and never above a layer's own sides; 0 = no adapter, all weights are
    trained.
    """
    alpha: float = 32.0
    """The update counts alpha / rank times, above 0."""
    dropout: float = 0.0
    """Share of an adapter's inputs that is dropped while training, 0 to below 1; always 0 where the model samples what
    it is trained on, and on experts.
    """
    targets: str | list[str] = "all-linear"
    """Which layers: `all-linear` (attention and feed-forward layers, shared experts too), `attention`, `mlp`, `experts`
    (the routed ones, each of this rank), or names of layers such as `q_proj` or `layers.0.mlp.up_proj`; one or a list.
    Output layer, embeddings and routers only by name.
    """
    merge: bool = True
    """Whether the sealed model is whole, the adapter merged into its weights; false = the adapter alone is sealed, an
    artifact of the kind `adapter` that is opened over its base. Judges are always whole.
    """
    quantize: Literal["none", "4bit"] = "none"
    """`4bit`: the base is held in 4 bits (NF4 of QLoRA, arXiv 2305.14314; bitsandbytes, on a GPU alone) while the
    adapter is trained; merged is into the weights as they were.
    """

    @property
    def kept(self) -> bool:
        """Whether the adapter alone is sealed."""
        return self.rank > 0 and not self.merge

    @property
    def words(self) -> list[str]:
        """The targets as a list."""
        return [self.targets] if isinstance(self.targets, str) else list(self.targets)

    def rules(self) -> list[Rule]:
        """Ranges of these keys, as the recipe that holds them says them."""
        return [
            Rule("adapter.rank", self.rank >= 0, "0 or more"),
            Rule("adapter.rank", self.rank > 0 or self == Adaptation(), "1 or more where its other keys are given"),
            Rule("adapter.alpha", self.alpha > 0, "above 0"),
            Rule("adapter.dropout", 0 <= self.dropout < 1, "in [0, 1)"),
            Rule("adapter.targets", bool(self.words), f"{', '.join(WORDS)}, or names of layers"),
        ]


def still(adaptation: Adaptation, why: str) -> Rule:
    """The rule that a model which samples what it is trained on drops nothing; `why` ends the sentence."""
    return Rule("adapter.dropout", adaptation.dropout == 0, f"0 {why}", hint="leave `adapter.dropout` out")

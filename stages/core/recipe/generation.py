"""How a worker is asked: one recipe's words, for the judge, the rewriter and the labeller alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.errors import RecipeError
from stages.core.templates import Asked


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(Asked):
    """How a model that works on tasks in words is asked."""

    temperature: float = 0.0
    """Divides the logits before sampling; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Share of the probability that may be sampled; in (0, 1]."""
    max_tokens: int = 4096
    """Tokens of a reply, its thinking included; >= 1. A task that leaves fewer positions is not asked."""
    template: str = ""
    """Prompt template: `r1_zero`, `plain`, `chat`, a text with {prompt}, a chat template's jinja, or a file that holds
    one of these; empty: the model's own, else its chat template, else the bare task.
    """
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of the weights."""

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_tokens < 1:
            what = "a worker's `temperature` is 0 or more, its `top_p` in (0, 1], its `max_tokens` 1 or more"
            raise RecipeError(what, hint="leave them out: it then takes the likeliest token")
        super().__post_init__()

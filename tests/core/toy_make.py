"""A stage for tests: a recipe of every type makes a handful of prompts, step by step, so that it can be killed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stages.core.artifact import Draft, Prompts
from stages.core.errors import RecipeError
from stages.core.rows import Prompt, write_rows

if TYPE_CHECKING:
    from stages.core.run.runner import Work

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class LengthSwitch:
    """When to allow longer completions."""

    step: int
    """Optimizer step of the switch."""
    tokens: int = 64
    """Tokens from then on."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How completions are drawn."""

    name: str = "t1"
    """For tables."""
    temperature: float = 1.0
    """0 or more."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One field of every type a recipe may have."""

    rows: int = 3
    """Prompts to make,
    1 or more."""
    learning_rate: float = 1e-6
    """Per step; 0 = frozen."""
    label: str = "add"
    """Text of each problem."""
    clip: float | None = None
    """Norm; None = not clipped."""
    shuffle: bool = False
    """Whether to reverse the rows."""
    loss: Literal["grpo", "dapo"] = "grpo"
    """Form of the loss."""
    rewards: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0, "format": 1.0})
    """Name -> weight; 0 = not used."""
    options: dict[str, Any] = field(default_factory=dict)
    """Anything."""
    lengths: list[int] = field(default_factory=list)
    """Tokens, one for each phase."""
    band: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest."""
    switch: LengthSwitch | None = None
    """None = never."""
    samplings: list[Sampling] = field(default_factory=lambda: [Sampling()])
    """At least one."""
    pause: float = 0.0
    """Seconds to wait after each row."""
    seed: int = 0
    """Of all chance."""

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise RecipeError(f"`rows` must be 1 or more, not {self.rows}", hint="rows=1")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Nothing is needed."""


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Makes the rows one by one; each is kept in the scratch folder, so a killed run goes on where it was."""
    for number in range(recipe.rows):
        kept = work.scratch / f"{number}.txt"
        if kept.exists():
            work.emit("note", text=f"kept {number}")
            continue
        kept.write_text(f"{recipe.label} {number} + {work.seed}")
        work.emit("step", step=number, loss=1.0 / (number + 1))
        time.sleep(recipe.pause)
    texts = [(work.scratch / f"{number}.txt").read_text() for number in range(recipe.rows)]
    rows = [Prompt(f"toy-{number}", text, str(number), "math") for number, text in enumerate(texts)]
    write_rows(work.path / "prompts.jsonl", reversed(rows) if recipe.shuffle else rows)
    return Draft(Prompts, {"rows": len(rows), "share": float("nan")})

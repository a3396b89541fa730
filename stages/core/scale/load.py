"""How much a node has to compute: a recipe and the sizes of its inputs enter; steps, tokens and seconds leave.

Operations are 2 N for a token that is read or drawn and 6 N for one that is trained on (arXiv 2001.08361 §2.1), N the
weights that one token meets. What part of a device's published speed is reached is a guess, written here once; a node
that was built before is timed by that (`run.timing`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from stages.core.scale.devices import Device
from stages.core.scale.shapes import Shapes

PROMPT = 256
"""Tokens that a prompt is taken to have, its template included."""
LONGEST_MEAN = 8192
"""A completion is taken to have half of its limit, and never more than this."""
LONGEST_ROW = 32768
"""Tokens of a conversation where neither recipe nor model says how long one may be."""
REACHED = 0.3
"""Part of a GPU's published operations that training and reading reach; a core's figure is what it reaches."""
DRAWING = 0.4
"""Part of a device's bandwidth that drawing one token for each row reaches."""
A_TOKEN = {"cpu": 0.002, "cuda": 0.02}
"""Seconds that drawing a token for all rows takes besides, in kernels and in between."""
TOGETHER = 0.9
"""What each further device adds of a whole one."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a node computes with its model."""

    steps: int = 0
    """Optimizer steps; 0 = nothing is trained."""
    trained: int = 0
    """Tokens with a backward pass."""
    read: int = 0
    """Tokens with a forward pass alone."""
    drawn: int = 0
    """Completions."""
    length: int = 0
    """Mean tokens of one."""
    batch: int = 1
    """Completions that can be drawn at once, for there are as many in a rollout."""

    @property
    def tokens(self) -> int:
        """Tokens trained on, read and drawn."""
        return self.trained + self.read + self.drawn * self.length


def mean_length(limit: int, given: int | None) -> int:
    """Tokens of a completion under a limit, where nobody says how many."""
    return min(given or min(limit // 2, LONGEST_MEAN), limit) or 1


def reinforcement(recipe: Any, length: int | None, *, exact: bool) -> Load:
    """What `rl` computes. An `exact` sampler's log-probabilities need not be taken again."""
    drawn = recipe.steps * recipe.step_rows
    mean = mean_length(recipe.max_completion_tokens, length)
    tokens = drawn * (PROMPT + mean)
    again = (0 if exact else 1) + (1 if recipe.kl_weight else 0)
    return Load(
        steps=recipe.steps,
        trained=tokens,
        read=tokens * again,
        drawn=drawn,
        length=mean,
        batch=recipe.step_rows * recipe.minibatches,
    )


def imitation(rows: int, recipe: Any, tokens: int) -> Load:
    """What training in epochs over rows of so many tokens computes."""
    steps = math.ceil(rows * recipe.epochs / recipe.batch_size)
    return Load(steps=max(1, steps), trained=rows * recipe.epochs * tokens)


def asking(completions: int, limit: int, length: int | None) -> Load:
    """What drawing so many completions computes."""
    mean = mean_length(limit, length)
    return Load(read=completions * PROMPT, drawn=completions, length=mean, batch=completions)


def seconds(load: Load, shapes: Shapes, device: Device, *, twice: bool, adapter: bool, at_once: int) -> float:
    """Seconds that a load takes on all devices together; `at_once` rows are drawn together on each, `twice`: layers
    are computed twice."""
    reached = device.flops * (1.0 if device.cpu else REACHED)
    together = 1 + TOGETHER * (device.count - 1)
    each = (4 if adapter else 6) + (2 if twice else 0)
    computing = (each * load.trained + 2 * load.read) * shapes.active / reached
    rows = max(1, min(at_once, math.ceil(load.batch / device.count)))
    size = 4 if device.cpu else 2
    loading = (shapes.active * size + rows * load.length * shapes.layers * shapes.cached * size) / device.bandwidth
    token = max(loading / DRAWING, 2 * shapes.active * rows / reached) + A_TOKEN["cpu" if device.cpu else "cuda"]
    drawing = math.ceil(load.drawn / rows) * load.length * token if load.drawn else 0.0
    return (computing + drawing) / together

"""A stage for tests: prompts in, scores out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.core.artifact import Draft, Prompts, Scores

if TYPE_CHECKING:
    from stages.core.run.runner import Work

VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to score."""

    samples: int = 4
    """Per prompt."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What to score."""

    prompts: Prompts
    """The problems."""
    parent: Scores | None = None
    """To compare with."""


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Counts rows times samples."""
    count = len(inputs.prompts.rows()) * recipe.samples
    (work.path / "scores.json").write_text(json.dumps({"count": count, "parent": inputs.parent is not None}))
    return Draft(Scores, {"count": count})

"""A stage for tests: takes whatever can speak, and writes down who that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.core.artifact import Draft, Endpoint, Model, Prompts
from stages.core.rows import Prompt, write_rows

if TYPE_CHECKING:
    from stages.core.run.runner import Work

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Nothing to choose."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """One of two kinds."""

    speaker: Model | Endpoint
    """Who speaks."""


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Write one row that names the speaker."""
    name = inputs.speaker.name
    write_rows(work.path / "prompts.jsonl", [Prompt(id="a", problem=name, answer="", verifier="math")])
    return Draft(Prompts, {"rows": 1})

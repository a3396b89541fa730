"""Claims as they are declared: a YAML file enters, checked `Claim`s leave, or one sentence with file and line.

A claim compares one metric of two nodes of a pipeline, says which way it should go and what the paper measured, and
names a control in which the supposed cause is taken away. `{seed}` in a node's name stands for each of `seeds:` in
turn; the first, usually empty, gives the pipeline's own nodes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stages.core.errors import RecipeError
from stages.core.recipe import schema
from stages.core.recipe.loading import find_recipe, shown_path
from stages.core.recipe.yamlfile import read_file
from stages.core.stats.scores import sampling_name

SEED = "{seed}"
ASSERTIONS = ("no-stage", "no-more")
_ASK = "every key is described in stages/study/claims.py"


@dataclass(frozen=True, kw_only=True)
class Control:
    """The same comparison where the supposed cause is missing."""

    of: str | list[str]
    """Node, or nodes of which the best counts; as in the claim."""
    against: float | str | list[str] | None = None
    """Node, nodes or number it is compared with; None only for a curve."""
    metric: str = ""
    """Another metric than the claim's; empty = the same."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence of the paper, or of what is said about it, as something that can be decided."""

    text: str
    """The claim in one sentence."""
    paper: str
    """What the paper measured, with its place; "not measured" where it gives no number."""
    of: str | list[str]
    """Node whose figure is claimed to differ. Of several, the one that is best at the first seed counts, so a sweep
    needs one seed: that flatters this side, so it belongs to the side the claim says loses, or to both.
    """
    against: float | str | list[str] | None = None
    """What it is compared with: a node, several (the best counts), or a number. None only for a curve, which is
    compared with its own beginning.
    """
    metric: str = "strict_pass@1"
    """A figure of an evaluation (strict_pass@1, pass@1, cons@8, format, length, mixed_language, language, readable,
    reflective, a reward's name) or else of the artifact's record (flops.update; a + b is their sum).
    """
    against_metric: str = ""
    """Another metric for `against`; empty = the same."""
    curve: str = ""
    """A figure of the steps of an RL run, in place of `metric`: the rollouts of its last tenth are compared with those
    of its first tenth.
    """
    direction: Literal["rises", "falls", "equal", "keeps"] = "rises"
    """Which way `of` differs from `against`: it is higher, lower, no different, or no lower."""
    within: float | None = None
    """For `equal` and `keeps`: the difference that is still no difference, above 0, in the metric's unit."""
    least: float = 0.0
    """The smallest difference in the claimed direction that would count, 0 or more, in the metric's unit."""
    family: str = ""
    """Only problems of this family; empty = all."""
    problems: Literal["all", "solved", "unsolved"] = "all"
    """Only problems that the model behind `against` answers rightly (any format) in at least one of its samples, or in
    none. On those it never solves its own figure is 0 by this choice, so any change there is a rise.
    """
    sampling: str = sampling_name(1.0, 1.0)
    """The sampling of the evaluations that is compared."""
    seeds: list[str] = field(default_factory=list)
    """What {seed} stands for; empty = the file's `seeds:`."""
    control: Control | None = None
    """Where the supposed cause is missing, the effect must be missing too."""
    no_control: str = ""
    """Why there can be no control, where there is none: a claim without one must say so."""
    asserts: list[str] = field(default_factory=list)
    """Facts that must hold for every `of`: `no-stage sft` (no such stage among its ancestors), `no-more METRIC` (the
    record's figure, of the model behind an evaluation, is at most 5 % above that of `against`).
    """
    note: str = ""
    """What a reader should know beside the figures."""
    id: str = ""
    """The claim's name in its file; filled in when it is read."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def sign(self) -> int:
        """+1 or -1: the direction of the claimed difference; 0 for `equal` and `keeps`."""
        return {"rises": 1, "falls": -1}.get(self.direction, 0)


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One row of the table of stages: where our figures are, and what was published."""

    scores: str
    """Node that evaluates the stage on reasoning problems."""
    general: str = ""
    """Node that evaluates it on general prompts; empty = none."""
    paper: dict[str, float] = field(default_factory=dict)
    """Benchmark -> published figure of the same stage."""
    name: str = ""
    """The row's name in its file; filled in when it is read."""


@dataclass(frozen=True, kw_only=True)
class Book:
    """A file of claims."""

    seeds: list[str] = field(default_factory=lambda: [""])
    """What {seed} in node names stands for, one after the other; the claims' default."""
    claims: dict[str, Claim]
    """Name -> claim, in reading order."""
    stages: dict[str, StageRow] = field(default_factory=dict)
    """Name -> row of the table of stages, in reading order; empty = no table."""
    general_metric: str = "stages.world.oracle:reward"
    """The figure that the table of stages shows of general prompts."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise RecipeError("`seeds` should be a list of different texts", hint='e.g. seeds: ["", -seed1, -seed2]')
        if not self.claims:
            raise RecipeError("`claims` is empty", hint="see recipes/claims.yaml")


def load_book(source: str | Path) -> Book:
    """Return the claims and the table of stages of a file, or of a bundled file's name.

    Raises MissingError for an unknown file and RecipeError, with file and line, for a wrong one.
    """
    path = find_recipe(source)
    book = schema.build(Book, read_file(path, shown_path(path)), "", None, _ASK)
    named = [name for name, claim in book.claims.items() if claim.id]
    named += [name for name, row in book.stages.items() if row.name]
    if named:
        what, hint = f"`{named[0]}` is named twice", "its key is its name: leave `id` and `name` out"
        raise RecipeError(what, where=shown_path(path), hint=hint)
    claims = {
        name: dataclasses.replace(claim, id=name, seeds=claim.seeds or book.seeds)
        for name, claim in book.claims.items()
    }
    rows = {name: dataclasses.replace(row, name=name) for name, row in book.stages.items()}
    return dataclasses.replace(book, claims=claims, stages=rows)


def node_names(side: float | str | list[str] | None) -> list[str]:
    """Return the node names of a claim's side, `{seed}` still in them; none for a number or nothing."""
    if isinstance(side, str):
        return [side]
    return list(side) if isinstance(side, list) else []


def _check(claim: Claim) -> None:
    if (claim.sign == 0) != (claim.within is not None) or (claim.within is not None and claim.within <= 0):
        raise RecipeError("`within` goes with `equal` and `keeps`, and is above 0", hint="e.g. within: 0.02")
    if claim.least < 0 or (claim.least and claim.sign == 0):
        raise RecipeError("`least` is 0 or more, and goes with rises or falls", hint="e.g. least: 0.01")
    if (claim.control is None) == (not claim.no_control):
        what = "a claim has either a `control` or a sentence why there is none, `no_control`"
        raise RecipeError(what, hint='e.g. no_control: "nothing is trained"')
    for side in (claim, claim.control):
        if side is not None and (side.against is None) != bool(claim.curve):
            what = "`against` is missing" if side.against is None else "a `curve` is compared with its own beginning"
            raise RecipeError(what, hint="name a node or a number as `against`, or a `curve`, not both")
        if side is not None and not node_names(side.of):
            raise RecipeError("`of` names no node", hint="e.g. of: zero-scores")
    if claim.problems != "all" and not isinstance(claim.against, str):
        raise RecipeError("`problems` asks what one node solves", hint="give one node as `against`")
    for assertion in claim.asserts:
        kind, _, what = assertion.partition(" ")
        if kind not in ASSERTIONS or not what.strip():
            raise RecipeError(f"`asserts` cannot read `{assertion}`", hint="write `no-stage STAGE` or `no-more METRIC`")

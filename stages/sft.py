"""A model and conversations in, a model that answers as they do out: supervised fine-tuning.

DeepSeek-R1 does this twice, each time from the base: the cold start on a few thousand readable chains of thought, and
the second SFT on 800,000 conversations from rejection sampling. Both are this stage with other conversations. Only
responses are learned, with their thinking, their tags and their end; no row is ever cut. The defaults are the published
values (DeepSeek-R1, arXiv 2501.12948v2 B.4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from stages.core.artifact import Adapter, Artifact, Conversations, Draft, Model
from stages.core.contract import Contract
from stages.core.data import imitation
from stages.core.data.surveyed import surveyed
from stages.core.recipe.parts import Tuning, taken
from stages.core.recipe.ranges import at_least, check, or_none
from stages.core.templates import Asked

if TYPE_CHECKING:
    from stages.core.run.runner import Work

VERSION = 5
LONGEST = 32768
"""Tokens of a row where the recipe names none and the model has room: R1's context."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Tuning, Asked):
    batch_size: int = 64
    """Conversations of an optimizer step, 1 or more; the last step may have fewer."""
    max_tokens: int | None = None
    """Longest row in tokens, prompt and response together, 1 or more: longer rows are left out and counted. None = the
    model's positions, at most 32,768.
    """
    seed: int = 0
    """Decides the order of the rows, anew in each epoch; 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    model: Model
    """The model to start from."""
    conversations: Conversations
    """What is imitated."""


def kind_of(recipe: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Adapter if recipe.adapter.kept else Model


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Train on the responses and write the model under `work.path`.

    Resumes from the checkpoints in `work.scratch`; on a CPU the weights are then those of an uninterrupted run, bit for
    bit. Raises ContractError for a template or tokens that cannot work, InputError when every row is too long.
    """
    from stages.policy import sft
    from stages.policy.models import adapters, asking, device, folders

    where = device.place(work.runtime)
    work.emit("device", device=device.described(where))
    contract = asking.contract_for(recipe, inputs.model, work.note)
    tokenizer = folders.load_tokenizer(inputs.model.path)
    rows = inputs.conversations.rows()
    asking.tell_of_stripping(contract, work.note)
    limit = longest(recipe, contract)
    if recipe.max_tokens is not None and recipe.max_tokens > limit:
        work.emit("warning", text=f"max_tokens {recipe.max_tokens} is cut to {limit}: the model has no more positions")
    fit = partial(imitation.fitting, limit=limit)
    kept, dropped, left = surveyed(rows, contract, inputs.model.path, fit, limit=limit, runtime=work.runtime)
    if left:
        work.emit("warning", text=imitation.told(left, len(rows)))
    if dropped:
        work.emit("warning", text=f"{dropped} of {len(rows)} rows are longer than {limit} tokens and left out")
    policy = adapters.load(
        inputs.model.path, tokenizer, contract, recipe.adapter, device=where, seed=work.seed, tell=work.note
    )
    figures = sft.train(policy, kept, taken(Tuning, recipe), work=work)
    figures |= policy.save(work.path, recipe.dtype)
    return Draft(kind_of(recipe), figures | {"dropped_too_long": dropped} | imitation.counted(left))


def refuse_processes(recipe: Recipe, processes: int) -> None:
    """Rows go round for any number of processes; raises nothing."""


def longest(recipe: Recipe, contract: Contract) -> int:
    """The most tokens a row may have."""
    return min(contract.max_positions, recipe.max_tokens or LONGEST)


def _check(recipe: Recipe) -> None:
    """Raise RecipeError for the first value that is out of its range."""
    rules = [*at_least(recipe, 0, "seed"), *or_none(at_least(recipe, 1, "max_tokens"))]
    check(recipe, "sft", rules)

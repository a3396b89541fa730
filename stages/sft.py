"""A model and conversations in, a model that answers as they do out: supervised fine-tuning.

DeepSeek-R1 does this twice, each time from the base: the cold start on a few thousand readable chains of thought, and
the second SFT on 800,000 conversations from rejection sampling. Both are this stage with other conversations. Only
responses are learned, with their thinking, their tags and their end; no row is ever cut. The defaults are the published
values (DeepSeek-R1, arXiv 2501.12948v2 B.4.2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from stages.core import imitation, templates
from stages.core.artifact import Conversations, Draft, Model
from stages.core.contract import Contract
from stages.core.ranges import Rule, above_zero, at_least, betas, check, or_none

if TYPE_CHECKING:
    from stages.core.runner import Work

VERSION = 1
LONGEST = 32768
"""Tokens of a row where the recipe names none and the model has room: R1's context."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    template: str = ""
    """Prompt template: empty = the model's own, or r1_zero when it has none; `r1_zero`, `plain`, `chat` (that of the
    model's tokenizer), a file that holds one, or the text itself with {prompt}.
    """
    epochs: int = 2
    """Times each row is trained on, 1 or more."""
    batch_size: int = 64
    """Conversations of an optimizer step, 1 or more; the last step may have fewer."""
    learning_rate: float = 5e-6
    """Of AdamW at the start, above 0."""
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on after the warmup: along a cosine to min_lr_share of it, or not at all."""
    min_lr_share: float = 0.1
    """Share of the learning rate at which the cosine ends with the last step, 0 to 1."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0; 0 = none."""
    max_tokens: int | None = None
    """Longest row in tokens, prompt and response together, 1 or more: longer rows are left out and counted. None = the
    model's positions, at most 32,768.
    """
    weight_decay: float = 0.0
    """Of AdamW, 0 or more."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's two moments, each in [0, 1)."""
    max_grad_norm: float | None = 1.0
    """Longer gradients are scaled down to this norm; 0 or None = never."""
    seed: int = 0
    """Decides the order of the rows, anew in each epoch; 0 or more."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of the forward passes and of the sealed weights; while training, weights are float32."""

    def __post_init__(self) -> None:
        if self.template:
            object.__setattr__(self, "template", templates.template_text(self.template, [templates.CHAT]))
        _check(self)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    model: Model
    """The model to start from."""
    conversations: Conversations
    """What is imitated."""


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Train on the responses and write the model under `work.path`.

    Resumes from the checkpoints in `work.scratch`; on a CPU the weights are then those of an uninterrupted run, bit for
    bit. Raises ContractError for a template that strips reasoning or tokens that cannot work, InputError when every row
    is too long.
    """
    import torch

    from stages.policy import device, models, sft

    where = device.place(work.runtime)
    work.emit("device", device=device.described(where))
    contract = contract_for(recipe.template, inputs.model)
    tokenizer = models.load_tokenizer(inputs.model.path)
    rows = inputs.conversations.rows()
    refuse_stripping(recipe.template, rows, contract, inputs.model)
    limit = longest(recipe, contract)
    if recipe.max_tokens is not None and recipe.max_tokens > limit:
        work.emit("warning", text=f"max_tokens {recipe.max_tokens} is cut to {limit}: the model has no more positions")
    made = imitation.examples(rows, contract, imitation.read_tokenizer(inputs.model.path))
    kept, dropped = imitation.fitting(made, limit)
    if dropped:
        work.emit("warning", text=f"{dropped} of {len(rows)} rows are longer than {limit} tokens and left out")
    model = models.load_model(inputs.model.path, device=where)
    tuning = sft.Tuning(**{part.name: getattr(recipe, part.name) for part in fields(sft.Tuning)})
    figures = sft.train(model, kept, tuning, tokenizer=tokenizer, work=work)
    model = model.to(torch.bfloat16) if recipe.dtype == "bfloat16" else model
    models.save_model(model, tokenizer, contract, work.path)
    return Draft(Model, figures | {"dropped_too_long": dropped})


def contract_for(template: str, model: Model) -> Contract:
    """The model's contract with the template a recipe asks for; only `chat` has to load the model's tokenizer."""
    if template != templates.CHAT:
        return templates.dressed(model.contract, template)
    from stages.policy import chat

    return chat.chat_contract(model.contract, _tokenizer(model))


def refuse_stripping(template: str, rows: list[Any], contract: Contract, model: Model) -> None:
    """Raise ContractError when `template` is the tokenizer's own and would not let reasoning through."""
    if template == templates.CHAT:
        from stages.policy import chat

        chat.refuse_a_template_that_strips(rows, contract, _tokenizer(model))


def longest(recipe: Recipe, contract: Contract) -> int:
    """The most tokens a row may have."""
    return min(contract.max_positions, recipe.max_tokens or LONGEST)


def _tokenizer(model: Model) -> Any:
    from stages.policy import models

    return models.load_tokenizer(model.path)


def _check(recipe: Recipe) -> None:
    """Raise RecipeError for the first value that is out of its range."""
    rules = at_least(recipe, 1, "epochs", "batch_size") + at_least(recipe, 0, "warmup_steps", "weight_decay", "seed")
    rules += above_zero(recipe, "learning_rate")
    rules += [Rule("min_lr_share", 0 <= recipe.min_lr_share <= 1, "in [0, 1]")]
    rules += or_none(at_least(recipe, 1, "max_tokens") + at_least(recipe, 0, "max_grad_norm"))
    check(recipe, "sft", [*rules, betas(recipe)])

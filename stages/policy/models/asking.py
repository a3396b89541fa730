"""The contract a model is asked under: its own, or with the template of a recipe.

Recipes and models enter; contracts leave. All stages that ask or train a model come here, so that a template means the
same in each. Only a chat template has to load the model's tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stages.core import templates
from stages.core.artifact import Endpoint, Model
from stages.core.contract import Contract
from stages.core.errors import RecipeError
from stages.policy.models.chat import chat_contract


def contract_for(
    asked: templates.Asked, model: Model | Endpoint, tell: Callable[[str], None] | None = None
) -> Contract:
    """The model's contract with the template a recipe asks for; only a chat template has to load the tokenizer.

    `tell` hears what is fixed or added. Raises ContractError for a template that cannot be used, RecipeError for an
    option that it does not know. An endpoint's own server holds its chat template.
    """
    if not templates.is_chat(asked.template):
        return templates.with_template(model.contract, asked.template)
    if isinstance(model, Endpoint):
        if asked.template == templates.CHAT and not asked.template_options:
            return model.contract
        raise RecipeError(f"`template` of {model.address}: its server writes the chat template", hint="leave it out")
    source = "" if asked.template == templates.CHAT else asked.template
    return chat_contract(model.contract, tokenizer_of(model), source, asked.template_options, tell)


def tell_of_stripping(contract: Contract, tell: Callable[[str], None]) -> None:
    """Say what is trained where the chat template leaves the thought out of a finished answer: the whole response."""
    if templates.strips(contract):
        tell(
            "the chat template leaves the thought out of finished turns: a response trains whole, and the template "
            "that the trained model gets keeps the thought of a last answer; earlier turns stay without"
        )


def tokenizer_of(model: Model) -> Any:
    """The tokenizer of a model's folder."""
    from stages.policy.models.folders import load_tokenizer  # loads torch, which only a chat template has to wait for

    return load_tokenizer(model.path)

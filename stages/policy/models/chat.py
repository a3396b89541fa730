"""A tokenizer's chat template as a contract, and a look at what it does to reasoning.

A tokenizer and conversations enter; a contract with the template's text leaves, or the error that names the row whose
reasoning the template would not let through. The stock template of the DeepSeek-R1-Distill models is the known case:
it drops everything up to `</think>` from what an assistant said, so that who renders training data with it trains a
model that does not think.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stages.core.artifact import Model
from stages.core.contract import Contract
from stages.core.errors import ContractError
from stages.core.rows import Conversation
from stages.core.templates import CHAT, with_template

_PLACE = "{prompt}"


def contract_for(template: str, model: Model) -> Contract:
    """The model's contract with the template a recipe asks for; only `chat` has to load the model's tokenizer."""
    if template != CHAT:
        return with_template(model.contract, template)
    return chat_contract(model.contract, _tokenizer(model))


def refuse_stripping(template: str, rows: Iterable[Conversation], contract: Contract, model: Model) -> None:
    """Raise ContractError when `template` is the tokenizer's own and would not let reasoning through."""
    if template == CHAT:
        refuse_a_template_that_strips(rows, contract, _tokenizer(model))


def chat_contract(base: Contract, tokenizer: Any) -> Contract:
    """The base's contract with the tokenizer's chat template written out around {prompt}, its opening of `<think>`
    taken as the prefill.

    Raises ContractError when there is no chat template, or the prompt does not stand in it once and unchanged.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ContractError("the model's tokenizer has no chat template", hint="use another one: `template=r1_zero`")
    text = _rendered(tokenizer, [{"role": "user", "content": _PLACE}], asks=True)
    if text.count(_PLACE) != 1:
        raise ContractError(
            f"the chat template writes a user's prompt {text.count(_PLACE)} times", hint="use `template=r1_zero`"
        )
    begins = tokenizer.bos_token
    if begins and text.startswith(begins) and tokenizer(text)["input_ids"][:2] == [tokenizer.bos_token_id] * 2:
        text = text.removeprefix(begins)  # the tokenizer writes it too
    return with_template(base, text, CHAT)


def refuse_a_template_that_strips(rows: Iterable[Conversation], contract: Contract, tokenizer: Any) -> None:
    """Render each row as a finished conversation, and raise ContractError for the first whose reasoning is gone.

    Two ways out are named: the template written out, whose responses are then taken as they are, or another one.
    """
    for row in rows:
        said = contract.prefill + contract.respond(row.reasoning, row.summary)
        turns = [{"role": "user", "content": row.problem}, {"role": "assistant", "content": said}]
        if row.reasoning.strip() not in _rendered(tokenizer, turns, asks=False):
            written = contract.template + contract.prefill
            raise ContractError(
                f"row {row.id}: the model's chat template strips the reasoning from a response, so it would not train",
                hint=f"write the template out, `template={written!r}`, or use `template=r1_zero`",
            )


def _tokenizer(model: Model) -> Any:
    from stages.policy.models.folders import load_tokenizer  # loads torch, which only `chat` has to wait for

    return load_tokenizer(model.path)


def _rendered(tokenizer: Any, turns: list[dict[str, str]], *, asks: bool) -> str:
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks)
    return str(text)

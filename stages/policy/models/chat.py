"""A tokenizer's chat template as a contract, and a look at what it does to reasoning.

A tokenizer and conversations enter; a contract with the template's text leaves, or the error that names the row whose
reasoning the template would not let through. The stock template of the DeepSeek-R1-Distill models is the known case:
it drops everything up to `</think>` from what an assistant said, so that who renders training data with it trains a
model that does not think.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from stages.core import rendering
from stages.core.artifact import Model
from stages.core.contract import Contract
from stages.core.errors import ContractError
from stages.core.rows import Conversation
from stages.core.templates import CHAT, with_template

_PLACE = "{prompt}"
_ASKED, _SAID = "What is six times seven?", "It is 42"


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


def turn_end(tokenizer: Any) -> int | None:
    """The id of the token that a tokenizer's chat template writes after an assistant's turn, or None: there is no
    template, it cannot be rendered, or no token of its own stands there.

    Where several stand there in a row, it is the first that the tokenizer takes for its end, else the first.
    """
    try:
        closed = closing(tokenizer, source_of(tokenizer), {tokenizer.eos_token_id})
    except ContractError:
        return None
    return closed[1] if closed else None


def source_of(tokenizer: Any) -> str:
    """The jinja of a tokenizer's chat template, in need of nothing but messages (see `rendering.fixed`).

    Raises ContractError when there is none, several without a default, or a broken one.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ContractError("the model's tokenizer has no chat template", hint=rendering.WAY_OUT)
    try:
        source = str(tokenizer.get_chat_template())
    except ValueError as error:
        listed = ", ".join(sorted(tokenizer.chat_template))
        raise ContractError(
            f"the model's tokenizer has several chat templates ({listed}) and no default", hint=rendering.WAY_OUT
        ) from error
    needed = rendering.names(source)
    texts = {name: str(text) for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
    return rendering.fixed(source, {name: text for name, text in texts.items() if name in needed})


def closing(tokenizer: Any, source: str, ends: Collection[int]) -> tuple[str, int] | None:
    """What a template writes behind an assistant's answer: the text before the token that closes the turn, and its id.

    Of the tokens there, those that follow both a last answer and one in the middle come first (the last is followed by
    one more in some templates); of these the first that is among `ends`, else the first special one. None without one.
    """
    asked, said = {"role": "user", "content": _ASKED}, {"role": "assistant", "content": _SAID}
    tail = rendering.render(source, [asked, said], asks=False).rpartition(_SAID)[2]
    try:
        longer = rendering.render(source, [asked, said, {"role": "user", "content": _ASKED}], asks=True)
    except ContractError:
        longer = ""
    read = tokenizer.backend_tokenizer.encode(tail, add_special_tokens=False)
    after = tokenizer.backend_tokenizer.encode(longer.partition(_SAID)[2], add_special_tokens=False).ids
    shared = next((at for at, (one, two) in enumerate(zip(read.ids, after, strict=False)) if one != two), len(after))
    known = tokenizer.added_tokens_decoder
    for ids in (read.ids[:shared], read.ids):
        found = [place for place, token in enumerate(ids) if token in ends]
        found += [place for place, token in enumerate(ids) if token in known and known[token].special]
        if found:
            return tail[: read.offsets[found[0]][0]], ids[found[0]]
    return None


def _tokenizer(model: Model) -> Any:
    from stages.policy.models.folders import load_tokenizer  # loads torch, which only `chat` has to wait for

    return load_tokenizer(model.path)


def _rendered(tokenizer: Any, turns: list[dict[str, str]], *, asks: bool) -> str:
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks)
    return str(text)

"""A tokenizer's chat template as a contract, and a contract as a chat template.

Tokenizers enter; contracts leave, or the error that names what a template would do to a prompt or a response.
What a chat template takes from outside (the clock, options, special tokens) is written into its source, so that the
contract needs nothing else. The stock template of the DeepSeek-R1-Distill models is a known trap: it drops everything
up to `</think>` from what an assistant said, so that who renders training data with it trains a model that does not
think. Here a template writes prompts alone; a response stands behind its prompt as the contract writes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from stages.core import rendering, templates
from stages.core.contract import Contract
from stages.core.encoding import Reader, around
from stages.core.errors import ContractError, RecipeError

_ASKED, _SAID = "What is six times seven?", "It is 42"
"""A problem and an answer that are tried."""
_GIVEN = frozenset({"messages", "add_generation_prompt", "tools", "documents", "range", "namespace", rendering.CLOCK})
"""Names of a template that are no options."""
_SWITCHES = 16
"""Most options of a template that are tried."""


def chat_contract(
    base: Contract,
    tokenizer: Any,
    source: str = "",
    options: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Contract:
    """The base's contract with a chat template: a jinja `source`, or (empty) that of the tokenizer.

    Its end token, which is trained, is the one that the template writes behind an assistant's turn; it joins the
    contract's ends. Raises ContractError for a template that cannot be used, RecipeError for an option that
    it does not know.
    """
    name = "custom" if source else templates.CHAT
    written = source or source_of(tokenizer)
    source = _fixed(written, tokenizer, options or {})
    closed = closing(tokenizer, source, base.eos_ids)
    try:
        found = templates.with_chat(base, source, name=name, closing=closed, hint=rendering.WAY_OUT)
    except ContractError as error:
        opened = _switched(base, written, tokenizer, options or {})
        if opened:
            error.hint = f"let it think: `'template_options={{{opened}}}'`, or {rendering.WAY_OUT}"
        raise
    if tell is not None and rendering.CLOCK in rendering.names(written):
        tell(f"the chat template asks for today's date: every prompt says {rendering.dated(source)}")
    if tell is not None and found.end_id not in base.eos_ids:
        end = tokenizer.convert_ids_to_tokens(found.end_id)
        tell(f"the chat template ends a turn in {end!r}, which joins the model's end tokens")
    return found


def turn_end(tokenizer: Any) -> int | None:
    """The id of the token that a tokenizer's chat template writes after an assistant's turn, or None: there is no
    template, it cannot be rendered, or no token of its own stands there.

    Where several stand there in a row, it is the first that the tokenizer takes for its end, else the first.
    """
    try:
        closed = closing(tokenizer, _fixed(source_of(tokenizer), tokenizer, {}), {tokenizer.eos_token_id})
    except ContractError:
        return None
    return closed[1] if closed else None


def sample(tokenizer: Any) -> str:
    """What a tokenizer's chat template writes around a system turn, an answer and a new question, as far as it can be
    rendered: the tokens that it puts together of parts show only here."""
    asked, said = _pair()
    found = ""
    for turns in ([{"role": "system", "content": _SAID}, asked], [asked, said, asked]):
        with suppress(ContractError):
            found += rendering.render(_fixed(source_of(tokenizer), tokenizer, {}), turns, asks=True)
    return found


def source_of(tokenizer: Any) -> str:
    """The jinja of a tokenizer's chat template; ContractError when there is none, or several without a default."""
    if not getattr(tokenizer, "chat_template", None):
        raise ContractError("the model's tokenizer has no chat template", hint=rendering.WAY_OUT)
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        listed = ", ".join(sorted(tokenizer.chat_template))
        raise ContractError(
            f"the model's tokenizer has several chat templates ({listed}) and no default", hint=rendering.WAY_OUT
        ) from error


def closing(tokenizer: Any, source: str, ends: Collection[int]) -> tuple[str, int] | None:
    """What a template writes behind an assistant's answer: the text before the token that closes the turn, and its id.

    Of the tokens there, those that follow both a last answer and one in the middle come first (the last is followed by
    one more in some templates); of these the first that is among `ends`, else the first special one. None without one,
    and where the template does not write the answer as it is, as a text or as a list of parts: what it writes there
    tells nothing. Raises ContractError for a template that refuses an answer.
    """
    both = _behind(source, str) or _behind(source, _parts)
    if both is None:
        rendering.render(source, _pair(), asks=False)
        return None
    tail, longer = both
    read = tokenizer.backend_tokenizer.encode(tail, add_special_tokens=False)
    after = tokenizer.backend_tokenizer.encode(longer, add_special_tokens=False).ids
    shared = next((at for at, (one, two) in enumerate(zip(read.ids, after, strict=False)) if one != two), len(after))
    known = tokenizer.added_tokens_decoder
    for ids in (read.ids[:shared], read.ids):
        found = [place for place, token in enumerate(ids) if token in ends]
        found += [place for place, token in enumerate(ids) if token in known and known[token].special]
        if found:
            return tail[: read.offsets[found[0]][0]], ids[found[0]]
    return None


def _behind(source: str, content: Callable[[str], Any]) -> tuple[str, str] | None:
    """What a template writes behind a last answer, and behind one that a question follows; None where it does not
    write the answer once as it is. `content` makes the content of a message of its text."""
    asked, said = _pair(content)
    try:
        _, *last = rendering.render(source, [asked, said], asks=False).split(_SAID)
    except ContractError:
        return None
    longer = ""
    with suppress(ContractError):
        longer = rendering.render(source, [asked, said, asked], asks=True)
    return (last[0], longer.partition(_SAID)[2]) if len(last) == 1 else None


def _pair(content: Callable[[str], Any] = str) -> tuple[rendering.Message, rendering.Message]:
    """A question and its answer as messages, whose contents are made by `content`."""
    return {"role": "user", "content": content(_ASKED)}, {"role": "assistant", "content": content(_SAID)}


def _parts(text: str) -> list[dict[str, str]]:
    """A content as a list of parts: all that some templates read."""
    return [{"type": "text", "text": text}]


def sealed(contract: Contract, tokenizer: Any) -> str:
    """The jinja that asks every other program as the contract asks here: see `templates.sealed`.

    Where a tokenizer begins a text otherwise than what follows its begin token, a blank makes up for it if it can.
    """
    before = around(tokenizer.backend_tokenizer)[0] if contract.syntax == "text" else []
    begins = "".join(tokenizer.convert_ids_to_tokens(before))
    end = tokenizer.convert_ids_to_tokens(contract.end_id)
    wanted = Reader(tokenizer.backend_tokenizer, contract).prompt(_ASKED)
    made = [templates.sealed(contract, begins + blank, end) for blank in ("", " ")]
    for source in made:
        text = rendering.render(source, [{"role": "user", "content": _ASKED}], asks=True)
        if tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids == wanted:
            return source
    return made[0]


def _switched(base: Contract, written: str, tokenizer: Any, options: Mapping[str, Any]) -> str:
    """The options, as a recipe writes them, under which a template that cannot be used can be: one switch more, of
    those that it reads; "" where there is none."""
    try:
        known = rendering.names(written) - _GIVEN - set(tokenizer.special_tokens_map)
    except ContractError:
        return ""
    likely = sorted(known, key=lambda name: ("think" not in name, name != "enable_thinking", name))[:_SWITCHES]
    for name, value in ((name, value) for name in likely for value in (True, False)):
        given = {**options, name: value}
        try:
            templates.with_chat(base, _fixed(written, tokenizer, given), name="", closing=None, hint="")
        except ContractError:
            continue
        shown = (f"{key}: {json.dumps(each, ensure_ascii=False)}" for key, each in given.items())
        return ", ".join(shown)
    return ""


def _fixed(source: str, tokenizer: Any, options: Mapping[str, Any]) -> str:
    """A template's source with the tokenizer's special tokens, the options and the date written into it."""
    needed = rendering.names(source)
    special = {name: str(text) for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
    unknown = sorted(set(options) - needed)
    if unknown:
        known = ", ".join(sorted(needed - _GIVEN - set(special))) or "none"
        raise RecipeError(f"the chat template has no option `{unknown[0]}`", hint=f"its `template_options`: {known}")
    texts = {name: text for name, text in special.items() if name in needed}
    return rendering.fixed(source, texts | dict(options))

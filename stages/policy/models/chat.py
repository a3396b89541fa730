"""A tokenizer's chat template as a contract, and a contract as a chat template.

Tokenizers enter; contracts leave, or the error that names what a template would do to a prompt or a response.
What a chat template takes from outside (the clock, options, special tokens) is written into its source, so that the
contract needs nothing else. The stock template of the DeepSeek-R1-Distill models is a known trap: it drops everything
up to `</think>` from what an assistant said, so that who renders training data with it trains a model that does not
think. Here a template writes prompts alone; a response stands behind its prompt as the contract writes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

from stages.core import rendering, templates, thoughts
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
        if opened is not None:
            how = f"`'template_options={{{opened}}}'`" if opened else "leave `template_options` out"
            error.hint = f"let it think: {how}, or {rendering.WAY_OUT}"
        raise
    if tell is not None:
        for note in _notes(base, found, tokenizer, dated=rendering.CLOCK in rendering.names(written), closed=closed):
            tell(note)
    return found


def _notes(
    base: Contract, found: Contract, tokenizer: Any, *, dated: bool, closed: tuple[str, int] | None
) -> Iterator[str]:
    """What a chat template fixes or adds, and what it writes otherwise than it is trained here."""
    source, (opens, closes) = found.template, found.think_tags
    if dated:
        yield f"the chat template asks for today's date: every prompt says {rendering.dated(source)}"
    if found.think_tags != thoughts.HOUSE:
        yield f"the chat template has marks of its own for a thought: {opens!r} opens and {closes!r} closes it here"
    elif not found.prefill and (unsaid := templates.unsaid(source, found.think_tags)):
        yield f"the chat template writes {unsaid!r} before an answer; a response begins without it here"
    elif not found.prefill and (more := thoughts.around(source)[0].strip()):
        yield f"the chat template ends every prompt in {more!r}, which it does not write before an answer"
    end = tokenizer.convert_ids_to_tokens(found.end_id)
    if closed is None:
        yield f"the chat template writes no end behind a last answer: {end!r} is trained as its end"
    elif found.end_id not in base.eos_ids:
        yield f"the chat template ends a turn in {end!r}, which joins the model's end tokens"


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
    one more in some templates); of these the first that is among `ends`, else the first special one that begins no
    turn. None without one, and where the template does not write the answer as it is, as a text or as a list of parts:
    what it writes there tells nothing. Raises ContractError for a template that refuses an answer.
    """
    both = _behind(source, str) or _behind(source, _parts)
    if both is None:
        rendering.render(source, _pair(), asks=False)
        return None
    tail, longer = both
    read = tokenizer.backend_tokenizer.encode(tail, add_special_tokens=False)
    after = tokenizer.backend_tokenizer.encode(longer, add_special_tokens=False).ids
    shared = next((at for at, (one, two) in enumerate(zip(read.ids, after, strict=False)) if one != two), len(after))
    known = {token: one for token, one in tokenizer.added_tokens_decoder.items() if one.special}
    question, answer = _begins(source, tokenizer, known)
    for ids, begins in ((read.ids[:shared], {question}), (read.ids, {question, answer})):
        found = [place for place, token in enumerate(ids) if token in ends]
        found += [place for place, token in enumerate(ids) if token in known and token not in begins]
        if found:
            return tail[: read.offsets[found[0]][0]], ids[found[0]]
    return None


def _begins(source: str, tokenizer: Any, special: Collection[int]) -> tuple[int, int]:
    """The special tokens that a template writes last before a question, and before the answer to it; -1 for none."""
    try:
        prompt = rendering.render(source, _pair()[:1], asks=True)
    except ContractError:
        return -1, -1
    before, _, behind = prompt.partition(_ASKED)
    read = [tokenizer.backend_tokenizer.encode(part, add_special_tokens=False).ids for part in (before, behind)]
    question, answer = (next((token for token in reversed(ids) if token in special), -1) for ids in read)
    return question, answer


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


def _switched(base: Contract, written: str, tokenizer: Any, options: Mapping[str, Any]) -> str | None:
    """The options, as a recipe writes them, under which a template that cannot be used can be: one fewer, or one switch
    more, of those that it reads; None where there are none."""
    try:
        known = rendering.names(written) - _GIVEN - set(tokenizer.special_tokens_map)
    except ContractError:
        return None
    likely = sorted(known, key=lambda name: ("think" not in name, name != "enable_thinking", name))[:_SWITCHES]
    fewer = [{name: value for name, value in options.items() if name != left} for left in options]
    more = [{**options, name: value} for name in likely for value in (True, False)]
    for given in [*fewer, *more]:
        try:
            templates.with_chat(base, _fixed(written, tokenizer, given), name="", closing=None, hint="")
        except ContractError:
            continue
        shown = (f"{key}: {json.dumps(each, ensure_ascii=False)}" for key, each in given.items())
        return ", ".join(shown)
    return None


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

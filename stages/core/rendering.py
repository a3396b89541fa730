"""Messages as text, through a chat template's jinja.

A template's source and messages enter; the text that transformers' `apply_chat_template` would give leaves, or one
sentence for whatever a template raises. The template is a stranger's program: it runs in jinja's sandbox, and what it
could take from outside its arguments (the clock, chance) is not there. What a contract fixes, `fixed` writes into the
source itself, so that every program that reads the sealed folder renders the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from stages.core.errors import ContractError

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = Mapping[str, Any]
CLOCK = "strftime_now"
"""The function by which a template asks for the date."""
DATE = {"Y": "2025", "y": "25", "m": "01", "d": "20", "B": "January", "b": "Jan", "A": "Monday", "a": "Mon", "j": "020"}
DATE |= {"H": "12", "I": "12", "M": "00", "S": "00", "p": "PM", "F": "2025-01-20", "T": "12:00:00", "e": "20"}
"""What the codes of a date become, where a template has no date of its own to fall back on: noon on 20 January 2025,
the day of DeepSeek-R1's release."""
WAY_OUT = "use another one: `template=r1_zero`, a file, or a text with {prompt}"


_SWITCH = re.compile(r"/(?:no_?)?think\b")
"""What some templates take out of a text: it switches the thought on or off."""


class RefusedError(ContractError):
    """A template that cannot be rendered for the messages it is given; what it says itself is of any length."""

    reason: ClassVar[str] = "the chat template refuses its turns"
    """The same for all, in few words."""


def render(source: str, messages: Sequence[Message], *, asks: bool, special: Mapping[str, str] | None = None) -> str:
    """Return what a template writes for messages; `asks` ends it where an assistant's answer begins.

    `special` maps names such as `bos_token` to their texts. Raises ContractError for a template that is broken,
    RefusedError for one that refuses the messages or needs what it is not given.
    """
    template = _compiled(source)
    try:
        return template.render(
            messages=list(messages), tools=None, documents=None, add_generation_prompt=asks, **(special or {})
        )
    except Exception as error:  # a stranger's program may raise anything
        raise RefusedError(f"the chat template cannot be used: {_said(error)}", hint=WAY_OUT) from error


def check_kept(source: str, messages: Sequence[Message], text: str, closes: str) -> None:
    """Make sure that a template wrote all of some messages into `text`, in their order; a system turn may stand
    anywhere. An assistant's turn may lack the thought that ends in `closes`, and any turn the white space at its ends.

    Raises ContractError, in the same words for all rows, for a template that leaves a turn out or changes it.
    """
    role = _lost(messages, text, closes) or _lost_of(source, tuple(str(one["role"]) for one in messages))
    if role:
        what = {"system": "a system turn"}.get(role, "a turn")
        raise ContractError(f"the chat template leaves out or changes {what}", hint="leave that out, or " + WAY_OUT)


def _lost(messages: Sequence[Message], text: str, closes: str) -> str:
    """The role of the first message that is not in a text, or ""."""
    at = 0
    for one in messages:
        role, content = str(one["role"]), str(one["content"]).strip()
        forms = {content, _SWITCH.sub("", content).strip(), json.dumps(content, ensure_ascii=False)[1:-1]}
        if role == "assistant":
            forms.add(content.rpartition(closes)[2].strip())
        ends = [found + len(form) for form in forms if (found := text.find(form, 0 if role == "system" else at)) >= 0]
        if not ends:
            return role
        at = at if role == "system" else min(ends)
    return ""


@lru_cache(maxsize=1024)
def _lost_of(source: str, roles: tuple[str, ...]) -> str:
    """The role of the first message that a template leaves out whatever is said, or "": a short text may stand in
    another by chance, so each says what no other says."""
    messages = [{"role": role, "content": f"[turn {number}]"} for number, role in enumerate(roles)]
    try:
        return _lost(messages, render(source, messages, asks=True), "\0")
    except ContractError:  # it asks for more than any text, and got it
        return ""


@lru_cache(maxsize=32)
def asked(source: str) -> str:
    """Return what a template writes around an empty problem: the prompt without one."""
    return render(source, [{"role": "user", "content": ""}], asks=True)


def fixed(source: str, given: Mapping[str, Any]) -> str:
    """Return a template that needs nothing but messages: `given` (options, texts of special tokens) is what its names
    mean unless its caller says otherwise, and its date is its own fall-back, or DATE.

    Raises ContractError for a broken template.
    """
    lines = [f"{{% set {name} = {name} if {name} is defined else {_literal(given[name])} %}}" for name in sorted(given)]
    if CLOCK in names(source):
        lines.append(_clock(source, given))
    return "".join(f"{line}\n" for line in lines) + source


def names(source: str) -> frozenset[str]:
    """Return the names a template takes from outside; raises ContractError for a broken template."""
    from jinja2 import TemplateError, meta

    try:
        return frozenset(meta.find_undeclared_variables(_environment().parse(source)))
    except (TemplateError, RecursionError) as error:
        raise ContractError(f"the chat template is broken: {_said(error)}", hint=WAY_OUT) from error


def dated(source: str) -> str:
    """Say which date a fixed template writes."""
    own = "{{ format" not in source.partition(f"macro {CLOCK}(format)")[2][:16]
    return "the date that the template itself falls back on" if own else "20 January 2025"


def _clock(source: str, given: Mapping[str, Any]) -> str:
    """The line that takes the clock from a template: a macro that writes the date which the template itself falls back
    on, where it has one in that place, else DATE. Undefining the name would not do: llama.cpp goes on to its clock."""
    mark, probe = "[today]", [{"role": "user", "content": "?"}]
    try:
        parts = render(f"{_macro(mark)}\n{source}", probe, asks=True, special=given).split(mark)
        own = render(f"{{% set {CLOCK} = nothing_is_given %}}\n{source}", probe, asks=True, special=given)
    except ContractError:
        own, parts = "", []
    if len(parts) > 1:
        date = own[len(parts[0]) :][: (len(own) - len("".join(parts))) // (len(parts) - 1)]
        if date and date.join(parts) == own:
            return _macro(f"{{{{ {_literal(date)} }}}}")
    return _macro("{{ format.replace('%-', '%')" + "".join(f".replace('%{a}', '{b}')" for a, b in DATE.items()) + " }}")


def _macro(body: str) -> str:
    return f"{{% macro {CLOCK}(format) %}}{body}{{% endmacro %}}"


def _literal(value: Any) -> str:
    """A value as jinja writes it: JSON is that but for its three words."""
    words = {True: "true", False: "false", None: "none"}
    if value is None or isinstance(value, bool):
        return words[value]
    return json.dumps(value, ensure_ascii=False)


@lru_cache(maxsize=32)
def _compiled(source: str) -> Template:
    from jinja2 import TemplateError

    try:
        return _environment().from_string(source)
    except (TemplateError, RecursionError, SyntaxError, ValueError) as error:
        raise ContractError(f"the chat template is broken: {_said(error)}", hint=WAY_OUT) from error


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as transformers sets it up for chat templates, without chance and the clock."""
    from jinja2 import Environment, TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what an assistant wrote: its content is written as it is."""

        def __init__(self, environment: Environment) -> None:
            super().__init__(environment)
            self.tags = {"generation"}

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, **sort: bool) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, **sort)  # type: ignore[arg-type]

    found = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    found.filters["tojson"] = tojson
    found.globals["raise_exception"] = refuse
    del found.filters["random"], found.globals["lipsum"]
    return found


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return text if type(error).__name__ == "TemplateError" and text else f"{type(error).__name__}: {text}"

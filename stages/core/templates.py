"""Templates by name, by file or as text: the word of a recipe and a model's contract enter, the contract to use leaves.

All stages mean the same: a name, a text with {prompt}, a chat template's jinja, a file that holds either, or `chat`,
the template of the model's own tokenizer. The text of a file is read when the recipe is, so that a fingerprint covers
what was really used.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.core import rendering, thoughts
from stages.core.contract import TEMPLATES, Contract
from stages.core.errors import ContractError, RecipeError, nearest
from stages.core.fingerprint import later

CHAT = "chat"
"""Stands for the chat template that a model's tokenizer brings."""
_NEWLINE = re.compile(r"\\n(?!(?:abla|e|eg|eq|ewcommand|ewline|geq|i|leq|mid|ot|otin|parallel|u)\b)")
"""A backslash and an n that stand for a line break somebody meant; LaTeX has words that begin so."""

_PROBE: list[rendering.Message] = [{"role": "user", "content": "What is six times seven?"}]
_SAID = "It is 42"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a model is asked: keys that all stages share."""

    template: str = ""
    """Prompt template: `r1_zero`, `plain`, `chat` (the chat template of the model's tokenizer), a text with {prompt}, a
    chat template's jinja, or a file that holds one of these. Empty: the model's own, or r1_zero when it has none.
    """
    template_options: dict[str, Any] = later({})
    """What a chat template is told besides the messages, e.g. {enable_thinking: true}."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "template", template_text(self.template))
        if self.template_options and not is_chat(self.template):
            raise RecipeError(
                "`template_options` are for a chat template", hint="add `template=chat`, or leave the options out"
            )


def is_chat(template: str) -> bool:
    """Whether a template that `template_text` gave is rendered from messages."""
    return template == CHAT or ("{prompt}" not in template and "messages" in template and "{" in template)


def template_text(template: str) -> str:
    """An empty text, a name, a text with {prompt} or a jinja as it is, and the text of a file; else RecipeError."""
    known = ["", CHAT, *TEMPLATES]
    path = Path(template)
    if template in known:
        return template
    if "{prompt}" not in template and os.path.isfile(template):  # no error where no file can be named so
        try:
            template = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(f"the `template` file {path} is not UTF-8 text", hint="save it as UTF-8") from error
        if "{prompt}" not in template and not is_chat(template):
            raise RecipeError(
                f"the `template` file {path} lacks {{prompt}}", hint="write {prompt} where the problem goes"
            )
    if is_chat(template):
        rendering.names(template)
        return template
    if "{prompt}" not in template:
        raise RecipeError(
            f"no `template` named {template}",
            hint=f"{nearest(template, known)}{', '.join(known[1:])}, a file, or a text with {{prompt}}",
        )
    if _NEWLINE.search(template):
        written = template.replace("\\n", "\n")
        raise RecipeError(
            "`template` holds a backslash and an n where a line break is meant", hint=f"write {pasted(written)}"
        )
    return template


def pasted(template: str) -> str:
    """A template as it is written on a shell's command line."""
    return shlex.quote(f"template={json.dumps(template, ensure_ascii=False)}")


def with_template(base: Contract, template: str, name: str = "") -> Contract:
    """The base's contract with a template (a name of TEMPLATES or a text); what it ends with after a thought opens
    becomes the prefill, and a mark such as `[THINK]` that opens it there is the contract's own.

    An empty template keeps the model's own, and is r1_zero for a model that has none. Raises ContractError for a
    template that closes a thought at its end.
    """
    if not template and base.template:
        return base
    template = template or "r1_zero"
    shown = TEMPLATES.get(template, template)
    tags, tail = _tags(base, shown), shown.rpartition("{prompt}")[2]
    refuse_closed(tail, tags, "choose a template that leaves the thought open")
    cut = shown.rindex(tags[0]) if shown.rstrip().endswith(tags[0]) else len(shown)
    if cut == len(shown) and (found := thoughts.opened(tail, shown)):
        tags, cut = found.marks, len(shown) - len(found.prefill)
    name = name or (template if template in TEMPLATES else "custom")
    text: dict[str, Any] = {"syntax": "text", "lead": "", "before_end": "", "think_tags": tags}
    return replace(base, template=shown[:cut], template_name=name, prefill=shown[cut:], **text)


def with_chat(base: Contract, source: str, *, name: str, closing: tuple[str, int] | None, hint: str) -> Contract:
    """The base's contract with a chat template that needs nothing but messages (`rendering.fixed`).

    What its prompts end in after a thought opens becomes the prefill; `closing` is what it writes behind a response, a
    text and the end token. A thought stands in marks of the template's own where its prompts end in the opening one, or
    where it writes a text of its own between a prompt and an answer (gpt-oss). Raises ContractError, with `hint`, for a
    template that cannot be used, loses the problem or closes a thought at the end of a prompt.
    """
    probe = "r1 asks: 6 * 7?"
    text = rendering.render(source, [{"role": "user", "content": probe}], asks=True)
    if text.count(probe) != 1:
        raise ContractError(f"the chat template writes a user's prompt {text.count(probe)} times", hint=hint)
    tail = text.rpartition(probe)[2]
    tags, own = _tags(base, source), thoughts.written(source)
    refuse_closed(tail, tags, hint, own, whole=True)
    _, opened, behind = tail.rpartition(tags[0])
    prefill = opened + behind if opened and tags[1] not in behind else ""
    if not prefill and (found := thoughts.opened(tail, source, own)):
        tags, prefill = found
    lead = "" if prefill else _lead(source, tags)
    if not prefill and own and own[0].strip() and thoughts.HOUSE[0] not in own[0] and unsaid(source, tags):
        mark = own[0].strip()
        tags, lead = (mark, own[1]), own[0].partition(mark)[0]
    before_end, end = closing or ("", base.end_id)
    return replace(
        base,
        template=source,
        template_name=name,
        syntax="jinja",
        prefill=prefill,
        think_tags=tags,
        lead=lead,
        before_end=before_end,
        eos_ids=[*base.eos_ids, *([] if end in base.eos_ids else [end])],
        end_id=end,
    )


def _tags(base: Contract, text: str) -> thoughts.Marks:
    """The marks of a thought under a template that ends in none: the base's where it names them, else R1's."""
    return base.think_tags if base.think_tags[0] in text else thoughts.HOUSE


def unsaid(source: str, think_tags: thoughts.Marks) -> str:
    """What a chat template writes between a prompt and an answer that is neither white space nor a thought, or ""."""
    ends, begins = (part.strip() for part in thoughts.around(source))
    return begins if not ends and not begins.startswith(think_tags[0]) else ""


def strips(contract: Contract) -> bool:
    """Whether a contract's chat template leaves the thought out of a finished answer, as those of R1-Distill do."""
    if contract.syntax == "text":
        return False
    (think, unthink), thought = contract.think_tags, "Six sevens are added."
    try:
        said = {"role": "assistant", "content": f"{think}{thought}{unthink}{_SAID}"}
        return thought not in rendering.render(contract.template, [*_PROBE, said], asks=False)
    except ContractError:
        return False


def _lead(source: str, think_tags: tuple[str, str]) -> str:
    """The white space that a template writes between a prompt and a response, or its thought."""
    ends, begins = thoughts.around(source)
    bare = begins.lstrip()
    return begins[: len(begins) - len(bare)] if not ends and (not bare or bare.startswith(think_tags[0])) else ""


def refuse_closed(
    tail: str, think_tags: thoughts.Marks, hint: str, own: thoughts.Marks | None = None, *, whole: bool = False
) -> None:
    """Raise ContractError where the end of a prompt closes a thought, in these marks or the template's `own`: the
    response's would be a second. A thought with words in it counts where they cannot be an example (`whole`)."""
    if mark := thoughts.closed(tail, own):
        raise ContractError(f"the template closes a thought at the end of every prompt, with {mark!r}", hint=hint)
    _, opened, behind = tail.rpartition(think_tags[0])
    inside, closed, after = (behind if opened else tail).rpartition(think_tags[1])
    if not closed or after.strip():
        return
    if not opened:
        raise ContractError("the template closes the thought at the end of every prompt and never opens it", hint=hint)
    if whole or not inside.strip():
        empty = "a" if inside.strip() else "an empty"
        raise ContractError(f"the template closes {empty} thought at the end of every prompt", hint=hint)


def sealed(contract: Contract, begins: str, end: str) -> str:
    """The jinja of a chat template that asks as the contract does, and writes a finished last response as it trains.

    `begins` is the text of the tokens that the tokenizer puts before every text, `end` that of the end token.
    """
    start = _unprefilled(contract.prefill)
    end = _quoted(contract.before_end + end)
    if contract.syntax == "jinja":
        source = contract.template.removesuffix("\n").removesuffix("\r")  # what jinja takes off the end of a source
        said = f"{_quoted(contract.lead)} + r1_said({_whole('r1_last', contract.think_tags)}) + {end}"
        return f"{start}{_LAST}{source}{{{{ {said} if r1_ends else '' }}}}"
    before, _, after = (contract.template or "{prompt}").partition("{prompt}")
    asked = f"{_quoted(before)} + m.content + {_quoted(after + contract.prefill)}"
    return (
        f"{start}{{{{ {_quoted(begins)} }}}}{{% for m in messages %}}"
        f"{{% if m.role == 'user' %}}{{{{ {asked} }}}}"
        f"{{% elif m.role == 'assistant' %}}{{{{ r1_said({_whole('m', contract.think_tags)}) + {end} }}}}"
        "{% else %}{{ m.content + '\\n\\n' }}{% endif %}{% endfor %}"
    )


_LAST = """{% set r1_last = messages[-1] %}
{% set r1_ends = r1_last.role == 'assistant' and r1_last.content is string and not r1_last.tool_calls \
and not add_generation_prompt %}
{% set messages = messages[:-1] if r1_ends else messages %}
{% set add_generation_prompt = true if r1_ends else add_generation_prompt %}
"""
"""A finished last response is written behind the prompt that asks for it, as it was trained."""


def _whole(message: str, think: tuple[str, str]) -> str:
    """The jinja of all that a message says: its reasoning in its tags, where that stands apart, and its content."""
    thought = f"{_quoted(think[0])} + {message}.reasoning_content + {_quoted(think[1])}"
    return f"({thought} if {message}.reasoning_content else '') + {message}.content"


def _unprefilled(prefill: str) -> str:
    """The jinja of `r1_said(text)`: a response without what the prompt has already written of it."""
    opened = prefill.rstrip()
    body = "text"
    if opened:
        whole, short = (f"text[{len(one)}:] if text.startswith({_quoted(one)}) else" for one in (prefill, opened))
        body = f"({whole} {short} text)"
    return f"{{% macro r1_said(text) %}}{{{{ {body} }}}}{{% endmacro %}}\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

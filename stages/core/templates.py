"""Templates by name, by file or as text: the word of a recipe and a model's contract enter, the contract to use leaves.

The text of a file is read when the recipe is, so that a fingerprint covers what was really used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from stages.core.contract import TEMPLATES, Contract
from stages.core.errors import RecipeError, nearest

CHAT = "chat"
"""Stands for the chat template that a model's tokenizer brings."""


def template_text(template: str, words: Iterable[str] = ()) -> str:
    """A known name, one of `words` or a text with {prompt} as it is, and the text of a file; else RecipeError."""
    known = [*TEMPLATES, *words]
    if template in known or "{prompt}" in template:
        return template
    path = Path(template)
    if len(template) < 1000 and path.is_file():
        text = path.read_text(encoding="utf-8")
        if "{prompt}" not in text:
            raise RecipeError(
                f"the `template` file {template} lacks {{prompt}}", hint="write {prompt} where the problem goes"
            )
        return text
    raise RecipeError(
        f"no `template` named {template}",
        hint=f"{nearest(template, known)}{', '.join(known)}, a file, or a text with {{prompt}}",
    )


def with_template(base: Contract, template: str, name: str = "") -> Contract:
    """The base's contract with a template (a name of TEMPLATES or a text); what it ends with after `<think>` opens
    becomes the prefill.

    An empty template keeps the model's own, and is r1_zero for a model that has none.
    """
    if not template and base.template:
        return base
    template = template or "r1_zero"
    shown = TEMPLATES.get(template, template)
    opening = base.think_tags[0]
    cut = shown.rindex(opening) if shown.rstrip().endswith(opening) else len(shown)
    name = name or (template if template in TEMPLATES else "custom")
    return replace(base, template=shown[:cut], template_name=name, prefill=shown[cut:])

"""Sealed models of many templates, and what each should be asked: a folder as a stage leaves it, its contract's ids.

Other programs (transformers, vLLM, llama.cpp) are given the folder and the messages, and must make the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stages.core import templates
from stages.core.contract import Contract
from stages.core.encoding import Reader
from stages.core.errors import R1Error
from stages.policy.models import chat, folders
from stages.policy.models.importing import import_model
from tests.policy import styles

USER, SAID = {"role": "user", "content": "What is 6 * {7}?\nThink."}, {"role": "assistant", "content": "yo, 12."}
BEFORE: tuple[list[dict[str, str]], ...] = (
    [],
    [{"role": "system", "content": "Be brief."}],
    [{"role": "user", "content": "We add five and seven."}, SAID],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}, SAID],
)
"""Earlier turns of the rows that are asked."""
TEXT = "Solve {prompt} now.\n<think>\n"
"""A template that opens the thought."""


class Case(NamedTuple):
    """A style of tests.policy.styles under a template; `options` are those of a chat template."""

    style: str
    template: str
    options: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The case in a word or three."""
        known = "text" if self.template == TEXT else self.template
        return "-".join([self.style, known, *self.options])


CASES = [
    *(Case(style, "chat") for style in ("gemma", "llama3", "qwen", "r1_distill")),
    Case("nothink", "chat", {"enable_thinking": True}),
    *(Case(style, template) for style in styles.STYLES for template in ("r1_zero", TEXT)),
]


def sealed(case: Case, home: Path) -> Path:
    """A model as `r1 sft` leaves it, trained under a template."""
    source = home / "imported"
    import_model(styles.folder(case.style, home / "given"), source)
    words, given = folders.load_tokenizer(source), Contract.read(source)
    if case.template == "chat":
        agreed = chat.chat_contract(given, words, options=case.options)
    else:
        agreed = templates.with_template(given, case.template)
    folder = home / case.name
    folders.save_model(folders.load_model(source), words, agreed, folder)
    return folder


def asked(folder: Path) -> Iterator[tuple[list[dict[str, str]], list[int]]]:
    """Messages and the ids that a sealed folder's contract makes of them; what its template has no place for is left
    out, as a row is."""
    agreed = Contract.read(folder)
    reader = Reader(folders.load_tokenizer(folder).backend_tokenizer, agreed)
    for turns in BEFORE:
        try:
            yield [*turns, USER], list(reader.prompt(USER["content"], turns))
        except R1Error:
            continue

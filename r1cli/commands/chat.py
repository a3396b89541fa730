"""`r1 chat`: questions from the terminal, answers as they are drawn, and a transcript that can be trained on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1cli.options import Debug, StoredModel, stored_artifacts
from r1cli.talk import Spoke, side_by_side
from r1cli.view import print_error

if TYPE_CHECKING:
    from stages.core.spoken import Spoken
    from stages.policy.talking import Manner, Talker

EXAMPLE = "Example: r1 chat r1 --compare zero --save talks.jsonl"
NEW, QUIT = "/new", "/quit"


def run(
    model: StoredModel,
    compare: Annotated[
        str, typer.Option("--compare", help="Another model, which answers beside it.", autocompletion=stored_artifacts)
    ] = "",
    *,
    template: Annotated[str, typer.Option("--template", help="As in recipes: chat, r1_zero, a file.")] = "",
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0 takes the likeliest word.")] = 0.6,
    top_p: Annotated[
        float, typer.Option("--top-p", min=0.0, max=1.0, help="Share of the probability drawn from.")
    ] = 0.95,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Tokens of an answer.")] = None,
    fold: Annotated[bool, typer.Option("--fold", help="Hide what is thought; only its length is told.")] = False,
    save: Annotated[str, typer.Option("--save", help="Add whole answers to this .jsonl: rows for r1 curate.")] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same draws the same answers.")] = 0,
    debug: Debug = False,
) -> None:
    """Talk to a model: words as they come, thoughts dimmed.

    /new begins anew, /quit or Ctrl-D ends. Lines that are piped in are asked one by one.
    """
    from stages.core.errors import R1Error
    from stages.policy.talking import Manner

    refuse_transcript(save)
    manner = Manner(temperature=temperature, top_p=top_p, max_tokens=max_tokens)
    with TemporaryDirectory(prefix="r1-chat-") as scratch:
        talkers = [
            _talker(one, template, Path(scratch) / str(n)) for n, one in enumerate(filter(None, (model, compare)))
        ]
        turns: list[list[dict[str, str]]] = [[] for _ in talkers]
        for number, question in enumerate(_questions()):
            if question == NEW:
                turns = [[] for _ in talkers]
                continue
            try:
                answered = _ask(talkers, question, turns, manner=manner, seed=seed + number, fold=fold)
            except R1Error as error:  # no room left, or what the template refuses: the next question may be answered
                print_error(error.what, error.hint)
                continue
            for place, ((address, talker), said) in enumerate(zip(talkers, answered, strict=True)):
                if save and not talker.cut:
                    _keep(Path(save).expanduser(), address, question, said, turns[place])
                turns[place] = _after(talker, turns[place], question, said)


def refuse_transcript(save: str) -> None:
    """Raise InputError for a transcript that is none or has no folder, before a model is loaded."""
    from stages.core.errors import InputError

    folder = Path(save).expanduser().parent
    if save and not folder.is_dir():
        raise InputError(f"there is no folder `{folder}`", hint=f"make it first: mkdir -p {folder}")
    if save and not save.endswith(".jsonl"):
        raise InputError(f"`{save}` is no .jsonl", hint="e.g. --save talks.jsonl")


def _talker(text: str, template: str, scratch: Path) -> tuple[str, Talker]:
    """The address of a model, and the model loaded."""
    from stages.core.artifact import Model
    from stages.core.run import opened, sources
    from stages.core.run.runtime import Runtime
    from stages.core.storage.store import Store
    from stages.core.templates import Asked
    from stages.policy.models.asking import contract_for
    from stages.policy.talking import Talker

    store = Store()
    found = sources.resolve(text, (Model,), store)
    whole = opened.opened(store.trust(found), store, scratch)
    contract = contract_for(Asked(template=template), whole)  # type: ignore[arg-type]
    return found.address, Talker(whole.path, contract, Runtime())


def _questions() -> Iterator[str]:
    """Lines of the terminal, or of what is piped in, until there are no more."""
    while True:
        try:
            line = input("\n> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if line == QUIT:
            return
        if line:
            yield line


def _ask(
    talkers: list[tuple[str, Talker]],
    question: str,
    turns: list[list[dict[str, str]]],
    *,
    manner: Manner,
    seed: int,
    fold: bool,
) -> list[Spoken]:
    from stages.core.spoken import Spoken

    answered = []
    for (_, talker), earlier in zip(talkers, turns, strict=True):
        said, shown = Spoken(talker.contract), Spoke(fold=fold, quiet=len(talkers) > 1)
        for piece in talker.say(question, earlier, manner, seed):
            for kind, text in said.take(piece):
                shown.add(kind, text)
        for kind, text in said.take("", last=True):
            shown.add(kind, text)
        shown.end(cut=talker.cut)
        answered.append(said)
    if len(talkers) > 1:
        names = [address for address, _ in talkers]
        side_by_side(names, [(one.parts["thought"].strip(), one.parts["said"].strip()) for one in answered], fold=fold)
    return answered


def _after(talker: Talker, turns: list[dict[str, str]], question: str, said: Spoken) -> list[dict[str, str]]:
    """The conversation with one more turn, where the model's template has a place for earlier ones."""
    if talker.contract.syntax != "jinja":
        return []
    answer = {"role": "assistant", "content": said.parts["said"].strip()}
    return [*turns, {"role": "user", "content": question}, answer]


def _keep(file: Path, address: str, question: str, said: Spoken, turns: list[dict[str, str]]) -> None:
    """Add one turn to a transcript, as a row of conversations."""
    import uuid

    row: dict[str, Any] = {"id": f"chat-{uuid.uuid4().hex[:12]}", "problem": question, "source": address}
    row |= {"reasoning": said.parts["thought"].strip(), "summary": said.parts["said"].strip()}
    if turns:
        row["turns"] = turns
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")

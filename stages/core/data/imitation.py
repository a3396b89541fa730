"""Conversations as token ids, and which of those ids train.

Rows, a model's contract and its tokenizer enter; examples leave, each a context that is only read and a completion
that is learned to its end token. Prompt and completion are tokenised apart, as they are when the model answers, so
that the border lies where sampling will find it. Each mark of the contract stands once in prompt and response
together: what a text carries of them already is taken off where it is one outer pair, and every other row is left out
with its reason. Every example is decoded again and compared with its row: reasoning that a template or a tokenizer
swallows is found here, before anything is trained. No torch: `r1 data show-mask` shows with this very code what
training takes.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from stages.core.contract import Contract
from stages.core.data.messages import THINK_MARKS, unwrapped
from stages.core.encoding import Pieces, Reader
from stages.core.errors import ContractError, InputError, MissingError, R1Error, StageError
from stages.core.rendering import RefusedError
from stages.core.rows import Conversation
from stages.core.thoughts import HOUSE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

AT_ONCE = 512
"""Rows tokenised in one call: the tokenizer spreads a call over the cores."""
_HINT = "choose a template that holds a response as it is: `r1 data show-mask` prints what trains"


class Sized(Protocol):
    """What has a length."""

    @property
    def tokens(self) -> int:
        """Tokens of context and completion together."""


S = TypeVar("S", bound=Sized)


class Example(NamedTuple):
    """One row as token ids."""

    id: str
    """The row's id."""
    prompt_ids: Sequence[int]
    """The context: read, never trained on."""
    completion_ids: Sequence[int]
    """Reasoning, summary, tags and the end token: all trained on."""

    @property
    def tokens(self) -> int:
        """Tokens of context and completion together."""
        return len(self.prompt_ids) + len(self.completion_ids)


class LeftOut(NamedTuple):
    """A row that cannot be trained on."""

    id: str
    """The row's id."""
    reason: str
    """Why, in words that other rows share."""
    said: str = ""
    """What the chat template itself says, where it refuses the row."""


def told(left: Sequence[LeftOut], rows: int) -> str:
    """A sentence on the rows that are left out, each reason with its number and its first row."""
    first = {one.reason: f"row {one.id}{': ' if one.said else ''}{one.said}" for one in reversed(left)}
    counts = Counter(one.reason for one in left).most_common()
    return f"{len(left)} of {rows} rows are left out: " + "; ".join(
        f"{count} because {reason} ({first[reason]})" for reason, count in counts
    )


def counted(left: Sequence[LeftOut]) -> dict[str, dict[str, int]]:
    """Figures of the rows that are left out: `dropped`, reason -> number; nothing where there are none."""
    return {"dropped": dict(Counter(one.reason for one in left).most_common())} if left else {}


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model's folder, the same that transformers uses (`models.load_tokenizer` makes sure of it).

    Raises MissingError when there is no tokenizer.json.
    """
    from tokenizers import Tokenizer

    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        raise MissingError(f"`{folder}` holds no tokenizer.json", hint="import it: `r1 artifacts import SOURCE`")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()  # the file may hold how it was last called
    tokenizer.no_padding()
    return tokenizer


def examples(
    rows: Iterable[Conversation], contract: Contract, tokenizer: Tokenizer, left: list[LeftOut] | None = None
) -> Iterator[Example]:
    """Each row as an example, in order, whatever its length; checked, so what is yielded can be trained on.

    Rows that cannot be are added to `left`; where it is None the first of them raises. Raises ContractError for a
    contract that cannot train (pad equal to eos), or a row whose text or reasoning is not among the tokens that would
    train, StageError for tags or an end token that are missing there, InputError for an empty prompt, or when all rows
    are left out.
    """
    contract.check(needs_tags=False)
    made = 0
    for _, example in placed(rows, Reader(tokenizer, contract), left):
        made += 1
        yield example
    if left and not made:
        raise none_left(left)


def placed(
    rows: Iterable[Conversation], reader: Reader, left: list[LeftOut] | None = None
) -> Iterator[tuple[int, Example]]:
    """Each row as an example with its place among the rows; `left` and errors as those of `examples`."""
    waiting, first = iter(rows), 0
    while block := list(islice(waiting, AT_ONCE)):
        for place, (row, example) in enumerate(zip(block, _encoded(block, reader), strict=True), start=first):
            if isinstance(example, Example):
                yield place, example
            elif left is None:
                example.what = f"row {row.id}: {example.what}"
                raise example
            else:
                own = isinstance(example, RefusedError)
                left.append(
                    LeftOut(row.id, RefusedError.reason, example.what) if own else LeftOut(row.id, example.what)
                )
        first += len(block)


def none_left(left: Sequence[LeftOut]) -> InputError:
    """The error of rows none of which can be trained on."""
    return InputError(f"no row is left to train on: {told(left, len(left))}", hint=_HINT)


def again(row: Conversation, reader: Reader) -> Example:
    """A row that was an example already, as one; it is not checked anew."""
    said = parts(row, reader.contract)
    return next(_made([row], [(reader.text(row.problem, row.turns), said)], reader))


def parts(row: Conversation, contract: Contract) -> tuple[str, str]:
    """A row's reasoning and summary without the marks that the contract will put around them.

    One outer pair around a part is taken off, and reasoning that stands in its pair before the summary is the
    reasoning. Raises ContractError for every other mark, and for a summary without a text.
    """
    thoughts = (contract.think_tags, *THINK_MARKS)
    reasoning, summary = row.reasoning, row.summary
    for think, unthink in thoughts:
        if not reasoning.strip() and summary.lstrip().startswith(think):
            reasoning, closed, summary = summary.lstrip().partition(unthink)
            reasoning += closed
    reasoning, summary = unwrapped(reasoning, thoughts), unwrapped(summary, [contract.answer_tags])
    marks = dict.fromkeys((*contract.think_tags, *HOUSE, *contract.answer_tags))
    for name, text in (("reasoning", reasoning), ("summary", summary)):
        stray = next((mark for mark in marks if mark in text), None)
        if stray is not None:
            raise ContractError(f"its {name} holds the mark {stray}", hint=_HINT)
    if not summary.strip():
        raise ContractError("its summary is empty", hint=_HINT)
    return reasoning, summary


def _encoded(block: Sequence[Conversation], reader: Reader) -> Iterator[Example | R1Error]:
    """The rows of a block as examples, checked, or why they cannot be trained on."""
    contract, written = reader.contract, list[tuple[Pieces, tuple[str, str]] | R1Error]()
    for row in block:
        try:
            said = parts(row, contract)
            written.append((reader.text(row.problem, row.turns), said))
        except ContractError as error:
            written.append(error)
    good = [(row, one) for row, one in zip(block, written, strict=True) if not isinstance(one, R1Error)]
    made = _made([row for row, _ in good], [one for _, one in good], reader)
    for one in written:
        if isinstance(one, R1Error):
            yield one
            continue
        example = next(made)
        try:
            check(example, one[1], contract, reader.tokenizer)
        except R1Error as error:
            yield error
        else:
            yield example


def _made(
    rows: Sequence[Conversation], written: Sequence[tuple[Pieces, tuple[str, str]]], reader: Reader
) -> Iterator[Example]:
    """Rows as examples, from the texts of their prompts and their parts."""
    contract = reader.contract
    prompts = reader.ids([prompt for prompt, _ in written])
    whole = [reader.lead + contract.respond(*said) + contract.before_end for _, said in written]
    responses = reader.tokenizer.encode_batch(whole, add_special_tokens=False)
    for row, prompt, response in zip(rows, prompts, responses, strict=True):
        # Arrays of 4 bytes an id: R1's 805k rows are 4 billion tokens.
        yield Example(row.id, array("i", prompt), array("i", [*response.ids, contract.end_id]))


def fitting(made: Iterable[S], limit: int) -> tuple[list[S], int]:
    """The examples of at most `limit` tokens, and how many were longer: those are left out whole, never cut.

    Raises InputError when none is left.
    """
    kept: list[S] = []
    dropped, shortest = 0, 0
    for example in made:
        if example.tokens <= limit:
            kept.append(example)
        else:
            dropped += 1
            shortest = min(shortest or example.tokens, example.tokens)
    if not kept:
        raise InputError(
            f"all {dropped} rows are longer than {limit} tokens; the shortest has {shortest}",
            hint=f"raise the limit, if the model has the positions: `max_tokens={shortest}`",
        )
    return kept, dropped


def check(example: Example, said: tuple[str, str], contract: Contract, tokenizer: Tokenizer) -> None:
    """Make sure that what trains holds the reasoning and the summary (`said`) verbatim, each mark once, and ends in the
    end token.

    Verbatim up to white space at its ends and the Unicode form (a tokenizer may compose letters). Raises as `examples`,
    without the row's name.
    """
    trained = list(example.completion_ids)
    if not example.prompt_ids:
        raise InputError("its prompt is empty, so its first token has nothing to follow", hint=_HINT)
    if trained[-1] not in contract.eos_ids:
        raise StageError(f"its last trained token ({trained[-1]}) is no end token", hint=_HINT)
    early = [token for token in trained[:-1] if token in contract.eos_ids]
    if early:
        raise ContractError(
            f"its text holds the end token {tokenizer.id_to_token(early[0])!r}",
            hint="leave the row out, or write that token otherwise",
        )
    text = _composed(contract.prefill + tokenizer.decode(trained, skip_special_tokens=False))
    for name, part in zip(("reasoning", "summary"), said, strict=True):
        if _composed(part).strip() not in text:
            raise ContractError(f"its {name} is not among the tokens that would be trained", hint=_HINT)
    missing = [mark for mark in (*contract.think_tags, *contract.answer_tags) if text.count(mark) != 1]
    if missing:
        raise StageError(f"{' '.join(missing)} would not be trained", hint=_HINT)


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)

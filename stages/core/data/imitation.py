"""Conversations as token ids, and which of those ids train.

Rows, a model's contract and its tokenizer enter; examples leave, each a context that is only read and a completion
that is learned to its end token. Prompt and completion are tokenised apart, as they are when the model answers, so
that the border lies where sampling will find it. Every example is decoded again and compared with its row: reasoning
that a template or a tokenizer swallows is found here, before anything is trained. No torch: `r1 data show-mask` shows
with this very code what training takes.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stages.core.contract import Contract
from stages.core.errors import ContractError, InputError, MissingError, StageError
from stages.core.rows import Conversation

if TYPE_CHECKING:
    from tokenizers import Tokenizer

AT_ONCE = 512
"""Rows tokenised in one call: the tokenizer spreads a call over the cores."""
_HINT = "choose a template that holds a response as it is: `r1 data show-mask` prints what trains"


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


def examples(rows: Iterable[Conversation], contract: Contract, tokenizer: Tokenizer) -> Iterator[Example]:
    """Each row as an example, in order, whatever its length; checked, so what is yielded can be trained on.

    Raises ContractError for a contract that cannot train (pad equal to eos), or a row whose reasoning is not among the
    tokens that would train, StageError for tags or an end token that are missing there, InputError for an empty prompt.
    """
    contract.check(needs_tags=False)
    waiting = iter(rows)
    while block := list(islice(waiting, AT_ONCE)):
        prompts = tokenizer.encode_batch([contract.render(row.problem) for row in block])
        responses = tokenizer.encode_batch(
            [contract.respond(row.reasoning, row.summary) for row in block], add_special_tokens=False
        )
        for row, prompt, response in zip(block, prompts, responses, strict=True):
            # Arrays of 4 bytes an id: R1's 805k rows are 4 billion tokens.
            made = Example(row.id, array("i", prompt.ids), array("i", [*response.ids, contract.eos_ids[0]]))
            check(made, row, contract, tokenizer)
            yield made


def fitting(made: Iterable[Example], limit: int) -> tuple[list[Example], int]:
    """The examples of at most `limit` tokens, and how many were longer: those are left out whole, never cut.

    Raises InputError when none is left.
    """
    kept: list[Example] = []
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


def check(example: Example, row: Conversation, contract: Contract, tokenizer: Tokenizer) -> None:
    """Make sure that what trains holds the reasoning verbatim, both marks of its span, and ends in an end token.

    Verbatim up to white space at its ends and the Unicode form (a tokenizer may compose letters). Raises as `examples`.
    """
    trained = list(example.completion_ids)
    if not example.prompt_ids:
        raise InputError(f"row {row.id}: its prompt is empty, so its first token has nothing to follow", hint=_HINT)
    if trained[-1] not in contract.eos_ids:
        raise StageError(f"row {row.id}: its last trained token ({trained[-1]}) is no end token", hint=_HINT)
    early = [token for token in trained[:-1] if token in contract.eos_ids]
    if early:
        raise ContractError(
            f"row {row.id}: its text holds the end token {tokenizer.id_to_token(early[0])!r}",
            hint="leave the row out, or write that token otherwise",
        )
    text = _composed(tokenizer.decode(trained, skip_special_tokens=False))
    for name, part in (("reasoning", row.reasoning), ("summary", row.summary)):
        if _composed(part).strip() not in text:
            raise ContractError(f"row {row.id}: its {name} is not among the tokens that would be trained", hint=_HINT)
    marks = [*contract.think_tags, *contract.answer_tags]
    if contract.prefill.strip():
        marks = [mark for mark in marks if mark not in contract.prefill]  # the prompt ends with these
    missing = [mark for mark in marks if mark not in text]
    if missing:
        raise StageError(f"row {row.id}: {' '.join(missing)} would not be trained", hint=_HINT)


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)

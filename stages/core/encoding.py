"""Prompts as token ids: the one place where a prompt is encoded, for training, engines and judges alike.

A tokenizer, a contract and problems enter; token ids leave. A prompt begins once, whoever writes the begin token (the
chat template or the tokenizer), and never ends in a token that the tokenizer would put behind a finished text. The text
of a control token within a problem or an earlier turn is read as text: who asks cannot end or open a turn.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

from stages.core.errors import ContractError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from stages.core.contract import Contract
    from stages.core.rendering import Message
    from stages.core.rowfile import RowFile
    from stages.core.rows import Prompt

LOOKED_AT = 4096
"""Prompts that are encoded to find the longest, the longest in bytes first."""
REMEMBERED = 8192
"""Prompts whose ids are kept: more than a rollout asks, mostly."""

Hear = Callable[[int, Mapping[str, Any]], None]
"""Is told of a row, as its plain object, with its place."""
Pieces = tuple[str, ...]
"""The text of a prompt; where it names control tokens cut there: every second piece is the text of one."""


class Reader:
    """A tokenizer that reads prompts as a contract writes them."""

    def __init__(self, tokenizer: Tokenizer, contract: Contract) -> None:
        self.tokenizer, self.contract = tokenizer, contract
        if tokenizer.padding is not None:  # how it was last called
            tokenizer.no_padding()
        if tokenizer.truncation is not None:
            tokenizer.no_truncation()
        known = tokenizer.get_added_tokens_decoder()
        own = [tokenizer.id_to_token(token) for token in (*contract.eos_ids, contract.pad_id) if token >= 0]
        controls = {one.content for one in known.values() if one.special} | {text for text in own if text}
        self.controls = sorted(controls, key=len, reverse=True)
        self._starts = {text[:2] for text in self.controls}
        self.chat = contract.syntax == "jinja"
        """A chat template writes the tokens around a text itself."""
        self.before, self.behind = ([], 0) if self.chat else around(tokenizer)
        self.lead = self._lead() if contract.lead else ""
        """What stands before the text of a response when it is encoded alone."""

    def text(self, problem: str, turns: Sequence[Message] = ()) -> Pieces:
        """The text of a problem after earlier turns. Raises as `Contract.render`."""
        contents = [problem, *(str(turn["content"]) for turn in turns)]
        named = [text for text in self.controls if any(text in one for one in contents)] if self._may(contents) else []
        if not named:
            return (self.contract.render(problem, turns),)
        mark = next(chr(one) for one in range(0xE000, 0xF8FF) if not any(chr(one) in text for text in contents))
        marked = {text: f"{mark}{number}{mark}" for number, text in enumerate(named)}

        def hidden(text: str) -> str:
            for name in named:
                text = text.replace(name, marked[name])
            return text

        turned = [{**turn, "content": hidden(str(turn["content"]))} for turn in turns]
        parts = self.contract.render(hidden(problem), turned).split(mark)
        return tuple(named[int(part)] if place % 2 else part for place, part in enumerate(parts))

    def prompt(self, problem: str, turns: Sequence[Message] = ()) -> list[int]:
        """The token ids of one problem after earlier turns. Raises as `Contract.render`."""
        return self.ids([self.text(problem, turns)])[0]

    def ids(self, prompts: Sequence[Pieces]) -> list[list[int]]:
        """The token ids of prompts, in order; ContractError where the template itself ends them in an end token."""
        whole = [pieces[0] for pieces in prompts]
        firsts = self.tokenizer.encode_batch(whole, add_special_tokens=not self.chat)
        found = []
        for pieces, first in zip(prompts, firsts, strict=True):
            ids = list(first.ids)
            ids = ids[: len(ids) - self.behind]
            begin = len(self.before)
            if begin and ids[begin : 2 * begin] == self.before:
                ids = ids[begin:]  # the template writes it as well
            for place, piece in enumerate(pieces[1:]):
                ids += self.tokenizer.encode(piece, add_special_tokens=False).ids if place % 2 else self.plain(piece)
            if ids and ids[-1] in self.contract.eos_ids:
                raise ContractError(
                    f"the template ends a prompt in the end token {self.tokenizer.id_to_token(ids[-1])!r}",
                    hint="use another one: `template=r1_zero`, a file, or a text with {prompt}",
                )
            found.append(ids)
        return found

    def plain(self, control: str) -> list[int]:
        """The text of a control token as the tokens of a text. Raises ContractError where the tokenizer has none."""
        parts = (control[:1], control[1:])
        ids = [token for part in parts if part for token in self.tokenizer.encode(part, add_special_tokens=False).ids]
        if any(self.tokenizer.id_to_token(token) in self.controls for token in ids):
            raise ContractError(f"the tokenizer cannot write {control!r} but as a control token")
        return ids

    def _lead(self) -> str:
        """The contract's lead, or none where the tokenizer itself begins a text with it (SentencePiece: a blank)."""
        prompt, said = self.contract.shown, self.contract.think_tags[0]

        def ids(text: str) -> list[int]:
            return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

        wanted = ids(prompt + self.contract.lead + said)
        return "" if wanted == ids(prompt) + ids(said) else self.contract.lead

    def _may(self, contents: Sequence[str]) -> bool:
        """Whether contents can hold the text of a control token at all: most hold not even its first letters."""
        return any(start in text for start in self._starts for text in contents)


class PromptIds(Sequence[list[int]]):
    """The prompts of rows as token ids, each encoded when it is asked for; the latest are remembered."""

    def __init__(self, rows: RowFile[Prompt], reader: Reader) -> None:
        self.rows, self.reader = rows, reader
        self._encoded = lru_cache(REMEMBERED)(self._encode)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> list[int]: ...
    @overload
    def __getitem__(self, place: slice) -> PromptIds: ...
    def __getitem__(self, place: int | slice) -> list[int] | PromptIds:
        if isinstance(place, slice):
            return PromptIds(self.rows[place], self.reader)
        return self._encoded(place)

    def _encode(self, place: int) -> list[int]:
        row = self.rows[place]
        with naming(row.id):
            return self.reader.prompt(row.problem, row.turns)

    def longest(self, room: int, hear: Hear = lambda *_: None) -> int:
        """Return the place of a prompt than which none is longer that takes over `room` tokens; `hear` is told of each
        row, so that all are gone through once.

        The longest in bytes are encoded, and all that could take over `room` tokens: a token is a byte or more, so
        what the template writes around a problem and the bytes of it are the most that a prompt can be.
        """
        sizes = array("Q")
        for place, row in enumerate(self.rows.plain()):
            hear(place, row)
            sizes.append(self._bytes(row))
        order = sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)
        looked = {place: len(self[place]) for place in order[:LOOKED_AT]}
        around = max(tokens - sizes[place] for place, tokens in looked.items())
        for place in order[LOOKED_AT:]:
            if around + sizes[place] <= room:
                break
            looked[place] = len(self[place])
        return max(looked, key=lambda place: (looked[place], -place))

    def _bytes(self, row: Mapping[str, Any]) -> int:
        """The bytes that a row puts into its prompt. A chat template may refuse a row, so each is rendered here, before
        any is asked. Raises ContractError, naming the row."""
        problem, turns = row["problem"], row.get("turns") or ()
        if not self.reader.chat and not turns:
            return len(problem.encode()) * max(1, self.reader.contract.template.count("{prompt}"))
        with naming(row["id"]):
            return sum(len(piece.encode()) for piece in self.reader.text(problem, turns))


@contextmanager
def naming(row: str) -> Iterator[None]:
    """Put a row's id before what a ContractError says."""
    try:
        yield
    except ContractError as error:
        error.what = f"row {row}: {error.what}"
        raise


def around(tokenizer: Tokenizer) -> tuple[list[int], int]:
    """The ids that a tokenizer writes before every text, and how many it writes behind."""
    read = tokenizer.encode("a")
    mask = list(read.special_tokens_mask)
    before = next((place for place, own in enumerate(mask) if not own), len(mask))
    behind = next((place for place, own in enumerate(reversed(mask)) if not own), 0)
    return list(read.ids[:before]), behind

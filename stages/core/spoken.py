"""A completion as it comes, in pieces: what is thought and what is said, told apart before it has ended.

Pieces of text enter in order; (kind, text) leave, `thought` or `said`, without the tags. A tag may be cut anywhere
between pieces, so what could be the beginning of one is held back until it is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from stages.core.contract import Contract

Kind = Literal["thought", "said"]


class Spoken:
    """One completion under a contract, whose prompt may already have opened the thought."""

    def __init__(self, contract: Contract) -> None:
        opening, closing = contract.think_tags
        self._turns: dict[str, Kind] = {opening: "thought", closing: "said"}
        self._tags = (opening, closing, *contract.answer_tags)
        self._any = re.compile("|".join(map(re.escape, self._tags)))
        self._kind: Kind = "thought" if opening in contract.prefill else "said"
        self._held = ""
        self.parts: dict[Kind, str] = {"thought": "", "said": ""}
        """What came so far, by kind."""

    def take(self, piece: str, *, last: bool = False) -> Iterator[tuple[Kind, str]]:
        """What a piece adds; with `last` all that was held back too."""
        self._held += piece
        while found := self._any.search(self._held):
            yield from self._tell(self._held[: found.start()])
            self._kind = self._turns.get(found[0], self._kind)
            self._held = self._held[found.end() :]
        safe = len(self._held) if last else self._safe()
        yield from self._tell(self._held[:safe])
        self._held = self._held[safe:]

    def _safe(self) -> int:
        """How much of what is held cannot be the beginning of a tag."""
        for size in range(min(max(map(len, self._tags)) - 1, len(self._held)), 0, -1):
            if any(tag.startswith(self._held[-size:]) for tag in self._tags):
                return len(self._held) - size
        return len(self._held)

    def _tell(self, text: str) -> Iterator[tuple[Kind, str]]:
        if text:
            self.parts[self._kind] += text
            yield self._kind, text

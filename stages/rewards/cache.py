"""Verdicts remembered by content: what a reward was asked enters, its verdict leaves, or None for not known.

A completion that comes again, in the same group or after a resume, is not judged again. The key holds all that a
verdict may depend on, and the version of the reward, so that a changed reward never gives an old verdict. A verdict of
None is never kept: a hang on a busy machine must not become the truth.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from stages.core.contract import Contract
from stages.core.rows import Prompt, fields_of
from stages.rewards.verdict import Verdict

COUNT = 200_000
BYTES = 64 * 2**20
_OVERHEAD = 400  # bytes of an entry besides its reason: key, tuple, float, links
_UNREAD = ("id", "family", "split", "level")
"""Fields of a row that no reward of ours reads; a user's own may read them all."""


def key(
    name: str, version: str, completion: str, row: Prompt, contract: Contract, options: Mapping[str, Any]
) -> bytes | None:
    """Return what stands for a question to the reward `name` (32 bytes), or None where the row or the options hold
    what is no JSON and cannot be compared."""
    fields = fields_of(row)
    if ":" not in name:
        for unread in _UNREAD:
            del fields[unread]
    marks = [contract.prefill, list(contract.think_tags), list(contract.answer_tags)]
    try:
        text = json.dumps([name, version, completion, fields, marks, dict(options)], sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return None
    return hashlib.sha256(text.encode()).digest()


class Cache:
    """The verdicts used last, at most `count` and about `size` bytes of them; any thread may use it."""

    def __init__(self, count: int = COUNT, size: int = BYTES) -> None:
        self.count, self.size = count, size
        self.hits = self.misses = 0
        """How many questions were answered from here, and how many were not."""
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: bytes | None) -> Verdict | None:
        """Return the verdict of a key, or None where there is none."""
        with self._lock:
            verdict = self._verdicts.get(key) if key is not None else None
            if key is None or verdict is None:
                self.misses += 1
                return None
            self.hits += 1
            self._verdicts.move_to_end(key)
            return verdict

    def put(self, key: bytes | None, verdict: Verdict) -> None:
        """Keep a verdict; one of None, or without a key, is not kept."""
        if key is None or verdict.value is None:
            return
        with self._lock:
            self._bytes += _weight(verdict) - (_weight(self._verdicts[key]) if key in self._verdicts else 0)
            self._verdicts[key] = verdict
            self._verdicts.move_to_end(key)
            while self._verdicts and (len(self._verdicts) > self.count or self._bytes > self.size):
                _, oldest = self._verdicts.popitem(last=False)
                self._bytes -= _weight(oldest)

    def clear(self) -> None:
        """Forget all verdicts; the counts of hits and misses stay."""
        with self._lock:
            self._verdicts.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._verdicts)


def _weight(verdict: Verdict) -> int:
    return _OVERHEAD + 4 * len(verdict.reason)

"""What may be asked of an endpoint and what was: paces, a budget, and a journal that a kill cannot take.

Requests and their costs enter; permission, waits and answers already paid for leave. All of it runs in the one thread
of the engine's event loop, but for reading the journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stages.core.errors import EngineError
from stages.core.run.endpoint import Address, EndpointSettings
from stages.core.sampling import Completion, Finish


class Pace:
    """At most so many units a minute, evenly spread: what is taken pushes back the moment of the next start."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds = 60.0 / per_minute if per_minute else 0.0
        self._next, self._line = 0.0, asyncio.Lock()

    async def turn(self, units: float) -> None:
        """Wait for one's turn and take so many units."""
        now = asyncio.get_running_loop().time
        async with self._line:
            while (wait_s := self._next - now()) > 0:
                await asyncio.sleep(min(wait_s, 0.5))  # what is given back meanwhile shortens the wait
            self._next = now() + units * self._seconds

    def settle(self, units: float) -> None:
        """Take so many units more (or, below 0, give them back) once it is known what a start used."""
        self._next += units * self._seconds


@dataclass
class Spent:
    """What was used, killed attempts included."""

    requests: int = 0
    """Answers, refusals and broken ones included."""
    prompt_tokens: int = 0
    tokens: int = 0
    """Tokens of completions."""
    estimated: int = 0
    """Answers whose tokens were estimated: the server counted wrongly, or not at all."""
    retries: int = 0
    """Requests that were sent again."""
    models: dict[str, int] = field(default_factory=dict)
    """The model that the server said answered -> answers."""
    versions: dict[str, int] = field(default_factory=dict)
    """`system_fingerprint` -> answers."""

    def add(self, cost: Cost) -> None:
        """Book one answer."""
        self.requests += 1
        self.prompt_tokens += cost.prompt_tokens
        self.tokens += cost.tokens
        self.estimated += cost.estimated
        for counts, name in ((self.models, cost.model), (self.versions, cost.version)):
            if name:
                counts[name] = counts.get(name, 0) + 1


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one answer used, and who the server says gave it."""

    prompt_tokens: int
    tokens: int
    estimated: bool
    model: str = ""
    version: str = ""


class OutOfBudget(EngineError):
    """The budget has no room for another request."""


class Budget:
    """Tokens or money that must last: a request starts only where the worst it can cost is still there."""

    def __init__(self, settings: EndpointSettings, spent: Spent) -> None:
        self.settings, self.spent = settings, spent
        self._held: dict[object, tuple[int, int]] = {}
        self._freed = asyncio.Condition()

    async def hold(self, key: object, prompt_tokens: int, tokens: int) -> None:
        """Set aside the worst case of one request, waiting for those in flight to give back what they did not use.

        Raises OutOfBudget where even all of that would not be enough.
        """
        async with self._freed:
            while not self._fits(prompt_tokens, tokens):
                if not self._held:
                    raise self._used_up(prompt_tokens, tokens)
                await self._freed.wait()
            self._held[key] = prompt_tokens, tokens

    async def release(self, key: object) -> None:
        """Give back what was set aside; the real cost is booked already."""
        async with self._freed:
            self._held.pop(key, None)
            self._freed.notify_all()

    def _fits(self, prompt_tokens: int, tokens: int) -> bool:
        prompt_tokens += self.spent.prompt_tokens + sum(held[0] for held in self._held.values())
        tokens += self.spent.tokens + sum(held[1] for held in self._held.values())
        limit, settings = self.settings.budget_tokens, self.settings
        if limit is not None and prompt_tokens + tokens > limit:
            return False
        money = settings.money(prompt_tokens, tokens)
        return settings.budget_money is None or money is None or money <= settings.budget_money

    def _used_up(self, prompt_tokens: int, tokens: int) -> OutOfBudget:
        settings, spent = self.settings, self.spent
        used = spent.prompt_tokens + spent.tokens
        what = f"{used} of {settings.budget_tokens} tokens"
        more = f"budget_tokens={2 * (used + prompt_tokens + tokens)}"
        if settings.budget_tokens is None or used + prompt_tokens + tokens <= settings.budget_tokens:
            money = settings.money(spent.prompt_tokens, spent.tokens)
            wanted = settings.money(spent.prompt_tokens + prompt_tokens, spent.tokens + tokens) or 0.0
            what, more = f"{money:.4g} of {settings.budget_money:g}", f"budget_money={2 * wanted:.2g}"
        return OutOfBudget(
            f"the budget has no room for another request: {what} are spent on {spent.requests} answers",
            hint=f"the same command with e.g. runtime.endpoint.{more} goes on where this ended",
        )


class Journal:
    """Answers already paid for, on disk as they come: a run that is started again asks for none of them twice."""

    def __init__(self, file: Path | None) -> None:
        self.spent = Spent()
        self._answers: dict[str, Completion] = {}
        self._file = None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            torn = self._read(file)
            self._file = file.open("ab")
            if torn:
                self._file.write(b"\n")

    def find(self, key: str) -> Completion | None:
        """The answer to a request, if one is there."""
        return self._answers.get(key)

    def add(self, key: str, completion: Completion, cost: Cost) -> None:
        """Book an answer (or what a failed attempt used) and write it down."""
        self._book(key, completion, cost)
        if self._file is not None:
            row = {"key": key, "cost": asdict(cost), "completion": asdict(completion)}
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _book(self, key: str, completion: Completion, cost: Cost) -> None:
        self.spent.add(cost)
        if not completion.failed:
            self._answers[key] = completion

    def _read(self, file: Path) -> bool:
        """Read what an earlier attempt wrote; return whether its last line was torn by a kill."""
        raw = file.read_bytes() if file.exists() else b""
        for line in raw.splitlines():
            try:
                row = json.loads(line)
                completion = {**row["completion"], "finish": Finish(row["completion"]["finish"])}
                self._book(row["key"], Completion(**completion), Cost(**row["cost"]))
            except (ValueError, KeyError, TypeError):
                continue  # torn
        return bool(raw) and not raw.endswith(b"\n")


def request_key(address: Address, body: Mapping[str, Any]) -> str:
    """What a request is, as one hash: the same question to the same model with the same seed."""
    text = json.dumps([address.text, body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]

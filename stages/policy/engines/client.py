"""A model that is asked: prompts enter, completions leave as they finish, and what they cost in operations.

Evaluation, sampling, comparison and the workers that judge and rewrite all ask a model through this file: one way to
find the room for an answer, to seed a request, to ask again where that can help and to turn tokens into text. The
engine is opened when the first request is really made, so a run whose shards are all there loads nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.artifact import Endpoint, Model
from stages.core.contract import Contract
from stages.core.encoding import Reader, naming
from stages.core.errors import InputError
from stages.core.judged import decoded
from stages.core.rendering import Message
from stages.core.rows import Prompt
from stages.core.run.runner import Work
from stages.core.sampling import RETRIED, Completion, Engine, Finish, Request, Sampling
from stages.policy.engines.opening import open_engine
from stages.policy.models import device, folders
from stages.policy.models.prefix import shared_prefix_length
from stages.policy.seeding import derive

LONGEST = 32768
"""Tokens of a completion whose limit nobody set: what the paper evaluates and samples with."""
TRIES = 3
"""How often a request is made whose failure another try can mend."""


class Prompted(NamedTuple):
    """A prompt as an engine takes it."""

    tokens: int
    """Its length; where only a server knows its tokens, the most that it can be."""
    ids: Sequence[int] = ()
    messages: Sequence[Mapping[str, str]] = ()

    @classmethod
    def of(cls, ids: Sequence[int]) -> Prompted:
        """A prompt of token ids."""
        return cls(len(ids), ids)


class Survey(NamedTuple):
    """Of all prompts of a run."""

    longest: str
    """The id of the longest prompt."""
    tokens: int
    """Its length, as `Prompted.tokens`."""
    total: int
    """Tokens of all prompts, the start that they share counted once; 0 where only a server knows them."""


class Client:
    """A model with its tokenizer and the contract it is asked under; closes its engine when left as a context."""

    tries = TRIES

    def __init__(self, model: Model | Endpoint, contract: Contract, dtype: str, work: Work) -> None:
        self.model, self.path, self.contract, self.dtype, self.work = model, model.path, contract, dtype, work
        self.failures: Counter[Finish] = Counter()
        """How many requests ended in which failure, tries that were mended left out."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        if "engine" in self.__dict__:
            self.engine.close()
            del self.engine

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return folders.load_tokenizer(self.path)

    @cached_property
    def engine(self) -> Engine:
        """The engine, on the device the runtime names."""
        self.work.emit("device", device=device.described(device.place(self.work.runtime)))
        return open_engine(self.path, contract=self.contract, dtype=self.dtype, runtime=self.work.runtime)

    @cached_property
    def module(self) -> Any:
        """The weights as a torch module: the engine's own where it has one in this process, else loaded beside it."""
        own = getattr(self.engine, "model", None)
        if own is not None:
            return own
        return folders.load_model(self.path, dtype=self.dtype, device=device.place(self.work.runtime))

    @property
    def apart(self) -> bool:
        """As `Engine.apart`."""
        return self.engine.apart

    @property
    def coupled(self) -> bool:
        """As `Engine.coupled`."""
        return self.engine.coupled

    @cached_property
    def reader(self) -> Reader:
        """What encodes prompts."""
        return Reader(self.tokenizer.backend_tokenizer, self.contract)

    def prompt(self, problem: str, turns: Sequence[Message] = ()) -> Prompted:
        """Return a problem after earlier turns as it is asked: the token ids of its rendered text."""
        return Prompted.of(self.reader.prompt(problem, turns))

    def prompts(self, rows: Iterable[Prompt]) -> dict[str, Prompted]:
        """Return prompt id -> its problem as it is asked. Raises ContractError, naming the row, where the template has
        no place for it."""
        return {row.id: self.asked(row) for row in rows}

    def asked(self, row: Prompt) -> Prompted:
        """Return one row as it is asked. Raises as `prompts`."""
        with naming(row.id):
            return self.prompt(row.problem, row.turns)

    def surveyed(self, rows: Iterable[Prompt]) -> Survey:
        """Return what a run has to know of all its prompts before the first is asked; none of them is kept."""
        longest, tokens, total, count = "", 0, 0, 0
        ends: list[list[int]] = []
        for row in rows:
            one = self.asked(row)
            if one.tokens > tokens:
                longest, tokens = row.id, one.tokens
            total, count = total + len(one.ids), count + 1
            ends.append(list(one.ids))
            ends = [min(ends), max(ends), min(ends, key=len)]  # what these share at their start, all do
        shared = shared_prefix_length(ends)
        return Survey(longest, tokens, total - shared * max(0, count - 1))

    def fits(self, prompt: Prompted, max_tokens: int) -> bool:
        """Whether a prompt leaves room for so many tokens."""
        return 0 < prompt.tokens <= self.contract.max_positions - max_tokens

    def room(self, survey: Survey, wanted: int | None) -> int:
        """Return the tokens a completion may have: `wanted` (None: LONGEST) or what the longest prompt leaves, if less.

        Says so where `wanted` is cut. Raises InputError for a prompt that leaves none.
        """
        room = self.contract.max_positions - survey.tokens
        if room < 1:
            raise InputError(
                f"problem {survey.longest} takes {survey.tokens} tokens and leaves no room in "
                f"{self.contract.max_positions} positions",
                hint="leave long problems out when preparing: `r1 recipes keys prepare`",
            )
        if wanted is not None and wanted > room:
            text = f"max_tokens {wanted} is cut to {room}: the model has no more positions"
            self.work.emit("warning", text=text)
        return min(room, LONGEST if wanted is None else wanted)

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        """Yield each request with its completion, as `answered` does; what failed for good is counted and told once."""
        for request, completion in answered(self.engine, requests, self.tries):
            if completion.failed:
                self._failed(completion)
            yield request, completion
        for text in self.engine.notes:
            self.work.emit("warning", text=text)
        self.engine.notes.clear()

    def _failed(self, completion: Completion) -> None:
        self.failures[completion.finish] += 1
        if self.failures[completion.finish] == 1:
            self.work.emit("warning", text=f"a completion failed ({completion.finish}): {completion.fault}")

    def text(self, completion: Completion) -> str:
        """Return a completion as text, as `judged.decoded`."""
        return decoded(completion, self.contract, self.tokenizer)

    def costs(self, tokens: int) -> dict[str, Any]:
        """Return what it took to process so many tokens, as figures: `flops`, 2 N D operations (2001.08361, section
        2.1), N = parameters."""
        return {"flops": {"sampling": 2.0 * parameters(self.path) * tokens}}

    def bill(self) -> dict[str, Any]:
        """Return what somebody else counts for the answers so far, as figures: nothing for a model that is here."""
        return {}


def requests(
    rows: Sequence[Prompt], prompts: Mapping[str, Prompted], samples: int, sampling: Sampling, seed: int
) -> list[Request]:
    """One request for each sample of each prompt, prompt by prompt, each with its own seed: (seed, prompt, number).

    Keys are (place of the prompt, number of the sample). A prompt that comes twice goes on with its numbers.
    """
    numbers: Counter[str] = Counter()
    made = []
    for place, row in enumerate(rows):
        for sample in range(samples):
            own = derive(seed, row.id, numbers[row.id])
            numbers[row.id] += 1
            _, ids, messages = prompts[row.id]
            key = place, sample
            made.append(Request(prompt_ids=ids, messages=messages, sampling=sampling, seed=own, key=key))
    return made


def answered(engine: Engine, requests: Iterable[Request], tries: int = TRIES) -> Iterator[tuple[Request, Completion]]:
    """Yield each request with its completion, in any order; what failed is asked again, where that can help, when the
    stream has ended, `tries` times in all."""
    waiting: Iterable[Request] = requests
    for left in reversed(range(tries)):
        again: list[Request] = []
        for request, completion in engine.sample(waiting):
            if completion.finish in RETRIED and left:
                again.append(request)
            else:
                yield request, completion
        waiting = sorted(again, key=lambda one: one.shard)
        if not waiting:
            return


def in_order(
    asked: Sequence[Request],
    answered: Iterable[tuple[Request, Completion]],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """The completions of requests in the order they were made, whatever the order they come in; `on_progress` hears how
    many of all are there."""
    by_key = {}
    for request, completion in answered:
        by_key[request.key] = completion
        if on_progress is not None:
            on_progress(len(by_key), len(asked))
    return [by_key[request.key] for request in asked]


def parameters(folder: Path) -> int:
    """Return how many parameters the weights of a folder hold, tied ones once: read off the files' headers."""
    from math import prod

    from safetensors import safe_open

    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total

"""A model asked as a worker: tasks in words enter, its replies leave, sharded and resumable.

The generative judge, the rewriter and the labeller of preferences are all this: DeepSeek-R1 gave such work to
DeepSeek-V3 (arXiv 2501.12948v2, B.3). A reply is what stands after the worker's own thinking. A task that leaves no
room, and a reply that was cut off, are told as a fault and never stop the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from stages.core.artifact import Endpoint, Model
from stages.core.contract import Contract
from stages.core.fingerprint import fingerprint
from stages.core.recipe.generation import GenerationSettings
from stages.core.run import shards
from stages.core.run.runner import Work
from stages.core.sampling import Completion, Request, Sampling
from stages.core.text import final_part
from stages.policy.engines import spread
from stages.policy.engines.client import Client, Prompted
from stages.policy.engines.clients import client_of
from stages.policy.models.asking import contract_for, tokenizer_of
from stages.policy.models.chat import chat_contract
from stages.policy.seeding import derive

__all__ = ["Answers", "Asker", "GenerationSettings", "Reply", "ask"]

CHUNK = 256
"""Tasks a shard: small enough to lose little."""
NO_ROOM, CUT_OFF, NO_END = "no room for a reply", "cut off", "its thinking never ended"
FAILED = "no reply"
"""The faults of a reply; FAILED is followed by how the engine failed."""


@dataclass(frozen=True)
class Reply:
    """What a worker said to one task."""

    text: str
    """What stands after its thinking, without the answer tags; "" where there is a fault."""
    fault: str = ""
    """NO_ROOM, CUT_OFF, NO_END, FAILED with its kind, or "" for none."""
    tokens: int = 0
    """Tokens processed: the prompt and all that was said, thinking too."""


@dataclass(frozen=True)
class Answers:
    """The replies to all tasks, in their order, and what they cost."""

    replies: list[Reply]
    costs: dict[str, Any]
    """Figures: `flops`, 2 N D operations for N parameters and D tokens processed; of an endpoint its bill."""


def ask(
    model: Model | Endpoint, tasks: Sequence[str], generation: GenerationSettings, work: Work, *, name: str
) -> Answers:
    """Ask each task once and return the replies, as `Asker.ask`."""
    with Asker(work) as asker:
        return asker.ask(model, tasks, generation, name=name)


class Asker:
    """Asks models one after the other; the last that was asked stays open, until this is left as a context."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._open: tuple[object, Client] | None = None

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open[1].__exit__(*_)
            self._open = None

    def ask(
        self, model: Model | Endpoint, tasks: Sequence[str], generation: GenerationSettings, *, name: str
    ) -> Answers:
        """Ask each task once and return the replies; repeat a task for several independent ones (at a temperature above
        0).

        Shards lie under `work.scratch/workers/NAME` and are found again after a kill, so `name` must differ between two
        uses in one run; a task's seed is that of (seed, name, task, how often it came before). Raises ContractError for
        a model that cannot be asked at all.
        """
        numbered = [Task(text, count) for text, count in zip(tasks, _counted(tasks), strict=True)]

        def tell(done: list[shards.Row]) -> None:
            figures = {"length": sum(row["tokens"] for row in done) / len(done)}
            self.work.emit("progress", done=len(done), total=len(tasks), unit=f"{name} replies", figures=figures)

        client = self._client(model, generation)
        asking = partial(_Asking, generation, derive(self.work.seed, "worker", name))
        desk = asking(client)
        sharded = shards.Sharded(
            folder=self.work.scratch / "workers" / name,
            chunks=[numbered[start : start + CHUNK] for start in range(0, len(tasks), CHUNK)],
            requests=desk.requests,
            rows=desk.rows,
            tell=tell,
            name=lambda number, chunk: f"{number:05d}-{_digest(chunk, generation)}",
        )
        found = sharded.gathered(spread.finished(sharded, client, asking, {"model": model}))
        replies = [Reply(**row) for row in found]
        return Answers(replies, client.costs(sum(reply.tokens for reply in replies)))

    def _client(self, model: Model | Endpoint, generation: GenerationSettings) -> Client:
        """The model as it is asked, opened where it is not open yet."""
        wanted = (model.address, generation.template, generation.dtype)
        if self._open is None or self._open[0] != wanted:
            self.__exit__()
            contract = _contract(model, generation, self.work)
            self._open = wanted, client_of(model, contract, generation.dtype, self.work).__enter__()
        return self._open[1]


def _contract(model: Model | Endpoint, generation: GenerationSettings, work: Work) -> Contract:
    """The contract a model is asked under."""
    if generation.template:
        return contract_for(generation, model, work.note)
    if not model.contract.template and isinstance(model, Model):
        tokenizer = tokenizer_of(model)
        if getattr(tokenizer, "chat_template", None):
            return chat_contract(model.contract, tokenizer, tell=work.note)
    return model.contract


@dataclass(frozen=True)
class Task:
    """What a worker is asked, and how often the same was asked before."""

    text: str
    number: int


@dataclass(frozen=True)
class _Asking:
    """How tasks become requests, and completions replies."""

    generation: GenerationSettings
    seed: int
    client: Client

    def requests(self, chunk: Sequence[Task]) -> list[Request]:
        """A request for each task that leaves room for a reply."""
        asked = self.generation
        sampling = Sampling(temperature=asked.temperature, top_p=asked.top_p, max_tokens=asked.max_tokens)
        made = []
        for task, prompt in self._fitting(chunk):
            if prompt is not None:
                seed = derive(self.seed, task.text, task.number)
                made.append(Request(prompt_ids=prompt.ids, messages=prompt.messages, sampling=sampling, seed=seed))
        return made

    def rows(self, chunk: Sequence[Task], completions: Sequence[Completion]) -> list[dict[str, Any]]:
        """A reply for each task, in order."""
        said = iter(completions)
        found = []
        for _, prompt in self._fitting(chunk):
            found.append(Reply("", NO_ROOM) if prompt is None else _read(self.client, prompt, next(said)))
        return [asdict(reply) for reply in found]

    def _fitting(self, chunk: Sequence[Task]) -> list[tuple[Task, Prompted | None]]:
        """Each task as it is asked; None where it leaves no room."""
        asked = [self.client.prompt(task.text) for task in chunk]
        fits = [self.client.fits(prompt, self.generation.max_tokens) for prompt in asked]
        return [(task, one if fit else None) for task, one, fit in zip(chunk, asked, fits, strict=True)]


def _counted(tasks: Sequence[str]) -> list[int]:
    """How often each task stands before itself in the list."""
    seen: Counter[str] = Counter()
    numbers = []
    for task in tasks:
        numbers.append(seen[task])
        seen[task] += 1
    return numbers


def _read(client: Client, prompt: Prompted, completion: Completion) -> Reply:
    """Return the reply in a completion; one that was cut off may lack what matters, so it counts as none."""
    tokens = (prompt.tokens if completion.prompt_tokens is None else completion.prompt_tokens) + completion.length
    if completion.failed:
        return Reply("", f"{FAILED}: {completion.finish}", tokens)
    if completion.truncated:
        return Reply("", CUT_OFF, tokens)
    contract = client.contract
    final = final_part(contract.prefill + client.text(completion), contract.think_tags, contract.answer_tags)
    if final is None:
        return Reply("", NO_END, tokens)
    for tag in contract.answer_tags:
        final = final.replace(tag, "")
    return Reply(final.strip(), "", tokens)


def _digest(chunk: Sequence[Task], generation: GenerationSettings) -> str:
    """Tell shards of other tasks apart: what a worker is asked may depend on another worker's replies."""
    return fingerprint({"tasks": [asdict(task) for task in chunk], **asdict(generation)})[:12]

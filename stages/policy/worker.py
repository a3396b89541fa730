"""A model asked as a worker: tasks in words enter, its replies leave, sharded and resumable.

The generative judge, the rewriter and the labeller of preferences are all this: DeepSeek-R1 gave such work to
DeepSeek-V3 (arXiv 2501.12948v2, B.3). A reply is what stands after the worker's own thinking. A task that leaves no
room, and a reply that was cut off, are told as a fault and never stop the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stages.core import shards
from stages.core.artifact import Model
from stages.core.fingerprint import fingerprint
from stages.core.manner import Manner
from stages.core.runner import Work
from stages.core.sampling import Completion, Request, Sampling
from stages.core.templates import dressed
from stages.core.text import final_part
from stages.policy.chat import chat_contract
from stages.policy.engines.client import Client
from stages.policy.sampler import derive

__all__ = ["Answers", "Manner", "Reply", "ask"]

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
    flops: float
    """2 N D: N parameters, D tokens processed."""


def ask(model: Model, tasks: Sequence[str], manner: Manner, work: Work, *, name: str) -> Answers:
    """Ask each task once and return the replies; repeat a task for several independent ones (at a temperature above 0).

    Shards lie under `work.scratch/workers/NAME` and are found again after a kill, so `name` must differ between two
    uses in one run; a task's seed is that of (seed, name, task, how often it came before). Raises ContractError for a
    model that cannot be asked at all.
    """
    contract = dressed(model.contract, manner.template) if manner.template else model.contract
    numbered = [Task(text, count) for text, count in zip(tasks, _counted(tasks), strict=True)]

    def tell(done: list[shards.Row]) -> None:
        figures = {"length": sum(row["tokens"] for row in done) / len(done)}
        work.emit("progress", done=len(done), total=len(tasks), unit=f"{name} replies", figures=figures)

    with Client(model, contract, manner.dtype, work) as client:
        if not contract.template and getattr(client.tokenizer, "chat_template", None):
            client.contract = chat_contract(contract, client.tokenizer)
        asking = _Asking(client, manner, derive(work.seed, "worker", name))
        found = shards.Sharded(
            folder=work.scratch / "workers" / name,
            chunks=[numbered[start : start + CHUNK] for start in range(0, len(tasks), CHUNK)],
            requests=asking.requests,
            rows=asking.replies,
            tell=tell,
            name=lambda number, chunk: f"{number:05d}-{_digest(chunk, manner)}",
        ).done(client)
        replies = [Reply(**row) for row in found]
        return Answers(replies, client.flops(sum(reply.tokens for reply in replies)))


@dataclass(frozen=True)
class Task:
    """What a worker is asked, and how often the same was asked before."""

    text: str
    number: int


@dataclass(frozen=True)
class _Asking:
    """How tasks become requests, and completions replies."""

    client: Client
    manner: Manner
    seed: int

    def requests(self, chunk: Sequence[Task]) -> list[Request]:
        """A request for each task that leaves room for a reply."""
        manner = self.manner
        sampling = Sampling(temperature=manner.temperature, top_p=manner.top_p, max_tokens=manner.max_tokens)
        return [
            Request(prompt_ids=ids, sampling=sampling, seed=derive(self.seed, task.text, task.number))
            for task, ids in self._fitting(chunk)
            if ids
        ]

    def replies(self, chunk: Sequence[Task], completions: Sequence[Completion]) -> list[dict[str, Any]]:
        """A reply for each task, in order."""
        said = iter(completions)
        found = []
        for _, ids in self._fitting(chunk):
            found.append(_read(self.client, len(ids), next(said)) if ids else Reply("", NO_ROOM))
        return [asdict(reply) for reply in found]

    def _fitting(self, chunk: Sequence[Task]) -> list[tuple[Task, list[int]]]:
        """Each task with its prompt's ids; none where it leaves no room."""
        client, room = self.client, self.client.contract.max_positions - self.manner.max_tokens
        asked = [list(client.tokenizer(client.contract.render(task.text))["input_ids"]) for task in chunk]
        return [(task, ids if len(ids) <= room else []) for task, ids in zip(chunk, asked, strict=True)]


def _counted(tasks: Sequence[str]) -> list[int]:
    """How often each task stands before itself in the list."""
    seen: Counter[str] = Counter()
    numbers = []
    for task in tasks:
        numbers.append(seen[task])
        seen[task] += 1
    return numbers


def _read(client: Client, prompt_tokens: int, completion: Completion) -> Reply:
    """Return the reply in a completion; one that was cut off may lack what matters, so it counts as none."""
    tokens = prompt_tokens + completion.length
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


def _digest(chunk: Sequence[Task], manner: Manner) -> str:
    """Tell shards of other tasks apart: what a worker is asked may depend on another worker's replies."""
    return fingerprint({"tasks": [asdict(task) for task in chunk], **asdict(manner)})[:12]

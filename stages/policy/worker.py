"""A model asked as a worker: tasks in words enter, its replies leave, sharded and resumable.

The generative judge, the rewriter and the labeller of preferences are all this: DeepSeek-R1 gave such work to
DeepSeek-V3 (arXiv 2501.12948v2, B.3). A reply is what stands after the worker's own thinking. A task that leaves no
room, and a reply that was cut off, are told as a fault and never stop the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stages.core import shards
from stages.core.artifact import Model
from stages.core.fingerprint import fingerprint
from stages.core.manner import Manner
from stages.core.runner import Work
from stages.core.templates import dressed
from stages.core.text import final_part
from stages.policy.asking import Speaker
from stages.policy.chat import chat_contract
from stages.policy.generate import Sampling
from stages.policy.sampler import derive

__all__ = ["Answers", "Manner", "Reply", "ask"]

CHUNK = 256
"""Tasks a shard: small enough to lose little."""
NO_ROOM, CUT_OFF, NO_END = "no room for a reply", "cut off", "its thinking never ended"
"""The faults of a reply."""


@dataclass(frozen=True)
class Reply:
    """What a worker said to one task."""

    text: str
    """What stands after its thinking, without the answer tags; "" where there is a fault."""
    fault: str = ""
    """NO_ROOM, CUT_OFF, NO_END, or "" for none."""
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

    Shards lie under `work.scratch/workers/NAME`, each seeded by (seed, name, number) and found again after a kill, so
    `name` must differ between two uses in one run. Raises ContractError for a model that cannot be asked at all.
    """
    contract = dressed(model.contract, manner.template) if manner.template else model.contract
    speaker = Speaker(model, contract, manner.dtype, work)
    if not contract.template and getattr(speaker.tokenizer, "chat_template", None):
        speaker.contract = chat_contract(contract, speaker.tokenizer)
    chunks = [list(tasks[start : start + CHUNK]) for start in range(0, len(tasks), CHUNK)]

    def tell(done: list[shards.Row]) -> None:
        figures = {"length": sum(row["tokens"] for row in done) / len(done)}
        work.emit("progress", done=len(done), total=len(tasks), unit=f"{name} replies", figures=figures)

    found = shards.in_shards(
        work.scratch / "workers" / name,
        chunks,
        lambda number, chunk: _drawn(speaker, manner, chunk, derive(work.seed, "worker", name, number)),
        tell,
        lambda number, chunk: f"{number:05d}-{_digest(chunk, manner)}",
    )
    replies = [Reply(**row) for row in found]
    return Answers(replies, speaker.flops(sum(reply.tokens for reply in replies)))


def _drawn(speaker: Speaker, manner: Manner, chunk: Sequence[str], seed: int) -> list[dict[str, Any]]:
    asked = [list(speaker.tokenizer(speaker.contract.render(task))["input_ids"]) for task in chunk]
    fits = [i for i, ids in enumerate(asked) if 0 < len(ids) <= speaker.contract.max_positions - manner.max_tokens]
    replies = [Reply("", NO_ROOM)] * len(chunk)
    if fits:
        sampling = Sampling(temperature=manner.temperature, top_p=manner.top_p, max_tokens=manner.max_tokens)
        for place, said in zip(fits, speaker.say([asked[i] for i in fits], sampling, seed), strict=True):
            tokens = len(asked[place]) + len(said.ids)
            replies[place] = _read(speaker, speaker.text(said), said.truncated, tokens)
    return [asdict(reply) for reply in replies]


def _read(speaker: Speaker, said: str, truncated: bool, tokens: int) -> Reply:
    """Return the reply in a completion; one that was cut off may lack what matters, so it counts as none."""
    if truncated:
        return Reply("", CUT_OFF, tokens)
    contract = speaker.contract
    final = final_part(contract.prefill + said, contract.think_tags, contract.answer_tags)
    if final is None:
        return Reply("", NO_END, tokens)
    for tag in contract.answer_tags:
        final = final.replace(tag, "")
    return Reply(final.strip(), "", tokens)


def _digest(chunk: Sequence[str], manner: Manner) -> str:
    """Tell shards of other tasks apart: what a worker is asked may depend on another worker's replies."""
    return fingerprint({"tasks": list(chunk), **asdict(manner)})[:12]

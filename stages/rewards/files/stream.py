"""Score a stream of rows: JSON lines enter, one line for each leaves, in order, while memory stays flat.

Whole rows are scored in worker processes, side by side; a row that hangs or crashes its worker costs that row, and at
most its limit. Only a window of rows is ever held: a file may be larger than memory. `lines.py` says what one line
means.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from stages.rewards import registry
from stages.rewards.files import lines, stream_worker
from stages.rewards.files.lines import LINE_BYTES, Answer, Asked
from stages.rewards.processes.workers import Reply, Workers, cores
from stages.rewards.verdict import Verdict

TIMEOUT_S = 60.0
"""Wall clock for one row, as long as nothing else is asked for."""
GROUP_ROWS = 1024
"""A longer group is judged in parts."""
_CHUNK_S, _CHUNK_ROWS, _CHUNK_BYTES = 0.05, 64, 2**20  # what a worker gets at once: rows for about so long
_WINDOW_BYTES = 64 * 2**20
_BIG_BYTES = 2**20  # of such lines one is worked on at a time: what JSON makes of them is many times as large
_REASONS = 50  # kinds of reasons that are counted apart
_OTHER = "other reasons"
_GRAIN = 50  # steps of the histogram of seconds, for each factor of e

Group = list[bytes | None]
"""The lines of one question: one, or those of a group; None for a line over LINE_BYTES."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to score by, and with how many workers."""

    rewards: tuple[str, ...]
    """Names, as in a recipe."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Reward name -> its options."""
    workers: int = field(default_factory=cores)
    """Processes, 1 or more."""
    timeout_s: float = TIMEOUT_S
    """Wall clock for one row (or one group), in seconds; half of it may be CPU time."""

    def check(self) -> None:
        """Raise RecipeError for an unknown reward or option, and for a learned judge."""
        for name in self.rewards:
            registry.load(name, self.options.get(name))

    @property
    def grouped(self) -> bool:
        """Whether a reward looks at all completions of one prompt."""
        return any(name in registry.GROUP_REWARDS for name in self.rewards)


@dataclass
class Summary:
    """What was scored so far."""

    rows: int = 0
    """Lines answered."""
    bytes: int = 0
    """Bytes of input behind these answers."""
    judged: int = 0
    """Rows with a reward."""
    total: float = 0.0
    """The sum of the rewards."""
    nulls: Counter[str] = field(default_factory=Counter)
    """Reason -> how many rows were left without a reward for it."""
    _seconds: Counter[int] = field(default_factory=Counter)

    @property
    def mean(self) -> float | None:
        """The mean reward, or None before the first."""
        return self.total / self.judged if self.judged else None

    def quantile(self, share: float) -> float | None:
        """Return the seconds that `share` (0 to 1) of the rows do not exceed, within 2 %; None before the first."""
        left = share * self._seconds.total()
        for step, count in sorted(self._seconds.items()):
            left -= count
            if left <= 0:
                return math.exp(step / _GRAIN)
        return None

    def add(self, answer: Answer, size: int) -> None:
        """Count one answer to a line of `size` bytes."""
        self.rows += 1
        self.bytes += size
        if answer.reward is None:
            reason = answer.reason[:80]
            self.nulls[reason if reason in self.nulls or len(self.nulls) < _REASONS else _OTHER] += 1
        else:
            self.judged += 1
            self.total += answer.reward
        if answer.seconds > 0:
            self._seconds[round(math.log(answer.seconds) * _GRAIN)] += 1


def score(
    job: Job,
    source: BinaryIO,
    write: Callable[[bytes], Any],
    tell: Callable[[Summary], None],
    before: Summary | None = None,
) -> Summary:
    """Read lines from `source` to its end and `write` one line for each, in order; `tell` hears how far it is.

    `before` is the summary of lines already answered, of which `source` is the rest. Raises RecipeError as `Job.check`;
    nothing that a line holds raises.
    """
    job.check()
    summary, several = before or Summary(), len(job.rewards) > 1
    with _Pool(job) as pool:
        for chunk, answers in pool.scored(source):
            for answer, size in zip(answers, _sizes(chunk), strict=True):
                summary.add(answer, size)
            write(b"".join(answer.line(several) for answer in answers))
            tell(summary)
    return summary


class _Pool:
    """The workers, a thread for each, and how fast rows go through them."""

    def __init__(self, job: Job) -> None:
        self._job = job
        asked = json.dumps({"rewards": job.rewards, "options": {name: dict(one) for name, one in job.options.items()}})
        self._workers = Workers([sys.executable, "-P", "-m", stream_worker.__name__, asked], count=job.workers)
        self._threads = ThreadPoolExecutor(job.workers, thread_name_prefix="rows")
        self._big = threading.Semaphore(1)
        self._row_s = math.inf  # of late

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._workers.close()  # which also ends what threads still wait for
        self._threads.shutdown()

    def scored(self, source: BinaryIO) -> Iterator[tuple[list[Group], list[Answer]]]:
        """Yield chunks of lines with the answers to them, in order."""
        window: deque[tuple[list[Group], int, Future[list[Answer]]]] = deque()
        held = 0
        for chunk in self._chunks(source):
            size = sum(_sizes(chunk))
            while window and (
                window[0][2].done() or len(window) > 2 * self._job.workers or held + size > _WINDOW_BYTES
            ):
                done, its_size, future = window.popleft()
                held -= its_size
                yield done, future.result()
            window.append((chunk, size, self._threads.submit(self._work, chunk, size)))
            held += size
        for done, _, future in window:
            yield done, future.result()

    def _chunks(self, source: BinaryIO) -> Iterator[list[Group]]:
        """Yield lists of groups that take a worker about _CHUNK_S: slow rows one by one, so that none waits."""
        chunk: list[Group] = []
        rows = size = 0
        for group in groups(source) if self._job.grouped else ([line] for line in split(source)):
            chunk.append(group)
            rows += len(group)
            size += sum(_sizes([group]))
            if rows >= min(_CHUNK_ROWS, _CHUNK_S / self._row_s) or size >= _CHUNK_BYTES:
                yield chunk
                chunk, rows, size = [], 0, 0
        if chunk:
            yield chunk

    def _work(self, chunk: list[Group], size: int) -> list[Answer]:
        if size < _BIG_BYTES:
            return self._answers(chunk)
        with self._big:
            return self._answers(chunk)

    def _answers(self, chunk: list[Group]) -> list[Answer]:
        """Return one answer for each line of a chunk."""
        read = [[lines.read(line) for line in group] for group in chunk]
        asked = [[one for one in group if not one.refused] for group in read]
        questions = [[_question(one, self._job.grouped) for one in group] for group in asked if group]
        began = time.perf_counter()
        replies = iter(self._workers.ask_all(questions, self._job.timeout_s) if questions else [])
        answers: list[Answer] = []
        for group, askable in zip(read, asked, strict=True):
            scored = iter(self._scored(askable, next(replies))) if askable else iter(())
            answers += [lines.refused(one, one.refused) if one.refused else next(scored) for one in group]
        if questions:
            spent = (time.perf_counter() - began) / sum(map(len, questions))
            self._row_s = spent if self._row_s == math.inf else (self._row_s + spent) / 2
        return answers

    def _scored(self, group: Sequence[Asked], reply: Reply) -> list[Answer]:
        if reply.fault:
            spent = {"wall": self._job.timeout_s, "cpu": self._job.timeout_s * self._workers.cpu_share}
            seconds = spent.get(reply.kind, 0.0) / len(group)
            return [lines.refused(one, f"scoring {reply.fault}", seconds) for one in group]
        told = [{name: Verdict(*pair) for name, pair in one.items()} for one in reply.value["verdicts"]]
        seconds = reply.value["seconds"]
        return [lines.answer(one, said, self._job.rewards, seconds) for one, said in zip(group, told, strict=True)]


def split(source: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines of a stream without their ends; None for each line over LINE_BYTES, which is never held whole."""
    first = True
    while line := source.readline(LINE_BYTES + 1):
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        if len(line) <= LINE_BYTES or line.endswith(b"\n"):
            yield line.removesuffix(b"\n")
            continue
        while line and not line.endswith(b"\n"):
            line = source.readline(2**20)
        yield None


def groups(source: BinaryIO) -> Iterator[Group]:
    """Yield the lines that stand together and name one group (or else one id), at most GROUP_ROWS of them."""
    group: Group = []
    size, name = 0, ""
    for line in split(source):
        asked = lines.read(line)
        length = len(line or b"")
        same = asked.group == name and not asked.refused
        if group and not (same and len(group) < GROUP_ROWS and size + length < LINE_BYTES):
            yield group
            group, size = [], 0
        group.append(line)
        size, name = size + length, asked.group
    if group:
        yield group


def _sizes(chunk: list[Group]) -> list[int]:
    return [len(line or b"") + 1 for group in chunk for line in group]


def _question(asked: Asked, grouped: bool) -> dict[str, Any]:
    question = asked.question()
    if grouped:
        question["row"] = {**question["row"], "id": asked.group}  # what scoring groups by
    return question

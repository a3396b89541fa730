"""Score a batch: completions and their rows enter, one verdict per completion and reward that applies to it leaves.

Inside a batch a failure is a value: a reward that raises gives None with the reason, and training goes on without
that sample. A reward that does not apply to a row is no failure: it says nothing there and adds nothing. Rewards that
wait for a process (a symbolic check, a program's tests, a user's function) wait side by side, one thread a core; the
verdicts come in order, and they do not depend on how many threads there are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

from stages.core.contract import Contract
from stages.core.errors import RecipeError
from stages.core.rows import JUDGES, Prompt
from stages.rewards import cache
from stages.rewards.processes import outside, workers
from stages.rewards.registry import GROUP_REWARDS, LENGTH, Reward, load, takes_length, verdict_of, version
from stages.rewards.verdict import Verdict

GOLD = ("accuracy", "strict", "choice", "cosine", "length_penalty")
"""Rewards that compare with a gold answer, which a general prompt does not have."""
TESTED = ("code", "compile")
"""Rewards that run the completion: they apply to rows with tests."""
WAITING = ("accuracy", "strict", "cosine", "length_penalty", *TESTED)
"""Rewards of this project that may wait for another process."""
VERDICTS = cache.Cache()
"""What a program's tests and a user's functions said before in this process."""
STARTED: set[str] = set()
"""Users' functions that a worker of this process could import: a later one that cannot costs its sample, not the run.
"""


class Scorer(Protocol):
    """A learned judge in use; what of a completion it looks at is its own business."""

    def __call__(self, problems: list[str], completions: list[str], /) -> list[float]:
        """Return one score from 0 to 1 for each completion, in order; NaN where it could not judge."""


class Counted(str):
    """A completion that knows its length in tokens, which its text cannot tell."""

    __slots__ = ("tokens",)
    tokens: int

    def __new__(cls, text: str, tokens: int) -> Counted:
        counted = super().__new__(cls, text)
        counted.tokens = tokens
        return counted


def applies(name: str, row: Prompt) -> bool:
    """Say whether a reward judges this kind of row: a learned judge the general prompts that name it (R1 v2, §3.1);
    code those with tests; what compares with a gold answer all but general prompts; any other reward every row.
    """
    if name in JUDGES:
        return row.verifier == name
    if name in TESTED:
        return _is_code(row)
    return name not in GOLD or row.verifier not in JUDGES


def score(
    completions: Sequence[str],
    rows: Sequence[Prompt],
    contract: Contract,
    rewards: Mapping[str, float],
    judges: Mapping[str, Scorer] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Verdict]]:
    """Return one {reward name: Verdict} per completion, in order; `rows[i]` is the problem of `completions[i]`.

    A reward that does not apply to a row (see `applies`) is left out of its dict. `rewards` maps names to weights; the
    weights play no part here (see `total`). `judges` holds the learned ones by name; each is asked once, about the rows
    it applies to, and not at all where there are none. `options` maps names to what a recipe sets. Completions of one
    row id are a group, wherever they stand. Lengths are known where completions are `Counted`. Raises RecipeError for
    an unknown reward or option and for a judge that is not given, ValueError when the lengths differ.
    """
    batch = list(zip(completions, rows, strict=True))
    given = judges or {}
    used = {name: _InUse.of(name, (options or {}).get(name, {}), contract) for name in rewards if name not in given}
    said: dict[str, dict[int, Verdict]] = {name: {} for name in rewards}
    waiting: list[_Task] = []
    quick: list[_Task] = []
    for name in rewards:
        places = [place for place, row in enumerate(rows) if applies(name, row)]
        if name in given:
            said[name] = dict(zip(places, _ask(name, given[name], [batch[place] for place in places]), strict=True))
            continue
        parts = _groups(places, rows) if name in GROUP_REWARDS else [[place] for place in places]
        into = waiting if used[name].waits else quick
        into += [_Task(used[name], part, [batch[place] for place in part]) for part in parts]
    for task, verdicts in zip((*waiting, *quick), (*_side_by_side(waiting), *map(_Task.run, quick)), strict=True):
        said[task.reward.name].update(zip(task.places, verdicts, strict=True))
    return [{name: said[name][place] for name in rewards if place in said[name]} for place in range(len(batch))]


def total(verdicts: Mapping[str, Verdict], rewards: Mapping[str, float]) -> float | None:
    """Return the weighted sum of a completion's verdicts, or None when a reward with a weight could not judge it.

    A reward that did not apply to it, and so has no verdict, adds 0.
    """
    values = [(verdicts[name].value, weight) for name, weight in rewards.items() if weight and name in verdicts]
    if any(value is None for value, _ in values):
        return None
    return math.fsum(value * weight for value, weight in values if value is not None)


class _InUse(NamedTuple):
    """A reward as it is called."""

    name: str
    function: Reward
    """With its options bound."""
    options: Mapping[str, Any]
    contract: Contract
    counts: bool
    """Whether it is told lengths in tokens."""
    waits: bool
    """Whether it may wait for another process."""
    remembers: bool
    """Whether each verdict is a process's work: only then is finding an old one cheaper than judging again."""

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any], contract: Contract) -> _InUse:
        function, own = load(name, options), ":" in name
        return cls(name, function, options, contract, takes_length(name), own or name in WAITING, own or name in TESTED)

    def one(self, completion: str, row: Prompt) -> Verdict:
        """Return the verdict on one completion: remembered, a worker's on a user's function, or the function's."""
        more = {LENGTH: getattr(completion, "tokens", None)} if self.counts else {}
        told = {**self.options, **more}
        key = cache.key(self.name, version(self.name), completion, row, self.contract, told) if self.remembers else None
        known = VERDICTS.get(key) if key else None
        if known is not None:
            return known
        if ":" in self.name:
            verdict = self._by_worker(completion, row, told)
        else:
            verdict = verdict_of(self.function(completion, row, self.contract, **more))
        VERDICTS.put(key, verdict)
        return verdict

    def _by_worker(self, completion: str, row: Prompt, told: Mapping[str, Any]) -> Verdict:
        try:
            verdict = outside.call(self.name, completion, row, self.contract, told)
        except RecipeError as error:
            if self.name not in STARTED:
                raise
            return Verdict(None, str(error)[:200])
        STARTED.add(self.name)
        return verdict

    def group(self, completions: list[str], row: Prompt) -> list[Verdict]:
        """Return the verdicts on a group, which knows lengths where all of its completions do."""
        counts = [one.tokens for one in completions if isinstance(one, Counted)]
        more = {LENGTH: counts if len(counts) == len(completions) else None} if self.counts else {}
        found = [verdict_of(one) for one in self.function(completions, row, self.contract, **more)]
        if len(found) != len(completions):
            raise ValueError(f"judged {len(found)} of {len(completions)} completions")
        return found


class _Task(NamedTuple):
    """One call of a reward: about one completion, or about a group."""

    reward: _InUse
    places: list[int]
    batch: list[tuple[str, Prompt]]

    def run(self) -> list[Verdict]:
        """Return a verdict for each place; what the reward raises is a verdict too."""
        texts, row = [text for text, _ in self.batch], self.batch[0][1]
        try:
            if self.reward.name in GROUP_REWARDS:
                return self.reward.group(texts, row)
            return [self.reward.one(texts[0], row)]
        except RecipeError:
            raise  # a user's function that no worker can import: it would judge nothing
        except Exception as error:  # noqa: BLE001  a user's reward may raise anything; its sample is what it costs
            return [Verdict(None, f"the reward raised {type(error).__name__}: {error}"[:200])] * len(self.places)


def _side_by_side(tasks: Sequence[_Task]) -> list[list[Verdict]]:
    """Run tasks that wait, as many at once as there are cores, and return their verdicts in order."""
    threads = min(len(tasks), workers.cores())
    if threads < 2:
        return [task.run() for task in tasks]  # a thread costs more than most answers
    found: list[list[Verdict]] = [[] for _ in tasks]
    numbers = iter(range(len(tasks)))

    def work() -> None:
        for number in numbers:  # shared: each thread takes the next one that nobody took
            found[number] = tasks[number].run()

    with ThreadPoolExecutor(threads) as pool:
        try:
            for one in [pool.submit(work) for _ in range(threads)]:
                one.result()
        finally:
            deque(numbers, maxlen=0)  # an interrupted batch is not begun any further
    return found


def _groups(places: Sequence[int], rows: Sequence[Prompt]) -> list[list[int]]:
    """Return the places of each row id, in the order the ids come first."""
    found: dict[str, list[int]] = {}
    for place in places:
        found.setdefault(rows[place].id, []).append(place)
    return list(found.values())


def _is_code(row: Prompt) -> bool:
    return row.verifier == "code" or "tests" in row.meta


def _ask(name: str, judge: Scorer, batch: Sequence[tuple[str, Prompt]]) -> list[Verdict]:
    """Return a judge's verdicts on the completions it applies to, in order."""
    if not batch:
        return []
    scores = judge([row.problem for _, row in batch], [completion for completion, _ in batch])
    return [_heard(name, value) for _, value in zip(batch, scores, strict=True)]


def _heard(name: str, value: float) -> Verdict:
    if math.isnan(value):
        return Verdict(None, f"the {name} judge could not judge")
    return verdict_of(Verdict(value, f"the {name} judge says {value:.3f}"))

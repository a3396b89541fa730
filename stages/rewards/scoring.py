"""Score a batch: completions and their rows enter, one verdict per completion and reward that applies to it leaves.

Inside a batch a failure is a value: a reward that raises gives None with the reason, and training goes on without
that sample. A reward that does not apply to a row is no failure: it says nothing there and adds nothing. A reward that
builds on another's verdict gets that one, so that an answer is judged once and a program's tests run once, whatever is
asked. Rewards that wait for a process (a symbolic check, a program's tests, a user's function) wait side by side, one
thread a core; the verdicts come in order, and they do not depend on how many threads there are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol

from stages.core.contract import Contract
from stages.core.errors import RecipeError
from stages.core.rows import JUDGES, Prompt
from stages.rewards import cache
from stages.rewards.declared import JUDGED, LENGTH, Function
from stages.rewards.processes import outside, workers
from stages.rewards.programs import forms
from stages.rewards.registry import ENTRIES, behind, load, takes_length, verdict_of, version
from stages.rewards.verdict import Verdict

VERDICTS = cache.Cache()
"""What a program's tests and a user's functions said before in this process."""
STARTED: set[str] = set()
"""Users' functions that a worker of this process could import: a later one that cannot costs its sample, not the run.
"""


class Scorer(Protocol):
    """A learned judge in use; what of a completion it looks at is its own business."""

    def __call__(
        self, problems: list[str], completions: list[str], turns: list[list[dict[str, str]]] | None = None, /
    ) -> list[float]:
        """Return one score from 0 to 1 for each completion, in order; NaN where it could not judge. `turns` are what
        was said before each problem; None = nothing before any."""


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
    if needs(name, "tests"):
        return row.verifier == "code" or forms.brings_tests(row.meta)
    return not needs(name, "gold") or row.verifier not in JUDGES


def needs(name: str, what: str) -> bool:
    """Say whether a reward of this project needs a row to have `gold` or `tests`."""
    return name in ENTRIES and what in ENTRIES[name].needs


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
    it applies to, and not at all where there are none. `options` maps names to what a recipe sets, also of rewards that
    only others build on. Completions of one row id are a group, wherever they stand. Lengths are known where
    completions are `Counted`. Raises RecipeError for an unknown reward or option and for a judge that is not given,
    ValueError when the lengths differ.
    """
    given = judges or {}
    used = {name: _InUse.of(name, (options or {}).get(name, {}), contract) for name in rewards if name not in given}
    for name, entry in behind(used).items():
        used[name] = _InUse.of(name, {**(options or {}).get(name, {}), **entry.aside}, contract)
    batch = [_Completion(*pair, used, {}) for pair in zip(completions, rows, strict=True)]
    quick: list[Callable[[], None]] = []
    waiting: dict[object, list[Callable[[], None]]] = {}
    groups: dict[object, list[Callable[[], None]]] = {}
    for name in rewards:
        places = [place for place, row in enumerate(rows) if applies(name, row)]
        if name in given:
            _ask(name, given[name], [batch[place] for place in places])
        elif used[name].grouped:
            for row_id, part in _groups(places, rows).items():
                groups.setdefault(row_id, []).append(partial(_judge_group, name, [batch[place] for place in part]))
        elif used[name].waits:
            for place in places:  # one after the other, since they build on each other; a user's function by itself
                chain = (place, name) if ":" in name else place
                waiting.setdefault(chain, []).append(partial(_judge, name, batch[place]))
        else:
            quick += [partial(_judge, name, batch[place]) for place in places]
    _side_by_side([*waiting.values()])
    for task in quick:
        task()
    _side_by_side([*groups.values()])
    return [{name: one.said[name] for name in rewards if name in one.said and applies(name, one.row)} for one in batch]


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
    function: Function
    """With its options bound."""
    options: Mapping[str, Any]
    contract: Contract
    counts: bool
    """Whether it is told lengths in tokens."""
    builds: bool
    """Whether it is told what other rewards say."""
    grouped: bool
    """Whether it judges a group."""
    waits: bool
    """Whether it may wait for another process."""
    remembers: bool
    """Whether each verdict is a process's work: only then is finding an old one cheaper than judging again."""

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any], contract: Contract) -> _InUse:
        function = load(name, options)
        if name not in ENTRIES:
            flags = {"builds": False, "grouped": False, "waits": True, "remembers": True}
        else:
            one = ENTRIES[name]
            flags = {"builds": one.takes(JUDGED), "grouped": one.group, "waits": one.waits, "remembers": one.remembers}
        return cls(name, function, options, contract, takes_length(name), **flags)

    def one(self, completion: str, row: Prompt, judged: Callable[[str], Verdict]) -> Verdict:
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
            others = {JUDGED: judged} if self.builds else {}
            verdict = verdict_of(self.function(completion, row, self.contract, **more, **others))
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

    def group(self, completions: list[str], row: Prompt, judged: Callable[[str], list[Verdict]]) -> list[Verdict]:
        """Return the verdicts on a group, which knows lengths where all of its completions do."""
        counts = [one.tokens for one in completions if isinstance(one, Counted)]
        more: dict[str, Any] = {LENGTH: counts if len(counts) == len(completions) else None} if self.counts else {}
        others = {JUDGED: judged} if self.builds else {}
        found = [verdict_of(one) for one in self.function(completions, row, self.contract, **more, **others)]
        if len(found) != len(completions):
            raise ValueError(f"judged {len(found)} of {len(completions)} completions")
        return found


class _Completion(NamedTuple):
    """A completion, and what the rewards said of it so far: each is asked once."""

    text: str
    row: Prompt
    used: Mapping[str, _InUse]
    said: dict[str, Verdict]

    def judged(self, name: str) -> Verdict:
        """Return a reward's verdict, worked out if it is the first to ask."""
        if name not in self.said:
            self.said[name] = self.used[name].one(self.text, self.row, self.judged)
        return self.said[name]


def _judge(name: str, one: _Completion) -> None:
    """Have a reward say what it says of a completion; what it raises is a verdict too."""
    try:
        one.judged(name)
    except RecipeError:
        raise  # a user's function that no worker can import: it would judge nothing
    except Exception as error:  # noqa: BLE001  a user's reward may raise anything; its sample is what it costs
        one.said[name] = _raised(error)


def _judge_group(name: str, group: Sequence[_Completion]) -> None:
    """Have a group reward say what it says of a group; what it raises costs the group."""

    def judged(other: str) -> list[Verdict]:
        return [one.judged(other) for one in group]

    reward = group[0].used[name]
    try:
        found = reward.group([one.text for one in group], group[0].row, judged)
    except Exception as error:  # noqa: BLE001  as above
        found = [_raised(error)] * len(group)
    for one, verdict in zip(group, found, strict=True):
        one.said[name] = verdict


def _raised(error: Exception) -> Verdict:
    return Verdict(None, f"the reward raised {type(error).__name__}: {error}"[:200])


def _side_by_side(chains: Sequence[Sequence[Callable[[], None]]]) -> None:
    """Run chains of tasks, as many at once as there are cores; the tasks of one chain in their order."""

    def work() -> None:
        for chain in left:  # shared: each thread takes the next one that nobody took
            for task in chain:
                task()

    threads = min(len(chains), workers.cores())
    left = iter(list(chains))  # a list's iterator: threads may share it
    if threads < 2:
        work()  # a thread costs more than most answers
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            for one in [pool.submit(work) for _ in range(threads)]:
                one.result()
        finally:
            deque(left, maxlen=0)  # an interrupted batch is not begun any further


def _groups(places: Sequence[int], rows: Sequence[Prompt]) -> dict[str, list[int]]:
    """Return the places of each row id, in the order the ids come first."""
    found: dict[str, list[int]] = {}
    for place in places:
        found.setdefault(rows[place].id, []).append(place)
    return found


def _ask(name: str, judge: Scorer, batch: Sequence[_Completion]) -> None:
    """Put the completions that a judge applies to to it, all at once."""
    if not batch:
        return
    turns = [one.row.turns for one in batch]
    scores = judge([one.row.problem for one in batch], [one.text for one in batch], turns if any(turns) else None)
    for one, value in zip(batch, scores, strict=True):
        one.said[name] = _heard(name, value)


def _heard(name: str, value: float) -> Verdict:
    if math.isnan(value):
        return Verdict(None, f"the {name} judge could not judge")
    return verdict_of(Verdict(value, f"the {name} judge says {value:.3f}"))

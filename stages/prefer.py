"""Rollouts of general prompts in, preferences out: what R1's judges learn from.

Several responses to each prompt are judged by a labeller, which is a function or a model. `pairs` (the helpful judge):
two summaries are compared several times at random places, the judgements averaged, small differences left out, and
lengths matched. `points` (the safe judge): each whole response is labelled safe or unsafe. Whatever is left out is
counted with its reason in yield.json (DeepSeek-R1, arXiv 2501.12948v2 §3.1).
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stages.core import text
from stages.core.artifact import Artifact, Draft, Endpoint, Model, Preferences, Rollouts
from stages.core.contract import Contract
from stages.core.data import labelling, pairing, yields
from stages.core.errors import InputError, StageError
from stages.core.recipe import functions, ranges
from stages.core.rows import Labelled, Preference, Prompt, in_words, write_rows
from stages.core.run import shards
from stages.core.storage import disk
from stages.core.templates import Asked

if TYPE_CHECKING:
    from stages.core.run.runner import Work

VERSION = 4
CHUNK = 128  # prompts a shard: small enough to lose little
UNJUDGED, SMALL, LENGTH = REASONS = ("unjudged", "small margin", "length")
"""Why a pair or a response is left out: a judgement could not be read, the difference is small, lengths are matched."""
LABELLERS = {"pairs": "stages.world.oracle:label", "points": "stages.world.oracle:label_safety"}
VERIFIER = {"pairs": "helpful", "points": "safe"}  # which prompts each kind of preference is about


@dataclass(frozen=True, kw_only=True)
class Recipe(Asked):
    kind: Literal["pairs", "points"] = "pairs"
    """`pairs`: helpful prompts, two summaries compared; `points`: safety prompts, whole responses labelled."""
    labeller: str = ""
    """Who judges: a function `package.module:function` of (row, text, seed) that returns 1..10, or `model`, which asks
    inputs.judge; empty = the embedded world's own for the kind.
    """
    queries: int = 4
    """Judgements of each pair or response, which are averaged, 1 or more; R1 used 4."""
    min_margin: float = 1.0
    """Pairs whose averaged scores differ by more than this many points are kept, 0 or more; R1 used 1."""
    pairs_per_prompt: int | None = 1
    """Pairs drawn from the distinct responses of a prompt, 1 or more; None = all there are."""
    length_tolerance: float | None = 0.1
    """How far lengths that count as equal may differ, as a share, above 0; None = lengths are not matched."""
    safe_above: float = 5.5
    """Averaged points above which a response is labelled safe, 1 to 10."""
    temperature: float = 1.0
    """Of a model labeller, 0 or more; 0 = it always says the same, and queries differ by the order alone."""
    max_tokens: int = 2048
    """Tokens of a model labeller's reply, 1 or more."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of a model labeller's weights."""
    seed: int = 0
    """Decides pairs, orders, judgements and which surplus is left out, 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "labeller", self.labeller or LABELLERS[self.kind])
        _check(self)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    rollouts: Rollouts
    """Responses to general or safety prompts, several for each."""
    judge: Model | Endpoint | None = None
    """The model that is asked when `labeller` is `model`."""


@dataclass(frozen=True)
class Case:
    """What one judgement is about: a prompt and the responses shown, one (points) or two (pairs), in their order."""

    row: Prompt
    samples: tuple[int, ...]
    texts: tuple[str, ...]
    wholes: tuple[str, ...]

    @property
    def id(self) -> str:
        """The prompt's id and the numbers of its samples."""
        return f"{self.row.id}:{'-'.join(map(str, self.samples))}"


Figures = dict[str, Any]
Judgements = list[tuple[float, ...] | None]
"""The answers to the queries of one case: a score for each of its responses; None where none could be read."""


def kind_of(_: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Preferences


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Judge the responses and write preferences.jsonl and yield.json; a killed run repeats no finished shard.

    Raises InputError when no prompt is for this kind or the judge is missing, StageError when nothing is left.
    """
    if (recipe.labeller == labelling.BY_MODEL) != (inputs.judge is not None):
        raise InputError("a model labels when, and only when, it is named", hint="labeller=model inputs.judge=ADDRESS")
    counts: Counter[str] = Counter()
    cases = list(cases_of(recipe, inputs.rollouts, counts))
    costs: dict[str, Any] = {"flops": {"sampling": 0.0}}
    if inputs.judge is not None:
        judged, costs = _by_model(recipe, cases, inputs.judge, work)
    else:
        judged = _by_function(recipe, cases, work)
    kept, faults, figures = (_pairs if recipe.kind == "pairs" else _points)(recipe, cases, judged)
    told = yields.counted(((case.row.family, fault) for case, fault in zip(cases, faults, strict=True)), REASONS)
    told |= {"completions": dict(counts), **figures}
    if not kept:
        reasons = ", ".join(f"{count} {why}" for why, count in {**told["discards"], **counts}.items() if count)
        hint = "sample more responses, or see `r1 recipes keys prefer` for what is left out"
        raise StageError(f"of {len(cases)} {recipe.kind} none is kept ({reasons})", hint=hint)
    write_rows(work.path / "preferences.jsonl", kept)
    disk.write_atomically(work.path / yields.YIELD_FILE, json.dumps(told, ensure_ascii=False, indent=1))
    del told["families"]
    return Draft(Preferences, {"kind": recipe.kind, **told, **costs})


def identity(recipe: Recipe) -> dict[str, str]:
    """Return what the fingerprint cannot see in the recipe: the source of the labelling function.

    Raises RecipeError for a function that does not exist, before anything is spent.
    """
    return (
        {}
        if recipe.labeller == labelling.BY_MODEL
        else {recipe.labeller: functions.source_sha256(labelling.load(recipe.labeller), recipe.labeller)}
    )


def cases_of(recipe: Recipe, rollouts: Rollouts, counts: Counter[str]) -> Iterable[Case]:
    """Yield what is to be judged, prompt by prompt; `counts` learns what became of the samples."""
    asked = _contract(rollouts)
    think_tags, answer_tags = (asked or Contract).think_tags, (asked or Contract).answer_tags
    rows = {row.id: row for row in rollouts.prompts() if row.verifier == VERIFIER[recipe.kind]}
    if not rows:
        hint = f"sample prompts whose verifier is `{VERIFIER[recipe.kind]}`, or set `kind`"
        raise InputError(f"no prompt of {rollouts.address} is for {recipe.kind}", hint=hint)
    found: dict[str, dict[str, tuple[int, str]]] = {key: {} for key in rows}
    for sample in rollouts.samples():
        counts["all"] += 1
        if sample.id not in rows:
            counts["other prompts"] += 1
            continue
        if sample.failed:
            counts["failed by the engine"] += 1
            continue
        completion = asked.tagged(sample.completion) if asked else sample.completion
        response = text.whole(completion, think_tags)
        shown = response.strip()
        if recipe.kind == "pairs":
            shown = text.summary(response, think_tags, answer_tags) or ""
        if not shown or shown in found[sample.id]:
            counts["same text" if shown else "no summary"] += 1
            continue
        found[sample.id][shown] = (sample.sample, response)
    for key, row in rows.items():
        own = [(number, shown, response) for shown, (number, response) in found[key].items()]
        rng = random.Random(f"{recipe.seed} candidates {key}")
        chosen = pairing.candidates(len(own), recipe.pairs_per_prompt, rng)
        for places in chosen if recipe.kind == "pairs" else [(place,) for place in range(len(own))]:
            samples, texts, wholes = zip(*(own[place] for place in places), strict=True)
            yield Case(row, samples, texts, wholes)


def tasks(recipe: Recipe, cases: Sequence[Case]) -> list[str]:
    """Return what a model is asked: `queries` tasks for each case, the two responses of a pair at random places."""
    asked: list[str] = []
    for case in cases:
        for straight in _orders(recipe, case):
            shown = case.texts if straight else case.texts[::-1]
            asked.append(labelling.task(in_words(case.row), shown))
    return asked


def read_replies(recipe: Recipe, cases: Sequence[Case], replies: Sequence[str]) -> list[Judgements]:
    """Return the judgements in the replies to `tasks`, each pair's scores back in the order of its responses."""
    judged: list[Judgements] = []
    for number, case in enumerate(cases):
        own = replies[number * recipe.queries : (number + 1) * recipe.queries]
        found = [labelling.points(reply, len(case.texts)) for reply in own]
        straight = _orders(recipe, case)
        judged.append([one if ahead or one is None else one[::-1] for one, ahead in zip(found, straight, strict=True)])
    return judged


def _by_model(
    recipe: Recipe, cases: Sequence[Case], judge: Model | Endpoint, work: Work
) -> tuple[list[Judgements], dict[str, Any]]:
    """Return a model's judgements and what they cost; a function needs no torch, so it is imported here."""
    from stages.policy.engines import worker

    generation = worker.GenerationSettings(
        temperature=recipe.temperature,
        max_tokens=recipe.max_tokens,
        template=recipe.template,
        template_options=recipe.template_options,
        dtype=recipe.dtype,
    )
    answers = worker.ask(judge, tasks(recipe, cases), generation, work, name="labeller")
    return read_replies(recipe, cases, [reply.text for reply in answers.replies]), answers.costs


def _by_function(recipe: Recipe, cases: Sequence[Case], work: Work) -> list[Judgements]:
    """Return the judgements of a labelling function, from the shards that exist and by asking for those that do not."""
    function = labelling.load(recipe.labeller)
    chunks = [cases[start : start + CHUNK] for start in range(0, len(cases), CHUNK)]

    def tell(done: Sequence[shards.Row]) -> None:
        work.emit("progress", done=len(done), total=len(cases), unit=recipe.kind, figures={})

    def draw(_: int, chunk: Sequence[Case]) -> list[shards.Row]:
        return [_asked(function, recipe, case) for case in chunk]

    found = shards.in_shards(work.scratch / "shards", chunks, draw, tell)
    faults = [row["fault"] for row in found if row["fault"]]
    if faults:
        said = f"the labeller could not judge {len(faults)} of {len(cases)} cases, such as: {faults[0]}"
        work.emit("warning", text=said)
    return [[None if one is None else tuple(one) for one in row["judgements"]] for row in found]


def _asked(function: labelling.Labeller, recipe: Recipe, case: Case) -> shards.Row:
    """Return a function's judgements of a case, each response of each query under a seed of its own, and the last
    fault: a user's labeller may raise anything, and what that costs is its case.
    """
    judgements: list[list[float] | None] = []
    fault = ""
    for query in range(recipe.queries):
        seeds = [random.Random(f"{recipe.seed} {case.id} {sample} {query}").getrandbits(31) for sample in case.samples]
        try:
            scores = [float(function(case.row, shown, seed)) for shown, seed in zip(case.texts, seeds, strict=True)]
        except Exception as error:  # noqa: BLE001
            scores, fault = [], f"{type(error).__name__}: {error}"[:200]
        if scores and not all(map(math.isfinite, scores)):
            scores, fault = [], f"it returned {scores}"
        judgements.append(scores or None)
    return {"judgements": judgements, "fault": fault}


def _pairs(recipe: Recipe, cases: Sequence[Case], judged: Sequence[Judgements]) -> tuple[list[Any], list[str], Figures]:
    """Return the pairs that are kept, each case's fault ("" = kept), and figures."""
    rows: dict[int, Preference] = {}
    lengths: dict[int, tuple[int, int]] = {}
    faults = [""] * len(cases)
    first_shown: list[float] = []
    for place, (case, answers) in enumerate(zip(cases, judged, strict=True)):
        read = [(one[0], one[1]) for one in answers if one is not None]
        if len(read) < len(answers):
            faults[place] = UNJUDGED
            continue
        orders = zip(read, _orders(recipe, case), strict=True)
        first_shown += [(a - b) if straight else (b - a) for (a, b), straight in orders]
        delta = pairing.margin(read)
        if abs(delta) <= recipe.min_margin:
            faults[place] = SMALL
            continue
        best, worst = (0, 1) if delta > 0 else (1, 0)
        row, wholes = case.row, case.wholes
        rows[place] = Preference(
            case.id, row.problem, wholes[best], wholes[worst], abs(delta), row.language, row.family, row.turns
        )
        lengths[place] = (len(case.texts[best]), len(case.texts[worst]))
    before = pairing.mean_lengths(list(lengths.values()))
    if recipe.length_tolerance is not None:
        rng = random.Random(f"{recipe.seed} lengths")
        keep = pairing.matched(list(lengths.values()), recipe.length_tolerance, rng)
        for place in [one for one, stays in zip(lengths, keep, strict=True) if not stays]:
            faults[place] = LENGTH
            del rows[place]
    after = pairing.mean_lengths([lengths[place] for place in rows])
    figures: Figures = {"lengths": {"before": before, "after": after}}
    figures["margin"] = sum(row.margin for row in rows.values()) / max(1, len(rows))
    if recipe.labeller == labelling.BY_MODEL:  # a function sees one response at a time: no place is the first
        figures["first_shown_advantage"] = sum(first_shown) / max(1, len(first_shown))
    return list(rows.values()), faults, figures


def _points(
    recipe: Recipe, cases: Sequence[Case], judged: Sequence[Judgements]
) -> tuple[list[Any], list[str], Figures]:
    """Return the labelled responses, each case's fault ("" = kept), and figures."""
    kept: list[Labelled] = []
    faults: list[str] = []
    for case, answers in zip(cases, judged, strict=True):
        read = [one[0] for one in answers if one is not None]
        faults.append("" if len(read) == len(answers) else UNJUDGED)
        if not faults[-1]:
            row, safe = case.row, sum(read) / len(read) > recipe.safe_above
            kept.append(Labelled(case.id, row.problem, case.wholes[0], safe, row.language, row.family, row.turns))
    return kept, faults, {"safe_share": sum(row.safe for row in kept) / max(1, len(kept))}


def _orders(recipe: Recipe, case: Case) -> list[bool]:
    """For each query of a case: whether its responses are shown in their order; one response has no other."""
    if len(case.texts) < 2:
        return [True] * recipe.queries
    return pairing.orders(recipe.queries, random.Random(f"{recipe.seed} orders {case.id}"))


def _contract(rollouts: Rollouts) -> Contract | None:
    """How the completions were asked for; None where that is not known: then in the house's tags."""
    return Contract.read(rollouts.path) if (rollouts.path / "contract.json").is_file() else None


def _check(recipe: Recipe) -> None:
    """Raise RecipeError for the first value that is out of its range."""
    kinds = ("safe_above",) if recipe.kind == "pairs" else ("min_margin", "pairs_per_prompt")
    unread = ranges.idle(recipe, f"for kind {recipe.kind}", *kinds)
    if recipe.labeller != "model":
        unread += ranges.idle(recipe, "without `labeller=model`", "temperature", "max_tokens", "dtype", "template")
    rules = ranges.at_least(recipe, 1, "queries", "max_tokens")
    rules += ranges.at_least(recipe, 0, "min_margin", "temperature", "seed")
    rules += ranges.or_none(ranges.at_least(recipe, 1, "pairs_per_prompt"))
    rules += ranges.or_none(ranges.above_zero(recipe, "length_tolerance"))
    rules += [ranges.Rule("safe_above", 1 <= recipe.safe_above < 10, "from 1 up to 10")]
    ranges.check(recipe, "prefer", rules, unread)

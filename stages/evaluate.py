"""A model and problems in; how often it is right, how long it thinks and how it writes out: r1 eval.

Every problem is asked `samples` times under each sampling and every completion is judged twice: *strict* (the
template's format holds and the text in the answer tags is right) and *any-format* (the last committed answer is right,
tags or not). pass@1 is the mean over samples, as DeepSeek-R1 reports it (2501.12948, section 3), pass@k is unbiased,
cons@n is the majority vote. General prompts have no right answer: they are judged by `rewards` (learned judges, or a
function of one's own). Language, readability and words of reflection are read off every completion. With `parent`
scores the gain is a paired difference, problem by problem.

The work is cut into shards (a sampling and a chunk of problems), written whole: a killed run finds them again and
repeats nothing. Each completion is seeded by its problem and its number.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.core import text
from stages.core.artifact import Artifact, Draft, Endpoint, Judge, Model, Prompts, Scores
from stages.core.contract import Contract
from stages.core.errors import RecipeError, StageError
from stages.core.judged import Judged
from stages.core.language import reflection, scripts
from stages.core.recipe.parts import RewardOptions, Sampled
from stages.core.recipe.ranges import at_least, check
from stages.core.rows import Prompt
from stages.core.run import shards
from stages.core.stats import scores
from stages.core.stats.scores import Row
from stages.core.storage import disk
from stages.rewards import accuracy, choice, mathematics, registry, scoring, steps
from stages.rewards.grading import Grader
from stages.rewards.registry import MEASURED

if TYPE_CHECKING:
    from stages.core.run.runner import Work
    from stages.core.sampling import Completion, Request
    from stages.policy.engines.client import Client
    from stages.rewards.scoring import Scorer

VERSION = 9
IN_PIECES = True
"""Its shards may be worked by a Ray cluster (`runtime.ray`)."""
CHUNK_ROWS = 512  # completions a shard: small enough to lose little, large enough to keep the batch full
_VOTE = 1000  # characters of an answer that is counted
STUTTER = 0.25  # share of repeated six-word runs from which thinking counts as repetition (ours; none was published)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """One way to draw completions."""

    temperature: float = 1.0
    """Divides the logits before sampling; > 0. R1 is evaluated at 0.6."""
    top_p: float = 1.0
    """Share of the probability that may be sampled, most likely tokens first; in (0, 1], 1 keeps all."""

    @property
    def name(self) -> str:
        """The name its figures and completions carry, such as `T0.6-p0.95`."""
        return scores.sampling_name(self.temperature, self.top_p)


@dataclass(frozen=True, kw_only=True)
class Recipe(Sampled, RewardOptions):
    samples: int = 16
    """Completions drawn for each problem under each sampling; >= 1."""
    samplings: list[Sampling] = field(
        default_factory=lambda: [Sampling(temperature=0.6, top_p=0.95), Sampling(temperature=1.0, top_p=1.0)]
    )
    """Ways to draw: the published one (0.6, 0.95) and the model's own distribution (1, 1) beside it."""
    pass_k: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16, 32, 64])
    """The k of pass@k; each >= 1. Those above `samples` are left out."""
    rewards: list[str] = field(default_factory=list)
    """More rewards to judge by: `helpful`, `safe` (with their judges as inputs), a registry name, or
    `package.module:function`; each is reported over the problems it applies to.
    """
    seed: int = 0
    """Seeds the samples and the resampling of the intervals; >= 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    model: Model | Endpoint
    """The model that is asked."""
    prompts: Prompts
    """The problems, with their gold answers."""
    parent: Scores | None = None
    """Scores of the model this one came from, on the same problems: gives the paired difference."""
    helpful: Judge | None = None
    """Learned judge behind the reward `helpful`."""
    safe: Judge | None = None
    """Learned judge behind the reward `safe`."""


def kind_of(_: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Scores


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Sample, judge and sum up; write completions.jsonl and scores.json under `work.path`.

    Raises InputError for a prompt that leaves no room to answer, RecipeError for a judge without its reward or a reward
    without its judge, StageError where the engine failed all.
    """
    from stages.policy.engines import spread
    from stages.policy.engines.clients import client_of
    from stages.policy.models.asking import contract_for

    registry.check_judges(recipe.rewards, inputs, "add it: rewards=[{name}]")
    rows = inputs.prompts.rows().chosen(recipe.problems)
    contract = contract_for(recipe, inputs.model, work.note)
    with client_of(inputs.model, contract, recipe.dtype, work) as client:
        asking = partial(Evaluator, recipe, inputs, client.room(client.surveyed(rows), recipe.max_tokens))
        evaluator = asking(client)
        sharded = shards.Sharded(
            folder=work.scratch / "shards",
            chunks=evaluator.chunks(rows),
            requests=evaluator.requests,
            rows=evaluator.rows,
            name=lambda _, chunk: f"{chunk.sampling.name}/{chunk.number:05d}",
        )
        given, sources = dict(vars(inputs)) | {"parent": None}, partial(identity, recipe)
        done: dict[str, dict[str, float]] = {one.name: defaultdict(float) for one in recipe.samplings}
        for _, own in spread.finished(sharded, client, asking, given, sources):
            _tell(evaluator, own, done, len(rows))
        bill = client.bill()
    answers: dict[str, list[Row]] = {one.name: [] for one in recipe.samplings}
    for row in sharded.in_order():
        answers[row["sampling"]].append(scores.without_text(row))
    lost = next((rows for rows in answers.values() if not scores.completed(rows)), None)
    if lost is not None:
        what = f"not one completion came under {lost[0]['sampling']}: {lost[0]['reason']}"
        shutil.rmtree(work.scratch / "shards")  # or the next run would find nothing but failures
        raise StageError(what, hint="`r1 doctor` says which engines can run here")
    shards.write_lines(work.path / scores.COMPLETIONS_FILE, sharded.in_order())
    before = scores.read_completions(inputs.parent.path, texts=()) if inputs.parent else None
    found = summary(recipe, rows, answers, before)
    found |= {"max_tokens": evaluator.max_tokens, "template": contract.template_name}
    found |= bill
    disk.write_atomically(work.path / scores.SCORES_FILE, json.dumps(found, ensure_ascii=False, indent=1))
    for part in found["samplings"]:
        if before is not None and part["difference"] is None:
            work.emit(
                "warning", text=f"the parent shares no problem with these scores under {part['name']}: no difference"
            )
    return Draft(Scores, {part["name"]: _headline(part, recipe) for part in found["samplings"]} | bill)


def summary(
    recipe: Recipe, rows: Sequence[Prompt], answers: Mapping[str, list[Row]], before: Mapping[str, list[Row]] | None
) -> dict[str, Any]:
    """Return scores.json without the sampler's facts: figures per sampling and family, and the problems that were
    asked.

    `answers` and `before` (the parent's, or None) hold judged completions by sampling name, without their texts.
    """
    return {
        "samples": recipe.samples,
        "pass_k": [k for k in recipe.pass_k if k <= recipe.samples],
        "problem_count": len(rows),
        "splits": sorted({row.split for row in rows} - {""}),
        "samplings": [_summed_up(recipe, sampling, answers[sampling.name], before) for sampling in recipe.samplings],
        "problems": {row.id: _shown(row) for row in rows},
    }


def identity(recipe: Recipe) -> dict[str, str]:
    """Return what the fingerprint cannot see in the recipe: the source of rewards from outside this project.

    Raises RecipeError for a reward that does not exist, before anything is spent.
    """
    return registry.outside_sources(recipe.rewards, recipe.reward_options)


def judged(one: Judged, contract: Contract) -> dict[str, Any]:
    """Return a completion's verdicts and what else is read off its text: the row of completions.jsonl without its
    numbers and extra rewards.

    A problem that a learned judge judges has no accuracy: strict, correct and answer are then None. So they are, and
    format, where the engine failed; the row says so.
    """
    completion, row, verdicts = one.text, one.prompt, one.verdicts
    ruled = scoring.applies("accuracy", row) and not one.failed
    strict = verdicts["strict"] if ruled else verdicts["format"] if one.failed else None
    thinks = bool(text.spans(contract.prefill + completion, contract.think_tags))
    return {
        "strict": (verdicts["strict"].value or 0.0) if ruled else None,
        "correct": verdicts["accuracy"].value if ruled else None,
        "format": None if one.failed else verdicts["format"].value or 0.0,
        "answer": ballot(completion, row, contract) if ruled else None,
        "reason": strict.reason if strict and strict.value != 1.0 else "",
        "mixed": scripts.mixes_languages(completion, contract.answer_tags),
        "wrong_step": steps.first_wrong_step(completion) if ruled else None,
        "reflective": reflection.reflective_words(completion),
        "language": verdicts["language"].value if thinks else None,
        "readable": not unreadable(completion, row, contract),
        **({"failed": True} if one.failed else {}),
    }


def unreadable(completion: str, row: Prompt, contract: Contract) -> str:
    """Return why a person would not want to read a completion; "" for a readable one.

    Readable: a summary of at least one whole sentence, one language in thinking and summary (where a learned judge
    judges the problem, only in the thinking: a translation has two), and no thinking that repeats itself.
    """
    tags = contract.think_tags
    whole = contract.prefill + completion
    summary, thought = text.summary(whole, tags, contract.answer_tags), text.thinking(whole, tags)
    if not summary or len(text.words(summary)) < 3 or summary[-1] not in ".!?。！？":
        return "no sentence in the summary"
    tongues = {_in_chinese(thought), _in_chinese(summary) if scoring.applies("accuracy", row) else None} - {None}
    if scripts.mixes_languages(thought, contract.answer_tags) or len(tongues) > 1:
        return "two languages"
    return "thinking in circles" if text.repetition(thought) >= STUTTER else ""


def _in_chinese(spoken: str) -> bool | None:
    """Return whether most words are Chinese; None for a text without words."""
    chinese, total = scripts.language_words(spoken, "zh") or (0, 0)
    return 2 * chinese > total if total else None


def ballot(completion: str, row: Prompt, contract: Contract) -> str | None:
    """Return the answer a completion votes for, spelled so that equal answers are equal; None: it commits to none.

    Programs vote by their text: running them would use the target, which a vote must not know.
    """
    found = text.last_committed(contract.prefill + completion, contract.think_tags, contract.answer_tags)
    answer = None if found.how == "none" else accuracy.committed(found, row)
    if answer is None or not answer.strip():
        return None
    answer = answer[:_VOTE]
    if row.verifier == "math" and (number := mathematics.spelled(answer)):
        return number
    if row.verifier == "choice":
        return choice.option(answer) or text.canonical(answer)
    return text.canonical(answer)


class Chunk(NamedTuple):
    """What one shard asks: some problems under one sampling."""

    sampling: Sampling
    number: int
    """Of the chunk under that sampling, from 0."""
    rows: Sequence[Prompt]


class Evaluator:
    """How one chunk of problems is asked, and how its completions become rows."""

    def __init__(self, recipe: Recipe, inputs: Inputs, max_tokens: int, client: Client) -> None:
        self.recipe, self.inputs, self.max_tokens = recipe, inputs, max_tokens
        self.client, self.work, self.contract = client, client.work, client.contract

    @cached_property
    def judges(self) -> Mapping[str, Scorer]:
        """The learned judges that were given, by reward name."""
        from stages.policy.judges import judge
        from stages.policy.models import device

        where = str(device.place(self.work.runtime))
        return judge.load_judges(self.inputs, where)

    def chunks(self, rows: Sequence[Prompt]) -> list[Chunk]:
        """Return the problems under each sampling in the order they are asked, cut so that a chunk makes about
        CHUNK_ROWS completions."""
        size = max(1, CHUNK_ROWS // self.recipe.samples)
        cut = [rows[start : start + size] for start in range(0, len(rows), size)]
        return [Chunk(one, number, own) for one in self.recipe.samplings for number, own in enumerate(cut)]

    def requests(self, chunk: Chunk) -> list[Request]:
        """Return the requests of one chunk, problem by problem."""
        from stages.core import sampling
        from stages.policy.engines.client import requests
        from stages.policy.seeding import derive

        wanted = sampling.Sampling(
            temperature=chunk.sampling.temperature, top_p=chunk.sampling.top_p, max_tokens=self.max_tokens
        )
        seed = derive(self.work.seed, "eval", chunk.sampling.name)
        return requests(chunk.rows, self.client.prompts(chunk.rows), self.recipe.samples, wanted, seed)

    def rows(self, chunk: Chunk, drawn: Sequence[Completion]) -> list[Row]:
        """Return the judged completions of one chunk, problem by problem."""
        recipe = self.recipe
        asked = [row for row in chunk.rows for _ in range(recipe.samples)]
        grader = Grader(
            contract=self.contract, rewards=recipe.rewards, options=recipe.reward_options, judges=self.judges
        )
        return [
            {
                "id": one.prompt.id,
                "family": one.prompt.family,
                "sampling": chunk.sampling.name,
                "sample": index % recipe.samples,
                "completion": one.text,
                **judged(one, self.contract),
                "tokens": one.completion.length,
                "truncated": one.completion.truncated,
                "rewards": one.row(recipe.rewards)["rewards"],
            }
            for index, one in enumerate(grader.grade(drawn, asked, self.client.tokenizer))
        ]


def _tell(evaluator: Evaluator, own: Sequence[Row], done: dict[str, dict[str, float]], problems: int) -> None:
    """Tell how far the work is; `done` holds the sums of each sampling over the shards that were told before."""
    recipe, sampling = evaluator.recipe, own[-1]["sampling"]
    sums = done[sampling]
    sums["rows"] += len(own)
    for row in scores.completed(own):
        sums["completed"] += 1
        sums["format"] += row["format"]
        sums["length"] += row["tokens"]
        if row["strict"] is not None:
            sums["ruled"] += 1
            sums["strict"] += row["strict"]
            sums["correct"] += row["correct"] or 0.0
    figures = {name: sums[name] / max(1, sums["completed"]) for name in ("format", "length")}
    figures["temperature"] = next(one.temperature for one in recipe.samplings if one.name == sampling)
    if sums["ruled"]:
        figures |= {"strict": sums["strict"] / sums["ruled"], "pass@1": sums["correct"] / sums["ruled"]}
    total = len(recipe.samplings) * problems * recipe.samples
    rows = int(sum(each["rows"] for each in done.values()))
    evaluator.work.emit("progress", done=rows, total=total, unit="completions", figures=figures)


def _summed_up(
    recipe: Recipe, sampling: Sampling, rows: list[Row], before: Mapping[str, list[Row]] | None
) -> dict[str, Any]:
    figures = asdict(sampling) | {"name": sampling.name} | scores.measure(rows, recipe.pass_k, recipe.seed)
    earlier = (before or {}).get(sampling.name, [])
    shared = {row["id"] for row in scores.completed(rows)} & {row["id"] for row in scores.completed(earlier)}
    return figures | {"difference": scores.compare(rows, earlier, recipe.pass_k, recipe.seed) if shared else None}


def _headline(part: dict[str, Any], recipe: Recipe) -> dict[str, float | None]:
    """Return the few figures that travel in the artifact's record."""
    wanted = ("strict_pass@1", "pass@1", f"cons@{recipe.samples}", "format", "length", "truncated", "mixed_language")
    figures = part["overall"]
    names = (*wanted, *scores.extra_metrics(figures))
    return {name: figures.get(name, {}).get("value") for name in names}  # no cons@n where the engine failed a sample


def _shown(row: Prompt) -> dict[str, Any]:
    return {"problem": row.problem, "answer": row.answer, "family": row.family, "split": row.split, "level": row.level}


def _check(recipe: Recipe) -> None:
    if not recipe.samplings:
        raise RecipeError("`samplings` is empty", hint="leave the key out for the published sampling")
    if len({sampling.name for sampling in recipe.samplings}) < len(recipe.samplings):
        raise RecipeError("two samplings are the same", hint="leave one of them out")
    for sampling in recipe.samplings:
        if sampling.temperature <= 0 or not 0 < sampling.top_p <= 1:
            raise RecipeError(
                f"a temperature is above 0 and a top_p in (0, 1], not {sampling.temperature:g} and {sampling.top_p:g}",
                hint="the published sampling is {temperature: 0.6, top_p: 0.95}",
            )
    check(recipe, "eval", at_least(recipe, 0, "seed"))
    measured = [name for name in recipe.rewards if name in MEASURED]
    if measured or len(set(recipe.rewards)) < len(recipe.rewards):
        what = f"`rewards` names {measured[0]}, which is always measured" if measured else "`rewards` names one twice"
        raise RecipeError(what, hint="leave it out")
    if any(k < 1 for k in recipe.pass_k):
        raise RecipeError("each k of `pass_k` must be 1 or more", hint="try pass_k=[1,4,16]")

"""A model and preferences in, a judge out: a reward model that scores responses to general prompts.

The judge is the model with one number in place of its words. From pairs it learns which of two summaries is the better
(helpful), from labelled responses which are safe; the first reads the final summary alone, the second reasoning too.
The defaults are the published ones (DeepSeek-R1, arXiv 2501.12948v2 §3.1): batch 256, 6e-6, one epoch, 8,192 tokens.
Prompts chosen by their hash are held out: on them the judge is measured, and its scores scaled to 0..1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from stages.core.artifact import Artifact, Draft, Judge, Model, Preferences
from stages.core.contract import Contract
from stages.core.errors import InputError, StageError
from stages.core.recipe import ranges
from stages.core.recipe.parts import JudgeTuning
from stages.core.rows import Labelled, Preference
from stages.core.run import shards
from stages.core.stats import ranking
from stages.core.stats.ranking import RankedPair, RankedPoint
from stages.core.templates import Asked

if TYPE_CHECKING:
    from stages.core.run.preflight import Foreseen
    from stages.core.run.runner import Work
    from stages.policy.judges.judge import JudgeConfig, JudgeScorer
    from stages.policy.judges.judge_training import Example

VERSION = 5
HELDOUT_FILE = "heldout.jsonl"
"""Each held-out row with the judge's raw scores and the lengths of what it read."""


@dataclass(frozen=True, kw_only=True)
class Recipe(JudgeTuning, Asked):
    template: str = ""
    """Prompt before what the judge reads: `r1_zero`, `plain`, `chat` (the chat template of the model's tokenizer), a
    text with {prompt}, a chat template's jinja, or a file that holds one of these; empty = the model's own, or `plain`
    when it has none.
    """
    epochs: int = 1
    batch_size: int = 256
    """Pairs or responses an optimizer step is made of, 1 or more; only the last may be smaller."""
    learning_rate: float = 6e-6
    max_tokens: int | None = 8192
    """Longest text in tokens, prompt and end token included, 1 or more; rows with a longer one are left out. None, or
    more than the model has = the model's positions.
    """
    heldout_share: float = 0.1
    """Share of the prompts that is not trained on but measured with, in (0, 1)."""
    seed: int = 0
    """Decides the head's first weights and the order of the rows, 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    model: Model
    """What the judge starts from; it keeps this architecture and tokenizer."""
    preferences: Preferences
    """Pairs make a helpful judge, labelled responses a safe one."""


def kind_of(_: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Judge


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Train the judge, measure it on held-out prompts, and write it with judge.json and heldout.jsonl.

    Resumes from the checkpoints in `work.scratch`; on a CPU the weights are then those of an uninterrupted run, bit for
    bit. Raises InputError when no row fits or one side of the split is empty, StageError when its scores are no
    numbers.
    """
    from stages.policy.judges import judge, judge_training
    from stages.policy.models import adapters, device, folders
    from stages.policy.models.weights import Policy

    where = device.place(work.runtime)
    work.emit("device", device=device.described(where))
    contract = judge_contract(recipe, inputs.model, work.note)
    rows = read_preferences(inputs.preferences)
    pairwise = isinstance(rows[0], Preference)
    judge_config = judge.JudgeConfig(
        kind="pairwise" if pairwise else "pointwise",
        sees="summary" if pairwise else "response",
        template=contract.template,
        max_tokens=min(recipe.max_tokens or contract.max_positions, contract.max_positions),
        dtype=recipe.dtype,
    )
    tokenizer = folders.load_tokenizer(inputs.model.path)
    module = judge.load_scalar_model(inputs.model.path, device=where, seed=work.seed)
    trained = adapters.adapted(
        Policy(module, tokenizer, contract),
        recipe.adapter,
        seed=work.seed,
        tell=work.note,
        again=lambda: judge.load_scalar_model(inputs.model.path, device=where, seed=work.seed),
        heads=("score",),
    )
    dropped: Counter[str] = Counter()
    learned, held = _split(recipe, rows, judge.JudgeScorer(module, tokenizer, contract, judge_config), dropped)
    _tell(work, rows, learned, held, dropped)
    examples = [example for _, example in learned]
    figures = judge_training.train(trained, examples, recipe, work=work)
    figures |= trained.save(work.path, recipe.dtype)
    judge_config.write(work.path)
    # Read back, so that what is measured and scaled is what will be asked.
    scored = judge.load_judge(work.path, where)
    raw = judge.raw_scores(scored.model, [ids for _, example in held for ids in example.texts], contract.pad_id)
    judge_config = _scaled(judge_config, raw, work)
    judge_config.write(work.path)
    measured = _measured([row for row, _ in held], raw, scored, work)
    return Draft(
        Judge,
        {
            "kind": judge_config.kind,
            "sees": judge_config.sees,
            "rows": len(rows),
            "train_rows": len(learned),
            "dropped": dict(dropped),
            **figures,
            "heldout": measured,
            "mean": judge_config.mean,
            "std": judge_config.std,
        },
    )


def refuse_processes(recipe: Recipe, processes: int) -> None:
    """Rows go round for any number of processes; raises nothing."""


def foresee(recipe: Recipe, inputs: Mapping[str, Foreseen]) -> list[str]:
    """Refuse a model that cannot become a judge before anything is built; its config is enough to tell."""
    folder = inputs["model"].folder
    if folder is None:
        return [f"whether `{inputs['model'].text}` can become a judge shows when it is there"]
    from stages.policy.models import families, reading

    can = families.abilities(reading.read_config(folder))["judge"]
    if can.startswith("no"):
        what = f"`{inputs['model'].text}` cannot become a judge ({can.removeprefix('no: ')})"
        raise InputError(what, hint="start the judge from a Llama or Qwen model: `inputs.model=NAME`")
    return []


def judge_contract(recipe: Recipe, model: Model, tell: Callable[[str], None] | None = None) -> Contract:
    """Return the model's contract with the template the judge is asked under; nothing is prefilled."""
    from stages.policy.models.asking import contract_for

    bare = not recipe.template and not model.contract.template
    contract = contract_for(replace(recipe, template="plain") if bare else recipe, model, tell)
    if contract.syntax == "text":
        contract = replace(contract, prefill="")
    contract.check(needs_tags=False)
    return contract


def read_preferences(preferences: Preferences) -> Sequence[Preference] | Sequence[Labelled]:
    """Return all rows, of the kind the first line is; raises InputError for a row of another kind."""
    with (preferences.path / "preferences.jsonl").open(encoding="utf-8") as lines:
        first = next((line for line in lines if line.strip()), "")
    try:
        labelled = "safe" in json.loads(first)
    except (ValueError, TypeError):
        labelled = False  # reading the rows says what is wrong with it
    return preferences.points() if labelled else preferences.pairs()


def _split(
    recipe: Recipe, rows: Sequence[Preference | Labelled], reader: JudgeScorer, dropped: Counter[str]
) -> tuple[list[tuple[Any, Example]], list[tuple[Any, Example]]]:
    """Return (row, example) for training and held out; rows that cannot be read are dropped and counted, never cut."""
    from stages.policy.judges.judge_training import Example

    sides: tuple[list[tuple[Any, Example]], list[tuple[Any, Example]]] = ([], [])
    for row in rows:
        texts = [reader.ids(row.problem, response, row.turns) for response in _responses(row, reader.contract)]
        fault = next((text for text in texts if isinstance(text, str)), None)
        if fault is not None:
            dropped[fault] += 1
            continue
        label = float(row.safe) if isinstance(row, Labelled) else 1.0
        example = Example(tuple(text for text in texts if not isinstance(text, str)), label)
        sides[ranking.is_held_out(row.problem, recipe.heldout_share)].append((row, example))
    for side, name in zip(sides, ("left to train on", "held out"), strict=True):
        if not side:
            reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
            hint = "give more prompts, or another heldout_share" + (f"; dropped: {reasons}" if reasons else "")
            raise InputError(f"of {len(rows)} rows none is {name}", hint=hint)
    return sides


def _responses(row: Preference | Labelled, contract: Contract) -> tuple[str, ...]:
    """Return what the judge is asked about: a labelled response, or both of a pair, each with its summary marked."""
    from stages.policy.judges import judge

    if isinstance(row, Labelled):
        return (row.response,)
    return tuple(judge.with_summary(response, contract) for response in (row.chosen, row.rejected))


def _tell(work: Work, rows: Sequence[Any], learned: Sequence[Any], held: Sequence[Any], dropped: Counter[str]) -> None:
    """Say what became of the rows, and warn when many were left out."""
    work.emit("note", text=f"of {len(rows)} rows {len(learned)} are trained on and {len(held)} held out")
    if dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        work.emit("warning", text=f"{sum(dropped.values())} of {len(rows)} rows are left out: {reasons}")


def _scaled(judge_config: JudgeConfig, raw: Sequence[float], work: Work) -> JudgeConfig:
    """Return the judge's nature with mean and deviation of its held-out scores."""
    try:
        mean, std = ranking.spread(raw)
    except ValueError as error:
        hint = "lower the learning rate: `recipe.learning_rate=…`"
        raise StageError("the judge's scores are not numbers", hint=hint) from error
    if not std:
        work.emit("warning", text="the judge says the same of every held-out response: it has learned nothing")
    return replace(judge_config, mean=mean, std=std or 1.0)


def _measured(
    rows: Sequence[Preference | Labelled], raw: Sequence[float], scorer: JudgeScorer, work: Work
) -> dict[str, Any]:
    """Write heldout.jsonl and return the held-out figures."""
    from stages.policy.judges import judge

    def length(response: str) -> int:
        return len(judge.seen(response, scorer.judge_config.sees, scorer.contract) or "")

    if isinstance(rows[0], Labelled):
        points = [
            RankedPoint(row.id, row.problem, score, row.safe, length(row.response))
            for row, score in zip(rows, raw, strict=True)
            if isinstance(row, Labelled)
        ]
        shards.write_lines(work.path / HELDOUT_FILE, map(asdict, points))
        return ranking.point_figures(points, work.seed)
    pairs = [
        RankedPair(row.id, row.problem, (chosen, rejected), (length(better), length(worse)))
        for row, chosen, rejected in zip(rows, raw[::2], raw[1::2], strict=True)
        if isinstance(row, Preference)
        for better, worse in [_responses(row, scorer.contract)]
    ]
    shards.write_lines(work.path / HELDOUT_FILE, map(asdict, pairs))
    return ranking.pair_figures(pairs, work.seed)


def _check(recipe: Recipe) -> None:
    """Raise RecipeError for the first value that is out of its range."""
    rules = [*ranges.at_least(recipe, 0, "seed"), *ranges.or_none(ranges.at_least(recipe, 1, "max_tokens"))]
    whole = "true: a judge is sealed whole, its own head beside the weights that were adapted"
    rules += [ranges.Rule("adapter.merge", recipe.adapter.merge, whole, hint="leave `adapter.merge` out")]
    rules += [ranges.Rule("heldout_share", 0 < recipe.heldout_share < 1, "between 0 and 1")]
    ranges.check(recipe, "reward-model", rules)

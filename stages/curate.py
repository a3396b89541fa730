"""Judged completions in, responses worth imitating out: rejection sampling, rewriting and mixing.

DeepSeek-R1 made its supervised data this way twice (arXiv 2501.12948v2, B.3.2 and B.3.3): right answers are kept, by
rule or by a generative judge; what is hard to read is dropped; chains become reasoning and summary; and 600,000 of
them are mixed with 200,000 general responses. Every completion that is left out is counted under the first reason that
did it, in yield.json, so the kept and the discarded add up to all.

Completions are gone through in stretches of whole prompts, of which one is held at a time; what is kept and what is
left out lies on disk. Where no model is asked, stretches are worked on all cores. The judge and the rewriter work in
shards that a kill leaves whole; all else is computed again. Everything is decided by the inputs and the seed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.core.artifact import Artifact, Conversations, Draft, Endpoint, Model, Prompts, Rollouts
from stages.core.data import contamination, mixing, rewriting, yields
from stages.core.data.contamination import Grams
from stages.core.data.curated import Curated
from stages.core.errors import InputError, RecipeError
from stages.core.language import readable
from stages.core.recipe import ranges
from stages.core.recipe.generation import GenerationSettings
from stages.core.rowfile import RowFile
from stages.core.rows import Conversation, in_words, line_of
from stages.core.run import beside, many, shards
from stages.core.storage import disk
from stages.rewards import generative, rejection
from stages.rewards.rejection import Candidate, Limits, Stretch

if TYPE_CHECKING:
    from stages.core.run.events import Listener
    from stages.core.run.runner import Work
    from stages.policy.engines.worker import Asker, Reply

VERSION = 8
IN_PIECES = True
"""Its stretches, or a model's shards, may be worked by a Ray cluster (`runtime.ray`)."""
STRETCH = 2000
"""Completions of a stretch where no model is asked."""
ASKED, ASKED_BYTES = 20_000, 64 * 2**20
"""A stretch for a model holds so many completions, and more until they fill so many bytes. `ASKED` must stay, since a
reply's seed depends on the stretch."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    max_paragraph: int | None = 2000
    """Characters of the longest paragraph (a line) that reasoning may have; >= 1. None: any. R1's limit was not
    published.
    """
    max_repetition: float = 0.2
    """Share of the reasoning's word n-grams that may have occurred before in it, 0 to 1; 1 = any. Unpublished."""
    repetition_ngram: int = 6
    """Words of those n-grams; >= 1."""
    mixed_languages: bool = False
    """Keep reasoning that mixes English and Chinese."""
    other_language: bool = False
    """Keep reasoning in another language than its prompt. A model that rewrites translates it first."""
    code_blocks: bool = False
    """Keep reasoning that holds fenced code blocks."""
    keep_per_prompt: int = 0
    """Completions of a prompt that are kept, the first drawn; 0 = all."""
    judge_all: bool = False
    """Ask the judge about completions that a rule holds right, too; else only about those no rule can judge."""
    judge_manner: GenerationSettings = field(default_factory=GenerationSettings)
    """How the generative judge is asked."""
    rewriter: Literal["none", "rules", "model"] = "rules"
    """`rules` tidies the reasoning and writes the summary sentence; `model` asks the input `rewriter` to translate the
    reasoning into the prompt's language and to write the summary, as R1 did; `none` leaves both as they were.
    """
    rewriter_manner: GenerationSettings = field(default_factory=GenerationSettings)
    """How the rewriter is asked."""
    general_share: float = 0.25
    """Share of general rows among them and the kept completions, in [0, 1); R1's 200,000 of 800,000. 0 = none."""
    no_reasoning_families: list[str] = field(default_factory=lambda: ["hello"])
    """Families of the simplest prompts, whose rows lose their reasoning: R1 gave "hello" none."""
    ngram: int = 10
    """Words (CJK: characters) that a problem may not share in a row with `against`; >= 2. R1 used 10."""
    seed: int = 0
    """Decides which general rows are drawn, the order, and the workers' chance; >= 0."""

    def __post_init__(self) -> None:
        manner = () if self.rewriter == "model" else ("rewriter_manner",)
        rules = [*ranges.at_least(self, 1, "max_paragraph", "repetition_ngram"), *ranges.at_least(self, 2, "ngram")]
        rules += ranges.at_least(self, 0, "keep_per_prompt", "seed")
        rules += [ranges.Rule("max_repetition", 0 <= self.max_repetition <= 1, "in [0, 1]")]
        rules += [ranges.Rule("general_share", 0 <= self.general_share < 1, "in [0, 1)")]
        ranges.check(self, "curate", rules, ranges.idle(self, "without `rewriter=model`", *manner))


@dataclass(frozen=True, kw_only=True)
class Inputs:
    rollouts: Rollouts
    """The completions to choose from."""
    general: Conversations | None = None
    """General responses, mixed in by `general_share`."""
    extra: Conversations | None = None
    """Responses added whole, such as hand-written seeds."""
    against: Prompts | None = None
    """Evaluation prompts: rows whose problem shares an n-gram with one are left out."""
    judge: Model | Endpoint | None = None
    """The generative judge: is asked where no rule can compare an answer with the reference."""
    rewriter: Model | Endpoint | None = None
    """The model that `rewriter: model` asks."""


def kind_of(_: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Conversations


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Choose, rewrite and mix; write conversations.jsonl, yield.json and discarded.jsonl under `work.path`.

    Raises RecipeError when `rewriter: model` lacks its input, InputError when nothing is kept.
    """
    if (recipe.rewriter == "model") != (inputs.rewriter is not None):
        what = "`rewriter` is model exactly when the input `rewriter` is given"
        raise RecipeError(what, hint="add inputs.rewriter=ADDRESS, or set `rewriter=rules`")
    models = inputs.judge is not None or inputs.rewriter is not None
    asked = inputs.rollouts.samples()
    wanted = (ASKED, ASKED_BYTES) if models else (STRETCH, 0)
    stretches = rejection.stretches(inputs.rollouts.prompts(), asked, *wanted, where=inputs.rollouts.address)
    against = (row["problem"] for row in inputs.against.rows().plain()) if inputs.against else ()
    grams = contamination.grams_of(against, recipe.ngram, work.scratch / "grams.npy")
    desk = RejectionPipeline(recipe, inputs, grams, work)
    if work.runtime.ray and not models:
        curated = _elsewhere(recipe, inputs, grams, list(stretches), work)
    else:
        count = 1 if models else beside.processes(work.runtime, len(asked), ASKED)
        own = desk if count == 1 else None
        curated = beside.in_order(partial(_alone, recipe, inputs, grams, own), stretches, count)
    with desk:
        tally, rows, left = _gathered(curated, len(asked), work)
    found = yields.counted(tally.faults.elements(), rejection.REASONS)
    if not found["kept"]:
        worst = max(found["discards"], key=lambda reason: found["discards"][reason])
        raise InputError(
            f"none of {found['samples']} completions is kept; most often: {worst}",
            hint="sample a better model, or more often, or loosen the recipe: `r1 recipes keys curate`",
        )
    found |= {"prompts": tally.prompts, "sources": _mixed(recipe, inputs, rows, tally, grams, work)}
    found |= {"prompts_kept": tally.prompts_kept}
    disk.write_atomically(work.path / yields.YIELD_FILE, json.dumps(found, ensure_ascii=False, indent=1))
    os.replace(left, work.path / "discarded.jsonl")
    return Draft(Conversations, {**tally.figures(found), **desk.costs()})


def _alone(
    recipe: Recipe, inputs: Inputs, grams: Grams, desk: RejectionPipeline | None
) -> Callable[[Stretch], Curated]:
    """Return what a process does with a stretch; without a desk of this one's it makes its own, which asks no model."""
    return (desk or RejectionPipeline(recipe, inputs, grams, None)).curated


def _row(recipe: Recipe, inputs: Inputs, grams: Grams, _: Listener) -> Callable[[Stretch], list[shards.Row]]:
    """Return what a worker of a Ray cluster does with a stretch: a shard of one row."""
    curated = _alone(recipe, inputs, grams, None)
    return lambda stretch: [curated(stretch).row()]


def _elsewhere(
    recipe: Recipe, inputs: Inputs, grams: Grams, stretches: Sequence[Stretch], work: Work
) -> Iterator[Curated]:
    """Yield what became of stretches that a Ray cluster works: each is a shard, and a kill repeats none that came."""
    make = partial(_row, recipe, Inputs(rollouts=inputs.rollouts), grams)
    given = {"rollouts": inputs.rollouts}
    job: many.Job[Stretch, list[shards.Row]] = many.Job(make=make, inputs=given, asks_model=False)
    sharded, log = shards.Sharded(folder=work.scratch / "shards", chunks=stretches), work.scratch / "ray.log"
    done = sharded.landed(lambda missing: many.results(job, missing, work.runtime, work.events.tell, log))
    yield from (Curated.of(row) for rows in sharded.in_turn(done) for row in rows)


def _gathered(curated: Iterator[Curated], total: int, work: Work) -> tuple[Curated, Path, Path]:
    """Return the sums over all stretches, the file of what they kept, and that of what they left."""
    kept, left = work.scratch / "kept.jsonl", work.scratch / "discarded.jsonl"
    faults, kinds = Counter[tuple[str, str]](), Counter[tuple[str, str, bool]]()
    prompts = prompts_kept = 0
    with kept.open("wb") as good, left.open("wb") as bad:
        for one in curated:
            good.write(one.kept)
            bad.write(one.left)
            faults.update(one.faults)
            kinds.update(one.kinds)
            prompts, prompts_kept = prompts + one.prompts, prompts_kept + one.prompts_kept
            work.emit("progress", done=faults.total(), total=total, unit="completions")
    return Curated(b"", b"", faults, kinds, prompts, prompts_kept), kept, left


class RejectionPipeline:
    """Where candidates lie while they are sifted, judged and rewritten; each step gives all of them back in order.
    Models that it asks are closed when it is left as a context."""

    def __init__(self, recipe: Recipe, inputs: Inputs, grams: Grams, work: Work | None) -> None:
        """`work` is needed where a model is asked."""
        self.recipe, self.inputs, self.grams, self.work = recipe, inputs, grams, work
        self.contract = inputs.rollouts.contract
        self.limits = Limits(
            max_paragraph=recipe.max_paragraph,
            max_repetition=recipe.max_repetition,
            repetition_ngram=recipe.repetition_ngram,
            mixed_languages=recipe.mixed_languages,
            other_language=recipe.other_language,
            code_blocks=recipe.code_blocks,
        )
        self.source = inputs.rollouts.record.inputs.get("model", inputs.rollouts.address)
        self.flops, self._stretches = 0.0, 0
        self.bills: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> RejectionPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        if "_asker" in self.__dict__:
            self._asker.__exit__()

    @cached_property
    def _asker(self) -> Asker:
        """What asks its models."""
        from stages.policy.engines.worker import Asker

        assert self.work is not None
        return Asker(self.work)

    def curated(self, stretch: Stretch) -> Curated:
        """Return what is kept of a stretch, and why the rest is not."""
        self._stretches += 1
        chosen = self.rewritten(self.capped(self.judged(self.sifted(stretch))))
        kept, left, kinds = [], [], Counter[tuple[str, str, bool]]()
        for one in chosen:
            if one.fault:
                left.append({"id": one.row.id, "sample": one.sample, "reason": one.fault})
                continue
            row = mixing.without_reasoning(_conversation(one, self.source), self.recipe.no_reasoning_families)
            kinds[row.family, row.language, bool(row.reasoning)] += 1
            kept.append(line_of(row))
        return Curated(
            kept="".join(kept).encode(),
            left="".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in left).encode(),
            faults=Counter((one.row.family, one.fault) for one in chosen),
            kinds=kinds,
            prompts=len({one.row.id for one in chosen}),
            prompts_kept=len({one.row.id for one in chosen if not one.fault}),
        )

    def sifted(self, stretch: Stretch) -> list[Candidate]:
        """Return every completion with the first fault that needs no model to be seen, duplicates included."""
        rows = {row.id: row for row in stretch.prompts}
        dirty = {row.id for row in rows.values() if self.grams.shared(row.problem)}
        # A rewriter that is a model translates: what it is given may be in another language.
        first = self.limits.translated() if self.recipe.rewriter == "model" else self.limits
        judges = self.inputs.judge is not None
        sifted: list[Candidate] = []
        for sample in stretch.samples:
            one = rejection.candidate(rows[sample.id], sample, self.contract)
            fault = rejection.first_fault(one, self.contract, first, judged=judges, contaminated=one.row.id in dirty)
            sifted.append(one.faulted(fault))
        return rejection.without_duplicates(sifted)

    def judged(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates, those that the generative judge finds wrong, or speaks of unreadably, faulted."""
        if self.inputs.judge is None:
            return list(candidates)
        places = [
            place
            for place, one in enumerate(candidates)
            if not one.fault and (one.right is None or self.recipe.judge_all)
        ]
        tasks = [generative.task(candidates[place].row, candidates[place].answer) for place in places]
        replies = self._asked(self.inputs.judge, tasks, self.recipe.judge_manner, "judge")
        after = list(candidates)
        for place, reply in zip(places, replies, strict=True):
            value = generative.verdict(reply.text).value
            fault = rejection.UNREADABLE_JUDGE if value is None else "" if value == 1.0 else rejection.JUDGED_WRONG
            after[place] = after[place].faulted(fault)
        return after

    def capped(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates, those beyond `keep_per_prompt` faulted."""
        cap, kept, after = self.recipe.keep_per_prompt, Counter[str](), []
        for one in candidates:
            over = not one.fault and cap > 0 and kept[one.row.id] >= cap
            kept[one.row.id] += not one.fault
            after.append(one.faulted(rejection.OVER_CAP) if over else one)
        return after

    def rewritten(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates with their final reasoning and summary; a rewrite that fails the filters, or whose
        answer the rule no longer accepts, is a fault."""
        if self.recipe.rewriter == "none":
            return list(candidates)
        if self.inputs.rewriter is not None:
            after = self._by_model(self.inputs.rewriter, candidates)
        else:
            after = [one if one.fault else rejection.by_rules(one) for one in candidates]
        return [rejection.checked(one, self.contract, self.limits) for one in after]

    def _by_model(self, model: Model | Endpoint, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Have reasoning in another language than its prompt translated, then every summary written."""
        after = list(candidates)
        foreign = [place for place, one in enumerate(after) if not readable.speaks(one.reasoning, one.row.language)]
        for places, task, part in (
            (foreign, rewriting.translation_task, "reasoning"),
            (range(len(after)), rewriting.summary_task, "answer"),
        ):
            good = [place for place in places if not after[place].fault]
            tasks = [task(in_words(one.row), one.reasoning, one.row.language) for one in (after[p] for p in good)]
            replies = self._asked(model, tasks, self.recipe.rewriter_manner, f"rewriter-{part}")
            for place, reply in zip(good, replies, strict=True):
                after[place] = after[place].with_part(part, reply.text)
        return after

    def costs(self) -> dict[str, Any]:
        """Return what its models cost, as figures: operations of those that are here, the others' bills."""
        bills = {"endpoints": list(self.bills.values())} if self.bills else {}
        return {"flops": {"sampling": self.flops}, **bills}

    def _asked(
        self, model: Model | Endpoint, tasks: Sequence[str], generation: GenerationSettings, name: str
    ) -> list[Reply]:
        name += f"-{self._stretches}" if self._stretches > 1 else ""
        answers = self._asker.ask(model, tasks, generation, name=name)
        self.flops += answers.costs.get("flops", {}).get("sampling", 0.0)
        bill = answers.costs.get("endpoint")
        if bill:
            self.bills[bill["address"]] = bill  # of one endpoint the last holds those before it
        return answers.replies


def _conversation(one: Candidate, source: str) -> Conversation:
    return Conversation(
        id=f"{one.row.id}-{one.sample}",
        problem=one.row.problem,
        reasoning=one.reasoning,
        summary=one.answer,
        language=one.row.language,
        family=one.row.family,
        source=source,
        turns=one.row.turns,
    )


def _mixed(recipe: Recipe, inputs: Inputs, made: Path, tally: Curated, grams: Grams, work: Work) -> dict[str, int]:
    """Write all rows in their final order; return how many came from where, `rollouts`, `general`, `extra`, and what
    was `general_missing` and `contaminated`. `made` holds what the stretches kept; the others are put behind them and
    told to the tally."""
    kept = tally.kinds.total()
    wanted = mixing.general_wanted(kept, recipe.general_share)
    general, dirty = _clean(inputs.general, grams)
    extra, dirty_extra = _clean(inputs.extra, grams)
    if general is not None:
        general = general.picked(mixing.drawn(len(general), wanted, recipe.seed))
    counts = {"rollouts": kept, "general": len(general or ()), "extra": len(extra or ())}
    missing = wanted - counts["general"]
    if missing:
        text = f"{counts['general']} general rows of the {wanted} wanted for a share of {recipe.general_share:g}"
        work.emit("warning", text=text + ("" if inputs.general else ": the input `general` is not given"))
    with made.open("a", encoding="utf-8") as out:
        for given in (general, extra):
            for row in given or ():
                row = mixing.without_reasoning(row, recipe.no_reasoning_families)
                tally.kinds[row.family, row.language, bool(row.reasoning)] += 1
                out.write(line_of(row))
    rows = RowFile[Conversation](made, Conversation)
    order, named = mixing.shuffled(rows.ids(), recipe.seed)
    with (work.path / "conversations.jsonl").open("wb") as final:
        for place in order:
            final.write(line_of(replace(rows[place], id=named[place])).encode() if place in named else rows.line(place))
    return {**counts, "general_missing": missing, "contaminated": dirty + dirty_extra}


def _clean(given: Conversations | None, grams: Grams) -> tuple[RowFile[Conversation] | None, int]:
    """Return the rows that share nothing with the evaluation prompts, and how many do."""
    if given is None:
        return None, 0
    rows = given.rows()
    if grams.file is None:
        return rows, 0
    clean = [place for place, row in enumerate(rows.plain()) if not grams.shared(row["problem"])]
    return rows.picked(clean), len(rows) - len(clean)

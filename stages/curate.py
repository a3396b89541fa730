"""Judged completions in, responses worth imitating out: rejection sampling, rewriting and mixing.

DeepSeek-R1 made its supervised data this way twice (arXiv 2501.12948v2, B.3.2 and B.3.3): right answers are kept, by
rule or by a generative judge; what is hard to read is dropped; chains become reasoning and summary; and 600,000 of
them are mixed with 200,000 general responses. Every completion that is left out is counted under the first reason that
did it, in yield.json, so the kept and the discarded add up to all.

The judge and the rewriter work in shards that a kill leaves whole; all else is computed again. Everything is decided by
the inputs and the seed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stages.core.artifact import Artifact, Conversations, Draft, Endpoint, Model, Prompts, Rollouts
from stages.core.data import contamination, mixing, rewriting, yields
from stages.core.errors import InputError, RecipeError
from stages.core.language import readable
from stages.core.recipe import ranges
from stages.core.recipe.generation import GenerationSettings
from stages.core.rows import Conversation, in_words, write_rows
from stages.core.run import shards
from stages.core.storage import disk
from stages.rewards import generative, rejection
from stages.rewards.rejection import Candidate, Limits

if TYPE_CHECKING:
    from stages.core.run.runner import Work
    from stages.policy.engines.worker import Reply

VERSION = 7
TOLD_EVERY = 2000  # completions sifted between two words about it


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
    evaluated = inputs.against.rows() if inputs.against else []
    grams = contamination.grams_of((prompt.problem for prompt in evaluated), recipe.ngram)
    desk = RejectionPipeline(recipe, inputs, work)
    chosen = desk.rewritten(desk.capped(desk.judged(desk.sifted(grams))))
    kept = [_conversation(one, inputs.rollouts) for one in chosen if not one.fault]
    mixed, sources = _mixed(recipe, inputs, kept, grams, work)
    found = yields.counted(((one.row.family, one.fault) for one in chosen), rejection.REASONS)
    found |= {"prompts": len({one.row.id for one in chosen}), "sources": sources}
    found |= {"prompts_kept": len({one.row.id for one in chosen if not one.fault})}
    if not kept:
        worst = max(found["discards"], key=lambda reason: found["discards"][reason])
        raise InputError(
            f"none of {found['samples']} completions is kept; most often: {worst}",
            hint="sample a better model, or more often, or loosen the recipe: `r1 recipes keys curate`",
        )
    write_rows(work.path / "conversations.jsonl", mixed)
    disk.write_atomically(work.path / yields.YIELD_FILE, json.dumps(found, ensure_ascii=False, indent=1))
    left = ({"id": one.row.id, "sample": one.sample, "reason": one.fault} for one in chosen if one.fault)
    shards.write_lines(work.path / "discarded.jsonl", left)
    return Draft(Conversations, {**_figures(found, mixed), **desk.costs()})


class RejectionPipeline:
    """Where candidates lie while they are sifted, judged and rewritten; each step gives all of them back in order."""

    def __init__(self, recipe: Recipe, inputs: Inputs, work: Work) -> None:
        self.recipe, self.inputs, self.work = recipe, inputs, work
        self.contract = inputs.rollouts.contract
        self.limits = Limits(
            max_paragraph=recipe.max_paragraph,
            max_repetition=recipe.max_repetition,
            repetition_ngram=recipe.repetition_ngram,
            mixed_languages=recipe.mixed_languages,
            other_language=recipe.other_language,
            code_blocks=recipe.code_blocks,
        )
        self.flops = 0.0
        self.bills: dict[str, dict[str, Any]] = {}

    def sifted(self, grams: contamination.Grams) -> list[Candidate]:
        """Return every completion with the first fault that needs no model to be seen, duplicates included."""
        rows = {row.id: row for row in self.inputs.rollouts.prompts()}
        dirty = {row.id for row in rows.values() if contamination.shared_gram(row.problem, grams, self.recipe.ngram)}
        samples = self.inputs.rollouts.samples()
        strange = next((one.id for one in samples if one.id not in rows), None)
        if strange is not None:
            what = f"a sample answers the prompt `{strange}`, which prompts.jsonl does not hold"
            raise InputError(what, where=self.inputs.rollouts.address, hint="sample again: `r1 sample`")
        read = [rejection.candidate(rows[one.id], one, self.contract) for one in samples]
        # A rewriter that is a model translates: what it is given may be in another language.
        first = self.limits.translated() if self.recipe.rewriter == "model" else self.limits
        judges = self.inputs.judge is not None
        sifted: list[Candidate] = []
        for one in read:
            fault = rejection.first_fault(one, self.contract, first, judged=judges, contaminated=one.row.id in dirty)
            sifted.append(one.faulted(fault))
            if len(sifted) % TOLD_EVERY == 0 or len(sifted) == len(read):
                self.work.emit("progress", done=len(sifted), total=len(read), unit="completions")
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
        from stages.policy.engines import worker

        answers = worker.ask(model, tasks, generation, self.work, name=name)
        self.flops += answers.costs.get("flops", {}).get("sampling", 0.0)
        bill = answers.costs.get("endpoint")
        if bill:
            self.bills[bill["address"]] = bill  # of one endpoint the last holds those before it
        return answers.replies


def _conversation(one: Candidate, rollouts: Rollouts) -> Conversation:
    return Conversation(
        id=f"{one.row.id}-{one.sample}",
        problem=one.row.problem,
        reasoning=one.reasoning,
        summary=one.answer,
        language=one.row.language,
        family=one.row.family,
        source=rollouts.record.inputs.get("model", rollouts.address),
        turns=one.row.turns,
    )


def _mixed(
    recipe: Recipe, inputs: Inputs, kept: Sequence[Conversation], grams: contamination.Grams, work: Work
) -> tuple[list[Conversation], dict[str, int]]:
    """Return all rows in their final order, and how many came from where: `rollouts`, `general`, `extra`, and what was
    `general_missing` and `contaminated`."""
    wanted = mixing.general_wanted(len(kept), recipe.general_share)
    others: dict[str, list[Conversation]] = {}
    contaminated = 0
    for name, given in (("general", inputs.general), ("extra", inputs.extra)):
        rows = given.rows() if given else []
        clean = [row for row in rows if not contamination.shared_gram(row.problem, grams, recipe.ngram)]
        contaminated += len(rows) - len(clean)
        others[name] = clean
    general = mixing.drawn(others["general"], wanted, recipe.seed)
    missing = wanted - len(general)
    if missing:
        text = f"{len(general)} general rows of the {wanted} wanted for a share of {recipe.general_share:g}"
        work.emit("warning", text=text + ("" if inputs.general else ": the input `general` is not given"))
    rows = mixing.without_reasoning([*kept, *general, *others["extra"]], recipe.no_reasoning_families)
    counts = {"rollouts": len(kept), "general": len(general), "extra": len(others["extra"])}
    return mixing.shuffled(rows, recipe.seed), {**counts, "general_missing": missing, "contaminated": contaminated}


def _figures(found: dict[str, Any], mixed: Sequence[Conversation]) -> dict[str, Any]:
    """Return what travels in the artifact's record."""
    return {
        "rows": len(mixed),
        **{f"from_{name}": found["sources"][name] for name in ("rollouts", "general", "extra")},
        "general_missing": found["sources"]["general_missing"],
        "with_reasoning": sum(bool(row.reasoning) for row in mixed),
        "samples": found["samples"],
        "kept": found["kept"],
        "prompts": found["prompts"],
        "prompts_kept": found["prompts_kept"],
        "discards": {reason: count for reason, count in found["discards"].items() if count},
        "families": dict(sorted(Counter(row.family or "-" for row in mixed).items())),
        "languages": dict(sorted(Counter(row.language for row in mixed).items())),
    }

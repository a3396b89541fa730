"""A model and problems in; how often it is right, how long it thinks and how it writes out: r1 eval.

Every problem is asked `samples` times under each sampling and every completion is judged twice: *strict* (the
template's format holds and the text in the answer tags is right) and *any-format* (the last committed answer is right,
tags or not). pass@1 is the mean over samples, as DeepSeek-R1 reports it (2501.12948, section 3), pass@k is unbiased,
cons@n is the majority vote. With `parent` scores the gain is a paired difference, problem by problem.

The work is cut into shards (a sampling and a chunk of problems), each seeded on its own and written whole: a killed run
finds its shards again and repeats nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.core import disk, scores, text
from stages.core.artifact import Draft, Model, Prompts, Scores
from stages.core.contract import TEMPLATES, Contract
from stages.core.errors import InputError, RecipeError, nearest
from stages.core.rows import Prompt
from stages.core.scores import Row
from stages.rewards import accuracy, math, steps
from stages.rewards import format as format_reward

if TYPE_CHECKING:
    from stages.core.runner import Work
    from stages.policy.generate import Completion

VERSION = 1
CHUNK_ROWS = 512  # completions a shard: small enough to lose little, large enough to keep the batch full
LONGEST = 32768  # tokens: what the paper evaluates with, where the model has room for it


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
class Recipe:
    samples: int = 16
    """Completions drawn for each problem under each sampling; >= 1."""
    samplings: list[Sampling] = field(
        default_factory=lambda: [Sampling(temperature=0.6, top_p=0.95), Sampling(temperature=1.0, top_p=1.0)]
    )
    """Ways to draw: the published one (0.6, 0.95) and the model's own distribution (1, 1) beside it."""
    max_tokens: int | None = None
    """Tokens a completion may have; >= 1. None: what the model has room for after the longest prompt, at most 32768."""
    template: str = ""
    """Prompt template by name (`r1_zero`, `plain`). Empty: the model's own, or r1_zero when it has none."""
    problems: int | None = None
    """How many problems are asked, the first in the order of their ids' hashes; >= 1. None: all."""
    pass_k: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    """The k of pass@k; each >= 1. Those above `samples` are left out."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of the weights while sampling."""
    seed: int = 0
    """Seeds the samples and the resampling of the intervals; >= 0."""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    model: Model
    """The model that is asked."""
    prompts: Prompts
    """The problems, with their gold answers."""
    parent: Scores | None = None
    """Scores of the model this one came from, on the same problems: gives the paired difference."""


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Sample, judge and sum up; write completions.jsonl and scores.json under `work.path`.

    Raises InputError for a prompt that leaves no room to answer.
    """
    rows = chosen(inputs.prompts.rows(), recipe.problems)
    asker = Asker(recipe, inputs.model, rows, work)
    answers = {sampling.name: _sampled(asker, sampling) for sampling in recipe.samplings}
    _write(work.path / scores.COMPLETIONS_FILE, (row for found in answers.values() for row in found))
    before = scores.read_completions(inputs.parent.path) if inputs.parent else None
    found = summary(recipe, rows, answers, before)
    found |= {"max_tokens": asker.max_tokens, "template": asker.contract.template_name}
    disk.write_atomically(work.path / scores.SCORES_FILE, json.dumps(found, ensure_ascii=False, indent=1))
    for part in found["samplings"]:
        if before is not None and part["difference"] is None:
            work.emit(
                "warning", text=f"the parent shares no problem with these scores under {part['name']}: no difference"
            )
    return Draft(Scores, {part["name"]: _headline(part, recipe) for part in found["samplings"]})


def summary(
    recipe: Recipe, rows: Sequence[Prompt], answers: Mapping[str, list[Row]], before: Mapping[str, list[Row]] | None
) -> dict[str, Any]:
    """Return scores.json without the sampler's facts: figures per sampling and family, and the problems that were
    asked.

    `answers` and `before` (the parent's, or None) hold judged completions by sampling name.
    """
    return {
        "samples": recipe.samples,
        "pass_k": [k for k in recipe.pass_k if k <= recipe.samples],
        "problem_count": len(rows),
        "splits": sorted({row.split for row in rows} - {""}),
        "samplings": [_summed_up(recipe, sampling, answers[sampling.name], before) for sampling in recipe.samplings],
        "problems": {row.id: _shown(row) for row in rows},
    }


def chosen(rows: Sequence[Prompt], problems: int | None) -> list[Prompt]:
    """Return the first `problems` rows (None: all) in the order of their ids' hashes, so that a smaller choice is a
    part of a larger.

    Prompts hold at least one row and no id twice: `read_rows` sees to that.
    """
    return sorted(rows, key=lambda row: (hashlib.sha256(row.id.encode()).digest(), row.id))[:problems]


def judged(completion: str, row: Prompt, contract: Contract) -> dict[str, Any]:
    """Return a completion's verdicts and what else is read off its text: the row of completions.jsonl without its
    numbers.
    """
    strict = accuracy.strict(completion, row, contract)
    correct = accuracy.reward(completion, row, contract)
    return {
        "strict": strict.value or 0.0,
        "correct": correct.value,
        "format": format_reward.reward(completion, row, contract).value or 0.0,
        "answer": ballot(completion, row, contract),
        "reason": "" if strict.value == 1.0 else strict.reason,
        "mixed": text.mixes_languages(completion, contract.answer_tags),
        "wrong_step": steps.first_wrong_step(completion),
    }


def ballot(completion: str, row: Prompt, contract: Contract) -> str | None:
    """Return the answer a completion votes for, spelled so that equal answers are equal; None: it commits to none.

    Programs vote by their text: running them would use the target, which a vote must not know.
    """
    found = text.last_committed(contract.prefill + completion, contract.think_tags, contract.answer_tags)
    answer = None if found.how == "none" else accuracy.committed(found, row)
    if answer is None or not answer.strip():
        return None
    answer = answer[: math.MAX_CHARACTERS]
    if row.verifier == "math":
        number = math.read_number(math.normal(answer))
        if isinstance(number, math.Number):
            return f"{number.value}%" if number.percent else str(number.value)
    if row.verifier == "choice":
        return accuracy.option(answer) or text.canonical(answer)
    return text.canonical(answer)


class Asker:
    """The model and its rendered prompts; weights are loaded when the first missing shard asks for them."""

    def __init__(self, recipe: Recipe, model: Model, rows: Sequence[Prompt], work: Work) -> None:
        from stages.policy import models

        self.recipe, self.rows, self.work = recipe, rows, work
        self._model_path = model.path
        self.contract = _asked_contract(model.contract, recipe.template)
        self.tokenizer = models.load_tokenizer(model.path)
        self.prompt_ids = {row.id: self.tokenizer(self.contract.render(row.problem))["input_ids"] for row in rows}
        self.max_tokens = self._room()

    @cached_property
    def model(self) -> Any:
        """The weights, on the device the runtime names."""
        from stages.policy import device, models

        where = device.place(self.work.runtime)
        self.work.emit("device", device=device.described(where))
        return models.load_model(self._model_path, dtype=self.recipe.dtype, device=where)

    def chunks(self) -> list[Sequence[Prompt]]:
        """Return the problems in the order they are asked, cut so that a chunk makes about CHUNK_ROWS completions."""
        size = max(1, CHUNK_ROWS // self.recipe.samples)
        return [self.rows[start : start + size] for start in range(0, len(self.rows), size)]

    def draw(self, sampling: Sampling, number: int, chunk: Sequence[Prompt]) -> list[Row]:
        """Return the judged completions of one chunk, problem by problem. Its seed is its own, so any chunk can be
        drawn alone.
        """
        from stages.policy import generate, sampler

        wanted = generate.Sampling(temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=self.max_tokens)
        asked = [row for row in chunk for _ in range(self.recipe.samples)]
        drawn = generate.generate(
            self.model,
            [self.prompt_ids[row.id] for row in asked],
            wanted,
            contract=self.contract,
            seed=sampler.derive(self.work.seed, "eval", sampling.name, number),
        )
        return [
            self._row(row, index % self.recipe.samples, sampling, completion)
            for index, (row, completion) in enumerate(zip(asked, drawn, strict=True))
        ]

    def _row(self, row: Prompt, sample: int, sampling: Sampling, drawn: Completion) -> dict[str, Any]:
        ids = [one for one in drawn.ids if one not in self.contract.eos_ids and one != self.contract.pad_id]
        completion = self.tokenizer.decode(ids, skip_special_tokens=False)
        head = {
            "id": row.id,
            "family": row.family,
            "sampling": sampling.name,
            "sample": sample,
            "completion": completion,
        }
        return head | judged(completion, row, self.contract) | {"tokens": len(drawn.ids), "truncated": drawn.truncated}

    def _room(self) -> int:
        longest = max(self.rows, key=lambda row: len(self.prompt_ids[row.id]))
        room = self.contract.max_positions - len(self.prompt_ids[longest.id])
        if room < 1:
            raise InputError(
                f"problem {longest.id} takes {len(self.prompt_ids[longest.id])} tokens and leaves no room in "
                f"{self.contract.max_positions} positions",
                hint="leave long problems out when preparing: `r1 recipes keys prepare`",
            )
        if self.recipe.max_tokens is None:
            return min(room, LONGEST)
        if self.recipe.max_tokens > room:
            self.work.emit(
                "warning", text=f"max_tokens {self.recipe.max_tokens} is cut to {room}: the model has no more positions"
            )
        return min(room, self.recipe.max_tokens)


def _sampled(asker: Asker, sampling: Sampling) -> list[Row]:
    """Return all judged completions of one sampling, from the shards that exist and by drawing those that do not."""
    folder = asker.work.scratch / "shards" / sampling.name
    folder.mkdir(parents=True, exist_ok=True)
    chunks = asker.chunks()
    done: list[Row] = []
    for number, chunk in enumerate(chunks):
        path = folder / f"{number:05d}.jsonl"
        if not path.exists():
            _write(path, asker.draw(sampling, number, chunk))
        with path.open(encoding="utf-8") as lines:
            done += [json.loads(line) for line in lines]
        _tell(asker, sampling, done)
    return done


def _tell(asker: Asker, sampling: Sampling, done: Sequence[Row]) -> None:
    names = [one.name for one in asker.recipe.samplings]
    each = len(asker.rows) * asker.recipe.samples
    figures = {
        "strict": sum(row["strict"] for row in done) / len(done),
        "pass@1": sum(row["correct"] or 0.0 for row in done) / len(done),
        "format": sum(row["format"] for row in done) / len(done),
        "length": sum(row["tokens"] for row in done) / len(done),
        "temperature": sampling.temperature,
    }
    before = names.index(sampling.name) * each
    asker.work.emit("progress", done=before + len(done), total=len(names) * each, unit="completions", figures=figures)


def _summed_up(
    recipe: Recipe, sampling: Sampling, rows: list[Row], before: Mapping[str, list[Row]] | None
) -> dict[str, Any]:
    figures = asdict(sampling) | {"name": sampling.name} | scores.measure(rows, recipe.pass_k, recipe.seed)
    earlier = (before or {}).get(sampling.name, [])
    shared = {row["id"] for row in rows} & {row["id"] for row in earlier}
    return figures | {"difference": scores.compare(rows, earlier, recipe.pass_k, recipe.seed) if shared else None}


def _headline(part: dict[str, Any], recipe: Recipe) -> dict[str, float | None]:
    """Return the few figures that travel in the artifact's record."""
    wanted = ("strict_pass@1", "pass@1", f"cons@{recipe.samples}", "format", "length", "truncated", "mixed_language")
    return {name: part["overall"][name]["value"] for name in wanted}


def _shown(row: Prompt) -> dict[str, Any]:
    return {"problem": row.problem, "answer": row.answer, "family": row.family, "split": row.split, "level": row.level}


def _asked_contract(contract: Contract, template: str) -> Contract:
    """Return the contract with the template the recipe names; "" keeps the model's own, or r1_zero if it has none."""
    if not template and contract.template:
        return contract
    name = template or "r1_zero"
    return replace(contract, template=TEMPLATES[name], template_name=name, prefill="")


def _write(path: Path, rows: Any) -> None:
    """Write rows as JSON lines so that the file is whole or absent, even after a power cut."""
    torn = path.with_suffix(".part")
    with torn.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(torn, path)


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
    if recipe.template and recipe.template not in TEMPLATES:
        raise RecipeError(
            f"unknown template `{recipe.template}`",
            hint=f"{nearest(recipe.template, TEMPLATES)}All templates: {', '.join(TEMPLATES)}",
        )
    least = {"samples": 1, "max_tokens": 1, "problems": 1, "seed": 0}
    for name, value in ((key, getattr(recipe, key)) for key in least):
        if value is not None and value < least[name]:
            raise RecipeError(f"`{name}` must be {least[name]} or more, not {value}", hint="`r1 recipes keys eval`")
    if any(k < 1 for k in recipe.pass_k):
        raise RecipeError("each k of `pass_k` must be 1 or more", hint="try pass_k=[1,4,16]")

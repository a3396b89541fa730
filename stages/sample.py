"""A model and prompts in, n judged completions of each prompt out: the material of rejection sampling.

DeepSeek-R1 drew several completions a prompt twice: from R1-Zero for its cold start, and from the checkpoint of the
first RL stage for its 600,000 reasoning samples (arXiv 2501.12948v2, B.3.2 and B.3.3). Nothing is left out here; what
is kept is `r1 curate`'s to say.

The work is cut into shards (chunks of prompts), written whole: a killed run finds them again and draws nothing twice.
Each completion is seeded by its prompt and its number.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from stages.core.artifact import Artifact, Draft, Endpoint, Judge, Model, Prompts, Rollouts
from stages.core.errors import StageError
from stages.core.recipe.parts import RewardOptions, Sampled
from stages.core.recipe.ranges import Rule, above_zero, at_least, check
from stages.core.rows import Prompt, Sample, write_rows
from stages.core.run import shards
from stages.core.sampling import Sampling
from stages.rewards import registry
from stages.rewards.grading import Grader

if TYPE_CHECKING:
    from stages.core.run.runner import Work
    from stages.core.sampling import Completion, Request
    from stages.policy.engines.client import Client
    from stages.rewards.scoring import Scorer

VERSION = 8
IN_PIECES = True
"""Its shards may be worked by a Ray cluster (`runtime.ray`)."""
CHUNK_ROWS = 512
"""Completions of a shard where the recipe names no number of prompts: little is lost, and the batch stays full."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Sampled, RewardOptions):
    samples: int = 16
    """Completions drawn for each prompt; >= 1. R1 drew "several"; the number was not published."""
    temperature: float = 1.0
    """Divides the logits before sampling; > 0. R1's cold start was drawn at 1."""
    top_p: float = 1.0
    """Share of the probability that may be sampled, most likely tokens first; in (0, 1], 1 keeps all."""
    rewards: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0, "format": 1.0})
    """Reward name (or `package.module:function`) -> weight; each that applies to a prompt is written beside its
    completions, and so is each judge that is an input. The weights play no part.
    """
    shard_prompts: int | None = None
    """Prompts of a shard, what a kill can cost; >= 1. None: as many as make about 512 completions."""
    seed: int = 0
    """Decides the samples; >= 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rules = [*at_least(self, 1, "shard_prompts"), *at_least(self, 0, "seed")]
        rules += [*above_zero(self, "temperature"), Rule("top_p", 0 < self.top_p <= 1, "in (0, 1]")]
        check(self, "sample", rules)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    model: Model | Endpoint
    """The model that is asked."""
    prompts: Prompts
    """What it is asked; rules judge some of it, learned judges may judge the rest."""
    helpful: Judge | None = None
    """Scores prompts of the verifier `helpful` under the reward of that name."""
    safe: Judge | None = None
    """Scores prompts of the verifier `safe` under the reward of that name."""


def kind_of(_: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Rollouts


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Draw and judge; write prompts.jsonl, samples.jsonl and contract.json (how they were asked) under `work.path`.

    Raises InputError for a prompt that leaves no room to answer, RecipeError for a reward whose judge is not given and
    StageError where no request got an answer.
    """
    from stages.policy.engines import spread
    from stages.policy.engines.clients import client_of
    from stages.policy.models.asking import contract_for

    for name in recipe.rewards:
        if getattr(inputs, name, None) is None:  # not a judge that is given
            registry.load(name)
    rows = inputs.prompts.rows().chosen(recipe.problems)
    total = len(rows) * recipe.samples
    contract = contract_for(recipe, inputs.model, work.note)
    with client_of(inputs.model, contract, recipe.dtype, work) as client:
        survey = client.surveyed(rows)
        drawing = partial(Sampler, recipe, inputs, client.room(survey, recipe.max_tokens))
        drawer = drawing(client)
        drawn = shards.Sharded(
            folder=work.scratch / "shards", chunks=drawer.chunks(rows), requests=drawer.requests, rows=drawer.rows
        )
        done, came = 0, False
        for _, own in spread.finished(drawn, client, drawing, vars(inputs), partial(identity, recipe)):
            done, came = done + len(own), came or not all(row["failed"] for row in own)
            figures = Tally(own).figures()
            work.emit("progress", done=done, total=total, unit="completions", figures=figures)
        if not came:
            shutil.rmtree(work.scratch / "shards")  # or the next run would find nothing but failures
            hint = "what failed stands in the warnings above; mend it and run the same command"
            raise StageError(f"none of {total} requests got an answer", hint=hint)
        write_rows(work.path / "prompts.jsonl", rows)
        tally = Tally()
        write_rows(work.path / "samples.jsonl", (Sample(**row) for row in tally.counted(drawn.in_order())))
        costs = client.costs(survey.total + tally.tokens)
    client.contract.write(work.path / "contract.json")
    return Draft(Rollouts, {**tally.figures(), "tokens": tally.tokens, **costs})


def identity(recipe: Recipe) -> dict[str, str]:
    """Return what the fingerprint cannot see in the recipe: the source of rewards from outside this project.

    Raises RecipeError for a reward that does not exist, before anything is spent.
    """
    return registry.outside_sources(recipe.rewards, recipe.reward_options)


class Sampler:
    """How one shard of prompts is asked, answered and judged."""

    def __init__(self, recipe: Recipe, inputs: Inputs, max_tokens: int, client: Client) -> None:
        self.recipe, self.inputs, self.max_tokens, self.client = recipe, inputs, max_tokens, client

    @cached_property
    def judges(self) -> Mapping[str, Scorer]:
        """The learned judges by the name of their reward, on the device of the model."""
        from stages.policy.judges import judge
        from stages.policy.models import device

        return judge.load_judges(self.inputs, str(device.place(self.client.work.runtime)))

    def chunks(self, rows: Sequence[Prompt]) -> list[Sequence[Prompt]]:
        """Return the prompts in the order they are asked, cut into shards."""
        size = self.recipe.shard_prompts or max(1, CHUNK_ROWS // self.recipe.samples)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def requests(self, chunk: Sequence[Prompt]) -> list[Request]:
        """Return the requests of one shard, prompt by prompt."""
        from stages.policy.engines.client import requests
        from stages.policy.seeding import derive

        recipe = self.recipe
        wanted = Sampling(temperature=recipe.temperature, top_p=recipe.top_p, max_tokens=self.max_tokens)
        return requests(
            chunk, self.client.prompts(chunk), recipe.samples, wanted, derive(self.client.work.seed, "sample")
        )

    def rows(self, chunk: Sequence[Prompt], drawn: Sequence[Completion]) -> list[dict[str, Any]]:
        """Return the samples of one shard as plain rows, prompt by prompt."""
        recipe, client = self.recipe, self.client
        asked = [row for row in chunk for _ in range(recipe.samples)]
        grader = Grader(
            contract=client.contract, rewards=recipe.rewards, options=recipe.reward_options, judges=self.judges
        )
        return [
            asdict(Sample(id=one.prompt.id, sample=index % recipe.samples, failed=one.failed, **one.row()))
            for index, one in enumerate(grader.grade(drawn, asked, client.tokenizer))
        ]


class Tally:
    """Counts and sums over samples as plain rows, the samples of a prompt following each other; none is kept."""

    def __init__(self, samples: Iterable[dict[str, Any]] = ()) -> None:
        self.rows = self.tokens = 0
        self._failed = self._prompts = self._length = self._truncated = 0
        self._newest: str | None = None
        self._rewards: dict[str, tuple[float, int]] = {}
        for _ in self.counted(samples):
            pass

    def counted(self, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield samples as they are counted."""
        for row in samples:
            self.rows, self.tokens = self.rows + 1, self.tokens + row["tokens"]
            self._failed, self._truncated = self._failed + row["failed"], self._truncated + row["truncated"]
            self._prompts, self._newest = self._prompts + (row["id"] != self._newest), row["id"]
            if not row["failed"]:
                self._length += row["tokens"]
                for name, value in row["rewards"].items():
                    total, count = self._rewards.get(name, (0.0, 0))
                    self._rewards[name] = total + (value or 0.0), count + 1
            yield row

    def figures(self) -> dict[str, Any]:
        """Return `rows`, `prompts`, a mean for each reward over the samples it applies to (what could not be judged
        counts as 0), `length` in tokens, the share `truncated`; of what the engine failed no mean is taken, but its
        number, `failed`, where there is some."""
        return {
            "rows": self.rows,
            "prompts": self._prompts,
            **({"failed": self._failed} if self._failed else {}),
            **{name: total / count for name, (total, count) in self._rewards.items()},
            "length": self._length / max(1, self.rows - self._failed),
            "truncated": self._truncated / max(1, self.rows),
        }

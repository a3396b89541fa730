"""A policy and its reference in; how well k1, k2 and k3 estimate their KL, and what their gradients are, out: r1 kl.

Completions are drawn from the policy, and at every token that it visited the exact KL is known: a sum over the whole
vocabulary. Against it stand the three estimators (Schulman 2020; R1 uses k3): bias, spread, how often they are
negative, the variance of k1 + λ (r - 1) for a range of λ (1 is k3), and the gradient that each gives as a term of the
loss, there corrected by the ratio (DeepSeek-V3.2, arXiv 2512.02556), and as a penalty in the reward. A gradient is that
by the logits of one token given what stands before it; what a token changes in the KL of later ones is in none of them
(arXiv 2506.09477).

The work is cut into shards (chunks of prompts), written whole: a killed run repeats none. Each completion is seeded by
its prompt and its number.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from stages.core.artifact import Artifact, Divergence, Draft, Model, Prompts
from stages.core.errors import ContractError
from stages.core.recipe.parts import Sampled
from stages.core.recipe.ranges import Rule, above_zero, at_least, check
from stages.core.rows import Prompt
from stages.core.run import shards
from stages.core.sampling import Sampling
from stages.core.stats import divergence
from stages.core.storage import disk

if TYPE_CHECKING:
    from stages.core.run.runner import Work
    from stages.core.sampling import Completion, Request
    from stages.policy.engines.client import Client, Prompted

VERSION = 5
CHUNK_ROWS = 128
"""Completions of a shard: small enough to lose little."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Sampled):
    samples: int = 4
    """Completions drawn from the policy for each prompt; >= 1."""
    temperature: float = 1.0
    """Divides the logits of both models; > 0. The KL is that of the two distributions at this temperature."""
    lambdas: list[float] = field(default_factory=lambda: [round(0.1 * n, 1) for n in range(-5, 26)])
    """Weights λ of the control variate r - 1 at which the variance is taken, at least one; 0 is k1, 1 is k3."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of both models; the sums over the vocabulary are float64."""
    seed: int = 0
    """Seeds the samples and the resampling of the intervals; >= 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rules = at_least(self, 0, "seed")
        rules += [*above_zero(self, "temperature"), Rule("lambdas", bool(self.lambdas), "at least one number")]
        check(self, "kl", rules)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    policy: Model
    """Draws the completions: q, or π_θ."""
    reference: Model
    """What it is compared with: p, or π_ref. It must share the policy's tokenizer."""
    prompts: Prompts
    """What the policy is asked."""


def kind_of(_: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Divergence


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Draw, compare and sum up; write completions.jsonl (sums for each completion) and kl.json under `work.path`.

    Raises ContractError when the two models have different tokenizers, InputError for a prompt without room to answer.
    """
    from stages.policy.divergence import GRADIENTS, gaussian_table
    from stages.policy.engines.client import Client
    from stages.policy.models.asking import contract_for

    _check_tokenizers(inputs)
    rows = inputs.prompts.rows().chosen(recipe.problems)
    total = len(rows) * recipe.samples
    with Client(inputs.policy, contract_for(recipe, inputs.policy, work.note), recipe.dtype, work) as client:
        comparer, done = KlMeasurement(recipe, inputs, rows, client), defaultdict[str, float](float)
        drawn = shards.Sharded(
            folder=work.scratch / "shards",
            chunks=comparer.chunks(),
            requests=comparer.requests,
            rows=comparer.compared,
        )
        for _, own in drawn.finished(client):
            _tell(own, done, total, work)
    found = list(drawn.in_order())
    shards.write_lines(work.path / divergence.ROWS_FILE, found)
    table = divergence.summary(found, GRADIENTS, recipe.lambdas, recipe.seed)
    table |= {"temperature": recipe.temperature, "max_tokens": comparer.max_tokens}
    table["gaussian"] = {f"{shift:g}": gaussian_table(shift) for shift in (0.1, 1.0)}
    disk.write_atomically(work.path / divergence.FILE, json.dumps(table, indent=1))
    return Draft(Divergence, divergence.headline(table))


class KlMeasurement:
    """The prompts as token ids, and how one shard of them is answered and compared."""

    def __init__(self, recipe: Recipe, inputs: Inputs, rows: Sequence[Prompt], client: Client) -> None:
        self.recipe, self.inputs, self.rows, self.client = recipe, inputs, rows, client
        self.max_tokens = client.room(client.surveyed(rows), recipe.max_tokens)
        self._prompts: dict[str, dict[str, Prompted]] = {}
        """The prompts of chunks that are being answered, by the first one's id."""

    @cached_property
    def pair(self) -> tuple[Any, Any]:
        """The weights of policy and reference, whose whole distributions are compared."""
        from stages.policy.models import folders

        policy = self.client.module
        return policy, folders.load_model(self.inputs.reference.path, self.recipe.dtype, str(policy.device))

    def chunks(self) -> list[Sequence[Prompt]]:
        """Return the prompts in the order they are asked, cut so that a chunk makes about CHUNK_ROWS completions."""
        size = max(1, CHUNK_ROWS // self.recipe.samples)
        return [self.rows[start : start + size] for start in range(0, len(self.rows), size)]

    def requests(self, chunk: Sequence[Prompt]) -> list[Request]:
        """Return the requests of one shard, problem by problem."""
        from stages.policy.engines.client import requests
        from stages.policy.seeding import derive

        wanted = Sampling(temperature=self.recipe.temperature, max_tokens=self.max_tokens)
        seed = derive(self.client.work.seed, "kl")
        self._prompts[chunk[0].id] = prompts = self.client.prompts(chunk)
        return requests(chunk, prompts, self.recipe.samples, wanted, seed)

    def compared(self, chunk: Sequence[Prompt], said: Sequence[Completion]) -> list[dict[str, Any]]:
        """Return a row for each completion of one shard that did not fail, problem by problem."""
        from stages.policy import divergence as exact

        recipe, prompts = self.recipe, self._prompts.pop(chunk[0].id)
        asked = [(row, number) for row in chunk for number in range(recipe.samples)]
        kept = [(row, number, one) for (row, number), one in zip(asked, said, strict=True) if not one.failed]
        if not kept:
            return []
        ids, drawn = [prompts[row.id].ids for row, _, _ in kept], [one for _, _, one in kept]
        sums = exact.completion_sums(self.pair, ids, drawn, self.client.contract.pad_id, recipe.temperature)
        return [
            {"id": row.id, "sample": number, "tokens": len(one.ids), **found}
            for (row, number, one), found in zip(kept, sums, strict=True)
        ]


def _check_tokenizers(inputs: Inputs) -> None:
    mine, theirs = (model.contract.tokenizer_sha256 for model in (inputs.policy, inputs.reference))
    if mine != theirs:
        raise ContractError(
            f"policy and reference have different tokenizers ({mine[:12]} and {theirs[:12]}), so no token is the same",
            hint="compare a model with one of its own family: its base, or an earlier stage",
        )


def _tell(own: Sequence[dict[str, Any]], done: dict[str, float], total: int, work: Work) -> None:
    """Tell how far the work is; `done` holds the sums over the shards that were told before."""
    done["rows"] += len(own)
    for name in ("tokens", "kl", "k1", "k2", "k3"):
        done[name] += sum(row[name] for row in own)
    figures = {name: done[name] / max(1, done["tokens"]) for name in ("kl", "k1", "k2", "k3")}
    work.emit("progress", done=int(done["rows"]), total=total, unit="completions", figures=figures)

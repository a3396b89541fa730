"""A teacher's view of its traces on disk: its k likeliest tokens at every position, and the mass of the rest.

Examples and a teacher enter; safetensors shards leave, from which any student of the same tokenizer learns without the
teacher: it runs once, students many. At a few positions, spread over all shards, the whole distribution is kept, so
that each student can be told what the k tokens hide from it. A shard is written whole or not at all, and depends on
its own examples alone: a killed run finds what is done.

    cache.json           teacher, top_k, vocabulary and counts
    contract.json        how the prompts were written;  tokenizer.json  whose ids these are
    shard-00000.safetensors  ids, prompt_lengths, completion_lengths of the traces; top_ids, top_logprobs and tail of
                         each completion token; whole_rows, whole_places and whole_logprobs of positions kept whole
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from stages.core.contract import Contract
from stages.core.data.imitation import Example
from stages.core.errors import EngineError
from stages.core.sampling import Engine, Reading, Text
from stages.policy.distill.losses import Top, likeliest, logprobs
from stages.policy.models import memory
from stages.policy.models.agreement import refuse_unlike_alone
from stages.policy.models.prefix import selected_logits, shared_prefix_length
from stages.policy.seeding import derive
from stages.policy.sft import Batch, padded

FACTS = "cache.json"
SHARD_TOKENS = 1 << 16
"""Completion tokens of a shard, about: 34 MB at k = 64, and what a kill can cost."""
LOGITS_IN_A_PASS = 1 << 28
"""Logits of one forward pass of the teacher: 1 GiB in float32; one row may always pass."""


SPARE = 16
"""Tokens asked for beyond k where some may be ids that the tokenizer has not."""
BEYOND = 1e-4
"""Most probability that such ids may have where an engine, which cannot leave them out, reads."""


class Whole(NamedTuple):
    """A position whose whole distribution is kept."""

    row: int
    """Number of the trace."""
    place: int
    """Number of the completion token that is predicted there, from 0."""
    logprobs_V: Tensor
    """Over the shared vocabulary, float32."""


class Writer:
    """Writes the shards of one cache into `folder`; the teacher is loaded when the first missing shard asks for it."""

    def __init__(self, teacher: Callable[[], Any], folder: Path, *, k: int, vocabulary: int, rows: int | None) -> None:
        self.teacher, self.folder, self.k, self.vocabulary, self.rows = teacher, folder, k, vocabulary, rows
        self._compared = False

    def write(self, number: int, examples: Sequence[Example], whole: Sequence[tuple[int, int]]) -> Path:
        """Write the shard of some examples, or find it written; returns its path.

        `whole`: (example, completion token) of the positions to keep whole, numbered within the shard.
        """
        path = self.folder / f"shard-{number:05d}.safetensors"
        if path.exists():
            return path
        tops, kept = self._read(examples, whole)
        _save(path, examples, [tops[row] for row in range(len(examples))], sorted(kept, key=lambda one: one[:2]))
        return path

    def _read(
        self, examples: Sequence[Example], whole: Sequence[tuple[int, int]]
    ) -> tuple[dict[int, Top], list[Whole]]:
        """What the teacher holds likeliest along each example, and the positions to keep whole."""
        tops: dict[int, Top] = {}
        kept: list[Whole] = []
        for rows in self._passes(examples):
            logits_NV = self._logits([examples[row] for row in rows])
            for row, own in zip(
                rows, logits_NV.split([len(examples[row].completion_ids) for row in rows]), strict=True
            ):
                tops[row] = likeliest(own, self.k, self.vocabulary)
                places = [place for other, place in whole if other == row]
                kept += [Whole(row, place, logprobs(own[place][None], self.vocabulary)[0]) for place in places]
        return tops, kept

    def _logits(self, examples: Sequence[Example]) -> Tensor:
        model = self.teacher()
        batch = batch_of(examples, range(len(examples)), model.device)
        if not self._compared:
            refuse_unlike_alone(model, batch.sides, batch.shared_prefix, str(model.dtype).removeprefix("torch."))
            self._compared = True
        with torch.no_grad():
            return selected_logits(model, *batch.sides, shared_prefix=batch.shared_prefix)

    def _passes(self, examples: Sequence[Example]) -> list[list[int]]:
        """Rows by length, longest first, cut so that a pass fits into memory."""
        order = sorted(range(len(examples)), key=lambda row: examples[row].tokens, reverse=True)
        passes: list[list[int]] = []
        while order:
            longest = examples[order[0]]
            fit = self.rows or min(
                memory.rows_that_fit(self.teacher(), longest.tokens),
                max(1, LOGITS_IN_A_PASS // (self.vocabulary * len(longest.completion_ids))),
            )
            passes.append(order[:fit])
            order = order[fit:]
        return passes


class EngineWriter(Writer):
    """The same by an engine that reads (`sampling.Engine.read`): it tells k log-probabilities and no logits.

    The mass of the rest is then what the k leave of 1, to float32. What a model has beyond its tokenizer cannot be left
    out of that; where the positions that are kept whole show that it matters, EngineError is raised.
    """

    def __init__(self, teacher: Callable[[], Engine], folder: Path, *, k: int, vocabulary: int, rows: int) -> None:
        """`rows`: of the teacher's embedding, at least `vocabulary`."""
        super().__init__(teacher, folder, k=k, vocabulary=vocabulary, rows=rows)

    def _read(
        self, examples: Sequence[Example], whole: Sequence[tuple[int, int]]
    ) -> tuple[dict[int, Top], list[Whole]]:
        engine, rows = self.teacher(), self.rows or self.vocabulary
        places = [_up_to(examples[row], row, place) for row, place in whole]
        kept = [self._whole(text.key, reading) for text, reading in engine.read(places, rows)]
        texts = [Text(one.prompt_ids, one.completion_ids, row) for row, one in enumerate(examples)]
        asked = min(rows, self.k + min(SPARE, rows - self.vocabulary))
        tops: dict[Any, Top] = {text.key: self._top(reading) for text, reading in engine.read(texts, asked)}
        return tops, kept

    def _whole(self, where: Any, reading: Reading) -> Whole:
        row, place = where
        ids, values = torch.tensor(reading.top_ids[0]), torch.tensor(reading.top_logprobs[0])
        values_V = torch.empty(len(ids)).scatter(0, ids, values)
        beyond = values_V[self.vocabulary :].exp().sum().item()
        if beyond > BEYOND:
            raise EngineError(
                f"the teacher gives {beyond:.2g} of its probability to ids that its tokenizer has not",
                hint="use `runtime.engine=transformers`, which leaves them out",
            )
        return Whole(row, place, values_V[: self.vocabulary].log_softmax(-1))

    def _top(self, reading: Reading) -> Top:
        ids_NK, values_NK = torch.tensor(reading.top_ids), torch.tensor(reading.top_logprobs)
        if ids_NK.shape[1] > self.k:  # those beyond the tokenizer go last, and the rest keeps its order
            order = (ids_NK >= self.vocabulary).int().argsort(dim=-1, stable=True)[:, : self.k]
            ids_NK, values_NK = ids_NK.gather(1, order), values_NK.gather(1, order)
        tail_N = (1 - values_NK.double().exp().sum(-1)).clamp_min(0).log().float()
        return Top(ids_NK, values_NK, tail_N)


class Cache:
    """A written cache, read piece by piece."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        self.contract = Contract.read(folder)
        self.vocabulary: int = self.facts["vocabulary"]
        self._files = [safe_open(path, framework="pt") for path in sorted(folder.glob("shard-*.safetensors"))]

    @cached_property
    def examples(self) -> list[Example]:
        """Every trace as the teacher read it, in order."""
        found: list[Example] = []
        for file in self._files:
            lengths = [file.get_tensor(f"{side}_lengths").tolist() for side in ("prompt", "completion")]
            ends = torch.tensor([size for pair in zip(*lengths, strict=True) for size in pair])
            pieces = file.get_tensor("ids").split(ends.tolist())
            names = json.loads(file.metadata()["rows"])
            found += [
                Example(name, pieces[2 * row].tolist(), pieces[2 * row + 1].tolist()) for row, name in enumerate(names)
            ]
        return found

    def top(self, rows: Sequence[int], device: torch.device | str = "cpu") -> Top:
        """What the teacher holds likeliest at each completion token of these rows, one row after the other."""
        parts: list[list[Tensor]] = []
        for row in rows:
            shard, start = self._places[row]
            own = slice(start, start + len(self.examples[row].completion_ids))
            parts.append([self._files[shard].get_slice(name)[own] for name in ("top_ids", "top_logprobs", "tail")])
        ids, values, tail = (torch.cat(part).to(device) for part in zip(*parts, strict=True))
        return Top(ids.long(), values, tail)

    def whole(self) -> list[Whole]:
        """The positions that were kept whole, in order."""
        found: list[Whole] = []
        for file, before in zip(self._files, self._rows_before, strict=True):
            if "whole_rows" in file.keys():  # noqa: SIM118 - it is no dict
                rows, places = file.get_tensor("whole_rows").tolist(), file.get_tensor("whole_places").tolist()
                values = file.get_tensor("whole_logprobs")
                found += [Whole(before + row, place, one) for row, place, one in zip(rows, places, values, strict=True)]
        return found

    def tail_mass(self) -> float:
        """Mean probability of the tokens that are not among the k, over all completion tokens."""
        masses = [file.get_tensor("tail").double().exp() for file in self._files]
        return torch.cat(masses).mean().item()

    @cached_property
    def _rows_before(self) -> list[int]:
        """Shard -> traces in the shards before it."""
        counts = [len(json.loads(file.metadata()["rows"])) for file in self._files]
        return [sum(counts[:number]) for number in range(len(counts))]

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """Trace -> its shard, and the number of its first completion token there."""
        found: list[tuple[int, int]] = []
        for number, file in enumerate(self._files):
            lengths = file.get_tensor("completion_lengths")
            found += [(number, start) for start in (lengths.cumsum(0) - lengths).tolist()]
        return found


def shards(trained: Sequence[int]) -> list[range]:
    """Cut examples of so many completion tokens each, in order, into shards of about SHARD_TOKENS."""
    borders, tokens = [0], 0
    for row, own in enumerate(trained):
        if tokens and tokens + own > SHARD_TOKENS:
            borders.append(row)
            tokens = 0
        tokens += own
    return [range(*pair) for pair in pairwise([*borders, len(trained)])]


def kept_whole(trained: Sequence[int], count: int, seed: int) -> list[tuple[int, int]]:
    """(example, completion token) of `count` positions chosen by the seed, or of all when there are fewer; sorted.

    `trained` holds the completion tokens of each example.
    """
    total = sum(trained)
    chosen = sorted(random.Random(derive(seed, "whole")).sample(range(total), min(count, total)))
    found: list[tuple[int, int]] = []
    start = 0
    for row, own in enumerate(trained):
        end = start + own
        while chosen and chosen[0] < end:
            found.append((row, chosen.pop(0) - start))
        start = end
    return found


def _up_to(example: Example, row: int, place: int) -> Text:
    """One completion token of an example, behind all that comes before it."""
    before, token = example.completion_ids[:place], example.completion_ids[place]
    return Text([*example.prompt_ids, *before], [token], (row, place))


def batch_of(examples: Sequence[Example], rows: Sequence[int], device: torch.device | str) -> Batch:
    """Some of the examples as padded tensors, as training sees them."""
    own = [examples[row] for row in rows]
    prompts = padded([torch.tensor(one.prompt_ids) for one in own], left=True)
    completions = padded([torch.tensor(one.completion_ids) for one in own])
    return Batch(
        rows=list(rows),
        prompt_ids_BP=prompts[0].to(device),
        prompt_mask_BP=prompts[1].to(device),
        completion_ids_BT=completions[0].to(device),
        completion_mask_BT=completions[1].to(device),
        shared_prefix=shared_prefix_length([one.prompt_ids for one in own]),
    )


def _save(path: Path, examples: Sequence[Example], tops: Sequence[Top], kept: Sequence[Whole]) -> None:
    ids = [token for one in examples for token in (*one.prompt_ids, *one.completion_ids)]
    tensors = {
        "ids": torch.tensor(ids, dtype=torch.int32),
        "prompt_lengths": torch.tensor([len(one.prompt_ids) for one in examples]),
        "completion_lengths": torch.tensor([len(one.completion_ids) for one in examples]),
        "top_ids": torch.cat([top.ids_NK for top in tops]).int().cpu(),
        "top_logprobs": torch.cat([top.logprobs_NK for top in tops]).float().cpu(),
        "tail": torch.cat([top.tail_N for top in tops]).float().cpu(),
    }
    if kept:
        tensors["whole_rows"] = torch.tensor([one.row for one in kept])
        tensors["whole_places"] = torch.tensor([one.place for one in kept])
        tensors["whole_logprobs"] = torch.stack([one.logprobs_V for one in kept]).float().cpu()
    torn = path.with_suffix(".part")
    save_file(tensors, torn, metadata={"rows": json.dumps([one.id for one in examples])})
    with torn.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(torn, path)

"""A teacher and its traces in, the teacher's likeliest tokens at every position out: it runs once, students many.

What `r1 distill --mode logprobs` learns from. Of each completion token the k likeliest tokens and their
log-probabilities are kept, and the mass of all others as one number; at a few positions everything is kept, so that it
can be said what the k tokens hide. DeepSeek-R1 did not do this (arXiv 2501.12948 §2.4: its students saw text alone),
so no number here is published.

The work is cut into shards that are written whole: a killed run finds them again and runs the teacher on the rest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.core.artifact import Artifact, Conversations, Draft, Logprobs, Model
from stages.core.contract import Contract
from stages.core.data import imitation, students
from stages.core.data.surveyed import Surveyed, surveyed
from stages.core.recipe.ranges import at_least, check
from stages.core.sampling import Engine
from stages.core.storage import disk, lineage
from stages.core.templates import Asked

if TYPE_CHECKING:
    from stages.core.run.preflight import Foreseen
    from stages.core.run.runner import Work
    from stages.policy.distill.cache import Writer

VERSION = 6


@dataclass(frozen=True, kw_only=True)
class Recipe(Asked):
    top_k: int = 64
    """Tokens kept at each position, the likeliest first, 1 or more: 8 bytes each on disk."""
    whole_tokens: int = 256
    """Positions, over all traces, whose whole distribution is kept (4 bytes for each token of the vocabulary), 0 or
    more; 0 = none, and nothing can be said of what the others hide.
    """
    too_long: Literal["refuse", "drop"] = "refuse"
    """What happens when traces are longer than the teacher's positions: nothing is run, or they are left out and
    counted.
    """
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of the teacher's weights."""
    seed: int = 0
    """Decides which positions are kept whole, 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "logprobs", [*at_least(self, 1, "top_k"), *at_least(self, 0, "whole_tokens", "seed")])


@dataclass(frozen=True, kw_only=True)
class Inputs:
    teacher: Model
    """Who reads the traces."""
    conversations: Conversations
    """The traces, the teacher's own as a rule."""
    student: Model | None = None
    """A model of the same tokenizer, to measure on it what the k tokens hide; None = the teacher at temperature 2.
    Traces are cut by its tokenizer where the teacher's has more tokens."""


def kind_of(_: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Logprobs


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Let the teacher read every trace; write the shards, cache.json, contract.json and tokenizer.json to `work.path`.

    Raises InputError for traces longer than the teacher's positions, and for a student of another tokenizer.
    """
    from stages.policy.distill import cache as distill_cache
    from stages.policy.distill import vocab
    from stages.policy.engines.client import parameters
    from stages.policy.models import device
    from stages.policy.models.asking import contract_for

    if inputs.student is not None:
        _refuse_other_student(inputs.student.path, inputs.teacher.path)
    contract = contract_for(recipe, inputs.teacher, work.note)
    ids = _whose_ids(inputs, contract, work)
    made, dropped, left = _traces(recipe, inputs, ids, contract=contract, work=work)
    where = device.place(work.runtime)
    work.emit("device", device=device.described(where))

    vocabulary = vocab.vocabulary_of(ids, inputs.teacher.path)
    with _writer(recipe, inputs.teacher.path, vocabulary, contract=contract, work=work) as writer:
        _write(writer, made, recipe, work)
    shutil.copyfile(ids / "tokenizer.json", work.path / "tokenizer.json")
    contract.write(work.path / "contract.json")
    facts = {"teacher": inputs.teacher.address, "rows": len(made), "dropped_too_long": dropped}
    facts |= {"tokens": sum(made.trained), "top_k": recipe.top_k, "vocabulary": vocabulary}
    disk.write_atomically(work.path / distill_cache.FACTS, json.dumps(facts, indent=1) + "\n")
    measured = _measured(inputs, where, work)
    flops = 2.0 * parameters(inputs.teacher.path) * sum(made.tokens)
    variant = lineage.variant(inputs.teacher)
    if variant:
        work.emit("note", text=f"{inputs.teacher.address}: {variant}")
    named = {"teacher_variant": variant} if variant else {}
    return Draft(Logprobs, {**facts, **imitation.counted(left), **named, **measured, "flops": {"teacher": flops}})


def foresee(recipe: Recipe, inputs: Mapping[str, Foreseen]) -> list[str]:
    """Refuse a student of another tokenizer before anything is built; say where that cannot be told yet."""
    student, teacher = inputs.get("student"), inputs["teacher"]
    if student is None:
        return []
    if student.folder is None or teacher.folder is None:
        return [f"whether `{student.text}` has the tokenizer of `{teacher.text}` shows when both are there"]
    _refuse_other_student(student.folder, teacher.folder)
    return []


def _refuse_other_student(student: Path, teacher: Path) -> None:
    from stages.policy.distill import vocab

    vocab.refuse_apart(student, teacher, "measuring on a student", "leave inputs.student out")


def _whose_ids(inputs: Inputs, contract: Contract, work: Work) -> Path:
    """The folder whose tokenizer cuts the traces: the teacher's, or the student's where the teacher's has more tokens.

    Raises InputError where the teacher ends a response in one of those.
    """
    from stages.policy.distill import vocab

    teacher, student = inputs.teacher.path, inputs.student.path if inputs.student else None
    more = vocab.only_taught(student, teacher) if student else []
    if student is None or not more:
        return teacher
    vocab.refuse_foreign_end(contract, student)
    work.note(vocab.told(more))
    return student


@contextmanager
def _writer(recipe: Recipe, path: Path, vocabulary: int, *, contract: Contract, work: Work) -> Iterator[Writer]:
    """Who reads the traces: the teacher as a module, which tells its logits, or in another engine. Nothing is loaded
    before a shard is missing, and the teacher's place is free afterwards."""
    from stages.policy.distill import cache as distill_cache
    from stages.policy.distill import vocab
    from stages.policy.engines.opening import chosen, open_engine
    from stages.policy.models import device, folders

    runtime, engines = work.runtime, ExitStack()

    @cache
    def module() -> Any:
        return folders.load_model(path, dtype=recipe.dtype, device=device.place(runtime))

    @cache
    def engine() -> Engine:
        return engines.enter_context(closing(open_engine(path, contract=contract, dtype=recipe.dtype, runtime=runtime)))

    with engines:
        if chosen(runtime) == "transformers":
            yield distill_cache.Writer(
                module, work.path, k=recipe.top_k, vocabulary=vocabulary, rows=runtime.micro_batch
            )
        else:
            rows = vocab.embedding_rows(path)
            yield distill_cache.EngineWriter(engine, work.path, k=recipe.top_k, vocabulary=vocabulary, rows=rows)


def _traces(
    recipe: Recipe, inputs: Inputs, ids: Path, *, contract: Contract, work: Work
) -> tuple[Surveyed, int, list[imitation.LeftOut]]:
    rows, room = inputs.conversations.rows(), contract.max_positions
    fit = partial(students.within, limit=room, drop=recipe.too_long == "drop", holder="teacher")
    kept, dropped, left = surveyed(rows, contract, ids, fit, limit=room, runtime=work.runtime)
    if left:
        work.emit("warning", text=imitation.told(left, len(rows)))
    if dropped:
        work.emit("warning", text=f"{dropped} traces are longer than the teacher's positions and left out")
    return kept, dropped, left


def _write(writer: Writer, made: Surveyed, recipe: Recipe, work: Work) -> None:
    """Write every shard that is not there; each tells how many traces the teacher has read."""
    from stages.policy.distill import cache as distill_cache

    whole = distill_cache.kept_whole(made.trained, recipe.whole_tokens, work.seed)
    for number, rows in enumerate(distill_cache.shards(made.trained)):
        own = [(row - rows.start, place) for row, place in whole if row in rows]
        writer.write(number, made[rows.start : rows.stop], own)
        work.emit("progress", done=rows.stop, total=len(made), unit="traces", figures={})
    for torn in work.path.glob("*.part"):
        torn.unlink()


def _measured(inputs: Inputs, where: str, work: Work) -> dict[str, Any]:
    """What the k tokens hold and hide, as figures and as a sentence."""
    from stages.policy.distill import cache as distill_cache
    from stages.policy.distill import exam
    from stages.policy.models import folders

    written = distill_cache.Cache(work.path)
    tail_mass, whole = written.tail_mass(), written.whole()
    said = f"the {written.facts['top_k']} likeliest tokens hold {1 - tail_mass:.3%} of the teacher's probability"
    if not whole:
        work.emit("note", text=said)
        return {"tail_mass": tail_mass}
    if inputs.student is not None:
        against = inputs.student.address
        student = folders.load_model(inputs.student.path, device=where)
        error = exam.HeldoutTraces(written, [], written.vocabulary, work.runtime.micro_batch).hidden(student)
    else:
        against = f"{inputs.teacher.address} at temperature {exam.FLATTENED:g}"
        error = exam.tail_error(whole, exam.flattened(whole), written.facts["top_k"])
    work.emit(
        "note",
        text=f"{said}; the rest as one bucket hides {error['tail_error']:.2g} of {error['full_kl']:.3g} nats of the KL "
        f"to {against}, at {len(whole)} positions",
    )
    return {"tail_mass": tail_mass, "bucket": {"against": against, "positions": len(whole), **error}}

"""A teacher's knowledge and a student in, the student that answers as the teacher does out: r1 distill.

Three ways. `traces`: the student imitates the teacher's conversations, which is all that DeepSeek-R1 did (SFT, arXiv
2501.12948v2 §2.4 and B.4.3; no logits, no RL). `logprobs`: at each token of the traces the student's distribution is
drawn to the teacher's, of which `r1 logprobs` kept the likeliest tokens. `on-policy`: the student answers prompts
itself and the teacher judges each token of its answers. The last two need one tokenizer, whatever the sizes of the
embeddings; the first works with any.

The defaults are the published values; the learning rate is the student's own (`stages.core.data.students`). Any model
may teach; R1-Zero is labelled as what the paper does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stages.core import templates
from stages.core.artifact import Adapter, Artifact, Draft, Endpoint, Model
from stages.core.contract import ASKING, Contract
from stages.core.data import students
from stages.core.errors import InputError, RecipeError
from stages.core.recipe.adaptation import still
from stages.core.recipe.distillation import Distillation, Inputs
from stages.core.recipe.parts import Tuning, taken
from stages.core.recipe.ranges import above_zero, at_least, check, idle, or_none
from stages.core.run.endpoint import SCHEME
from stages.core.storage import lineage

if TYPE_CHECKING:
    from stages.core.run.preflight import Foreseen
    from stages.core.run.runner import Work

VERSION = 6
NEEDS = {"traces": ("conversations",), "logprobs": ("logprobs",), "on-policy": ("teacher", "prompts")}
"""Mode -> the inputs it cannot do without."""
_OF_TRACES = ("max_tokens", "too_long")
"""Keys that mode on-policy does not read; `epochs` may stand in the recipe that another one extends."""
_OF_ANSWERS = ("steps", "max_completion_tokens", "temperature", "divergence")
"""Keys that it alone reads."""
_WAYS = {
    "conversations": "the teacher's answers: `r1 sample inputs.model=TEACHER`, then `r1 curate`",
    "logprobs": "make it: `r1 logprobs inputs.teacher=TEACHER inputs.conversations=TRACES`",
    "teacher": "add inputs.teacher=ADDRESS",
    "prompts": "add inputs.prompts=ADDRESS, e.g. world:train",
}

Known = TypeVar("Known")


@dataclass(frozen=True, kw_only=True)
class Recipe(Distillation, templates.Asked):
    template: str = ""
    """Prompt template: empty = the teacher's, or the student's own without a teacher, or r1_zero where there is none;
    `r1_zero`, `plain`, `chat` (the chat template of the student's tokenizer), a text with {prompt}, a chat template's
    jinja, or a file that holds one of these.
    """
    learning_rate: float | None = None
    """Of AdamW at the start, above 0; None = the student's published one, which only the bases of the table of
    students have.
    """
    seed: int = 0
    """Decides the order of the traces, what is held out and what is sampled; 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)


def kind_of(recipe: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Adapter if recipe.adapter.kept else Model


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Train the student and write it under `work.path`.

    Resumes from the checkpoints in `work.scratch`; on a CPU the weights are then those of an uninterrupted run, bit for
    bit. Raises RecipeError for an input that the mode lacks or a student without a learning rate, InputError for traces
    that are too long and for a tokenizer that is not the teacher's.
    """
    from stages.policy.distill import modes
    from stages.policy.models import asking, device

    refuse_missing(recipe, inputs)
    rate = learning_rate(recipe, inputs.student)
    refuse_other_teachers(recipe, inputs)
    contract = student_contract(recipe, inputs, work.note)
    if recipe.mode == "traces":
        asking.tell_of_stripping(contract, work.note)
    where = device.place(work.runtime)
    work.emit("device", device=device.described(where))
    facts = introduced(inputs, rate, work)
    run = modes.DistillationRun(recipe, inputs, work, contract, where)
    figures = run.train(taken(Tuning, recipe, learning_rate=rate))
    return Draft(kind_of(recipe), {"mode": recipe.mode, **facts, "learning_rate": rate, **figures})


def refuse_processes(recipe: Recipe, processes: int) -> None:
    """Raise RecipeError for the mode in which one process answers and learns."""
    if recipe.mode == "on-policy":
        raise RecipeError(
            f"mode on-policy runs in one process, not in {processes}",
            hint="use mode traces or logprobs, or one process",
        )


def foresee(recipe: Recipe, inputs: Mapping[str, Foreseen]) -> list[str]:
    """Refuse before anything is built what `run` would refuse, and say in sentences what cannot be told yet.

    Raises as `run` does for an input that the mode lacks, a student without a learning rate and another tokenizer.
    """
    _refuse_missing(recipe, inputs)
    student, teacher, logprobs = inputs["student"], inputs.get("teacher"), inputs.get("logprobs")
    if student.artifact is not None:
        learning_rate(recipe, student.artifact)
    elif recipe.learning_rate is None and students.called(student.text) is None:
        raise _unpublished(student.text)
    if recipe.mode != "traces" and teacher is not None and teacher.text.startswith(SCHEME):
        raise _only_speaks(teacher.text, recipe.mode)
    others = {one.text: one.folder for one in _of_one_tokenizer(recipe, teacher, logprobs)}
    known = [folder for folder in others.values() if folder is not None]
    if student.folder is not None:
        _refuse_other_tokenizers(recipe, student.folder, known)
    unknown = list(others) if student.folder is None else [text for text, folder in others.items() if folder is None]
    return [f"whether `{student.text}` has the tokenizer of `{text}` shows when both are there" for text in unknown]


def refuse_missing(recipe: Recipe, inputs: Inputs) -> None:
    """Raise RecipeError for the first input that the mode cannot do without, InputError for a teacher that only speaks
    where more is needed."""
    _refuse_missing(recipe, {name: value for name, value in vars(inputs).items() if value is not None})
    if recipe.mode != "traces" and isinstance(inputs.teacher, Endpoint):
        raise _only_speaks(inputs.teacher.address, recipe.mode)


def _refuse_missing(recipe: Recipe, inputs: Mapping[str, object]) -> None:
    for name in NEEDS[recipe.mode]:
        if name not in inputs:
            raise RecipeError(f"mode {recipe.mode} needs the input `{name}`", hint=_WAYS[name])


def _only_speaks(teacher: str, mode: str) -> InputError:
    what = f"`{teacher}` only speaks, and mode {mode} needs its log-probabilities"
    return InputError(what, hint="use --mode traces, or a teacher whose weights are here")


def learning_rate(recipe: Recipe, student: Artifact) -> float:
    """The recipe's learning rate, or the one published for the student; RecipeError when there is neither."""
    if recipe.learning_rate is not None:
        return recipe.learning_rate
    known = students.known(student.record)
    if known is None:
        raise _unpublished(student.address)
    return known.learning_rate


def _unpublished(student: str) -> RecipeError:
    listed = ", ".join(f"{one.name} {one.learning_rate:g}" for one in students.STUDENTS.values())
    return RecipeError(f"no `learning_rate` is published for `{student}`", hint=f"add learning_rate=…; known: {listed}")


def refuse_other_teachers(recipe: Recipe, inputs: Inputs) -> None:
    """Raise InputError when log-probabilities are another teacher's, or anything but traces meets two tokenizers."""
    student, teacher, logprobs = inputs.student, inputs.teacher, inputs.logprobs
    if logprobs is not None:
        whose = logprobs.record.inputs.get("teacher")
        if teacher is not None and whose is not None and whose != teacher.address:
            raise InputError(
                f"`{logprobs.address}` holds the log-probabilities of `{whose}`, not of `{teacher.address}`",
                hint=f"use inputs.teacher={whose}, or leave it out",
            )
    others = [one.path for one in _of_one_tokenizer(recipe, teacher, logprobs)]
    _refuse_other_tokenizers(recipe, student.path, others)


def _of_one_tokenizer(recipe: Recipe, teacher: Known | None, logprobs: Known | None) -> list[Known]:
    """The inputs whose tokenizer must be the student's."""
    read = [logprobs, teacher if recipe.mode == "on-policy" else None]
    return [one for one in read if one is not None]


def _refuse_other_tokenizers(recipe: Recipe, student: Path, others: Iterable[Path]) -> None:
    from stages.policy.distill.vocab import TRACES_WORK, only_taught, refuse_apart, refuse_other_tokenizer

    traces = recipe.mode == "traces"
    what = "measuring the student on log-probabilities" if traces else f"mode {recipe.mode}"
    way_out = "leave inputs.logprobs out: traces need none" if traces else TRACES_WORK
    for other in others:
        if recipe.mode == "on-policy":
            refuse_apart(student, other, what, way_out)
        elif more := only_taught(student, other):
            how = "take them again, cut by the student's tokenizer: `r1 logprobs … inputs.student=STUDENT`"
            said = f"{what} needs the student's tokens, and the log-probabilities hold others, such as {more[0]}"
            raise InputError(said, hint=f"{how}; {way_out}")
        else:
            refuse_other_tokenizer(student, other, what, way_out)


def student_contract(recipe: Recipe, inputs: Inputs, tell: Callable[[str], None] | None = None) -> Contract:
    """How the student will be asked and answer: the recipe's template, else the teacher's, else its own.

    Where the two share a tokenizer the student also ends as the teacher does. Raises RecipeError for a template other
    than the one that log-probabilities were taken under.
    """
    from stages.policy.models import asking, chat

    student, teacher = inputs.student.contract, inputs.teacher.contract if inputs.teacher else None
    positions = recipe.positions or student.max_positions
    if recipe.mode == "traces":
        found = asking.contract_for(recipe, inputs.student, tell)
        own = not isinstance(inputs.teacher, Endpoint)  # what is around an endpoint's prompts only its server knows
        if teacher is not None and teacher.template and own and not recipe.template:
            words = (*ASKING, "think_tags", "answer_tags")
            found = replace(found, **{name: getattr(teacher, name) for name in words})
            if teacher.syntax == "jinja":  # what it writes behind a response may be another token, or none, here
                found = chat.chat_contract(found, asking.tokenizer_of(inputs.student), teacher.template, tell=tell)
        return replace(found, max_positions=positions)
    chosen = asking.contract_for(recipe, inputs.student, tell) if recipe.template else None
    if recipe.mode == "logprobs" and inputs.logprobs is not None:
        found = Contract.read(inputs.logprobs.path)
        if chosen is not None and chosen.render("") != found.render(""):
            raise RecipeError("the log-probabilities were taken under another `template`", hint="leave the key out")
    else:
        found = templates.with_template(teacher or student, "")
        if chosen is not None:
            words = (*ASKING, "eos_ids", "end_id")
            found = replace(found, **{name: getattr(chosen, name) for name in words})
    return replace(found, max_positions=positions, tokenizer_sha256=student.tokenizer_sha256)


def introduced(inputs: Inputs, rate: float, work: Work) -> dict[str, Any]:
    """Say who learns from whom and what the paper has to say about that; returns it as figures for the record."""
    student, data = inputs.student, inputs.logprobs or inputs.conversations
    teacher = inputs.teacher or (lineage.author(data) if data else None)
    facts = {"teacher": teacher.address if teacher else "", "student": student.address}
    variant = lineage.variant(teacher) if teacher else ""
    if variant:
        facts["teacher_variant"] = variant
        work.emit("note", text=f"{facts['teacher']}: {variant}")
    known = students.known(student.record)
    if known is not None:
        changed = f"; the released one also has: {known.changed}" if known.changed else ""
        work.emit("note", text=f"student {known.name}, learning rate {rate:g}{changed}")
        positions = student.contract.max_positions
        if known.positions not in (None, positions):
            said = f"{known.source} has {positions} positions, not the {known.positions} that are listed for it"
            work.emit("warning", text=said)
    return facts


def _check(recipe: Recipe) -> None:
    """Raise RecipeError for the first value that is out of its range."""
    rules = [*at_least(recipe, 0, "seed"), *or_none(above_zero(recipe, "learning_rate"))]
    if recipe.mode == "on-policy":
        rules.append(still(recipe.adapter, "in mode on-policy: sampler and trainer would be two students"))
    unread = _OF_TRACES if recipe.mode == "on-policy" else _OF_ANSWERS
    check(recipe, "distill", rules, idle(recipe, f"under mode {recipe.mode}", *unread))

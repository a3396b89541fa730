"""`r1 distill`: the stage's command, with flags for the teacher, the student and the mode.

A teacher alone is enough: what the mode still lacks (the teacher's answers, or its log-probabilities on them) is made
first, by the stages that make it, under names of the teacher, so that the next student finds them there.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1cli.options import stored_artifacts
from r1cli.view import Screen

if TYPE_CHECKING:
    from stages.core.recipe.loading import Loaded

RECIPES = {"traces": "distill", "logprobs": "distill_logprobs", "on-policy": "distill_on_policy"}
"""Mode -> the bundled recipe it stands for where no other is named."""


Teacher = Annotated[
    str | None, typer.Option("--teacher", help="Any model, or openai:URL#model.", autocompletion=stored_artifacts)
]
Student = Annotated[
    str | None,
    typer.Option(
        "--student",
        help="qwen-1.5b, qwen-7b, qwen-14b, qwen-32b, llama-8b, llama-70b, qwen-nano, llama-nano, or any model.",
    ),
]
Mode = Annotated[str | None, typer.Option("--mode", help="traces, logprobs or on-policy.")]


def command(plain: Callable[..., None]) -> Callable[..., None]:
    """A stage's plain command with three flags more; its own options stay as they are."""

    def run(teacher: Teacher = None, student: Student = None, mode: Mode = None, **options: Any) -> None:
        from r1cli.commands.pipeline import build, launched
        from stages.core.data.students import source_of
        from stages.core.recipe.loading import load

        flags = [f"inputs.teacher={teacher}"] if teacher else []
        flags += [f"inputs.student={source_of(student)}"] if student else []
        flags += [f"mode={mode}"] if mode else []
        recipe = options["recipe"] or RECIPES.get(mode or "traces", "distill")
        last = load(recipe, "distill", [*flags, *(options["overrides"] or [])], options["name"])
        build(launched(nodes(last), options["launcher"]), Screen(options["as_json"]), options["dry_run"])

    overrides, *theirs = inspect.signature(plain, eval_str=True).parameters.values()
    flags = [each for each in inspect.signature(run, eval_str=True).parameters.values() if each.name != "options"]
    together = [overrides, *flags, *theirs]
    run.__signature__ = inspect.Signature(together)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in together}
    return run


def nodes(last: Loaded) -> list[Loaded]:
    """The distillation with what makes the traces and log-probabilities that its mode needs and nobody gave.

    Raises RecipeError when they could only come from a teacher, and there is none.
    """
    from stages.core.errors import RecipeError

    inputs = dict(last.inputs)
    made: list[Loaded] = []
    needed = {"traces": "conversations", "logprobs": "logprobs"}.get(last.recipe.mode)
    if needed is None or needed in inputs:
        return [last]
    teacher = inputs.get("teacher")
    if teacher is None:
        hint = f"name whom to learn from, `--teacher ADDRESS`, or add inputs.{needed}=ADDRESS"
        raise RecipeError(f"mode {last.recipe.mode} needs the input `{needed}`, or a teacher to make it", hint=hint)
    if "conversations" not in inputs:
        made = _traces(teacher)
        inputs["conversations"] = made[-1].name
    if needed == "logprobs":
        made.append(_logprobs(teacher, inputs.pop("conversations")))
        inputs["logprobs"] = made[-1].name
    alone = dataclasses.replace(last.runtime, processes=1, launcher=None)  # of these only the student is trained
    made = [dataclasses.replace(node, runtime=alone) for node in made]
    return [*made, dataclasses.replace(last, inputs=inputs)]


def _traces(teacher: str) -> list[Loaded]:
    """The teacher's answers, drawn and chosen as R1's own data was: the students learned from those 800,000."""
    from stages.core.recipe.loading import load

    drawn = load("rejection_samples", "sample", [f"inputs.model={teacher}"], f"{short(teacher)}-samples")
    return [drawn, load("rejection_data", "curate", [f"inputs.rollouts={drawn.name}"], f"{short(teacher)}-traces")]


def _logprobs(teacher: str, traces: str) -> Loaded:
    from stages.core.recipe.loading import load

    given = [f"inputs.teacher={teacher}", f"inputs.conversations={traces}"]
    return load("logprobs", "logprobs", given, f"{short(teacher)}-logprobs")


def short(teacher: str) -> str:
    """`zero@3` -> `zero`, `world:base` -> `base`, `hf:owner/name@main` and `openai:URL#owner/name` -> `name`, a path ->
    its last part."""
    from stages.core.run.endpoint import SCHEME, Address

    teacher = Address.parse(teacher).model.lstrip("@") if teacher.startswith(SCHEME) else teacher
    last = Path(teacher.partition("@")[0].rpartition(":")[2]).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._") or "teacher"

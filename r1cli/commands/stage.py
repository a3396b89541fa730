"""`r1 prepare`, `r1 rl`, `r1 eval`, …: one command for every stage, all made here."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from r1cli.options import Debug, DryRun, Json, Launcher, Overrides, bundled_recipes
from r1cli.view import Screen
from stages import STAGES

# What each stage is called in the list of commands; its own docstring opens its help page.
WORDS = {
    "prepare": "Turn outside problems into prompts with checked answers.",
    "sft": "Imitate conversations: cold start and second SFT.",
    "rl": "Practise on problems until the model reasons (R1-Zero).",
    "sample": "Draw n judged completions of each prompt.",
    "curate": "Keep what is right and readable, rewrite it, mix it.",
    "prefer": "Compare or label responses: what judges learn from.",
    "reward-model": "Train a judge: helpful from pairs, safe from labels.",
    "logprobs": "Keep a teacher's likeliest tokens along its traces.",
    "distill": "Teach a student: traces, log-probabilities, on-policy.",
    "eval": "Measure a model: pass@1, cons@k, pass@k, format, length.",
    "kl": "Compare k1, k2 and k3 with the exact KL of two models.",
    "export": "Release a model: a folder, a GGUF or the hub, and its card.",
}
_PARAGRAPH = "\n\n"
EXAMPLES = {
    "prepare": "r1 prepare source=problems.jsonl --name mine",
    "sft": "r1 sft --recipe recipes/cold_start.yaml inputs.conversations=mine.jsonl",
    "rl": "r1 rl --recipe r1_zero --name zero group_size=8 runtime.processes=2",
    "sample": "r1 sample --recipe recipes/rejection_samples.yaml inputs.model=rl-reasoning",
    "curate": "r1 curate --recipe recipes/rejection_data.yaml keep_per_prompt=1",
    "prefer": "r1 prefer --recipe prefer_helpful inputs.rollouts=general-samples",
    "reward-model": "r1 reward-model --recipe judge_safe inputs.preferences=mine.jsonl",
    "logprobs": "r1 logprobs inputs.teacher=r1 inputs.conversations=r1-traces",
    "distill": "r1 distill --teacher r1 --student qwen-nano",
    "eval": "r1 eval inputs.model=zero samples=4 --name zero-quick",
    "kl": "r1 kl --recipe kl inputs.policy=zero inputs.reference=world:base",
    "export": "r1 export r1 ./r1-release --licence apache-2.0",
}


def summary(module: str) -> str:
    """What a stage says of itself: its docstring's first paragraph, read without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the stage {module} has no file", name=module)
    doc = inspect.cleandoc(Path(spec.origin).read_text(encoding="utf-8").split('"""', 2)[1])
    stage = next(name for name, each in STAGES.items() if each == module)
    return f"{doc.split(_PARAGRAPH)[0]}\n\nIts keys: r1 recipes keys {stage}"


def example(stage: str) -> str:
    """The line that closes a stage's help page."""
    return f"Example: {EXAMPLES.get(stage, f'r1 {stage} --recipe recipes/{stage}.yaml')}"


def command(stage: str) -> Callable[..., None]:
    """The command of one stage: recipe and overrides in, one artifact out; two have words of their own."""

    def run(
        overrides: Overrides = None,
        recipe: Annotated[
            str | None,
            typer.Option(
                "--recipe", help="A path, or a bundled name (see r1 recipes).", autocompletion=bundled_recipes
            ),
        ] = None,
        name: Annotated[str | None, typer.Option("--name", help="What the artifact will be called.")] = None,
        *,
        launcher: Launcher = None,
        dry_run: DryRun = False,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        from r1cli.commands.pipeline import build, launched
        from stages.core.recipe.loading import load

        build(launched([load(recipe, stage, overrides or [], name)], launcher), Screen(as_json), dry_run)

    if stage == "export":
        from r1cli.commands import export

        return export.run
    if stage == "distill":
        from r1cli.commands import distill

        return distill.command(run)
    return run

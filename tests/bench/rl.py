"""`python -m tests.bench.rl [MODEL.gguf …]`: seconds a step of RL by phase, with the transformers engine and with vLLM.

Runs of `r1 rl` enter, the engines in turn and each in a process and a store of its own, which are thrown away; a line
for each engine leaves: seconds a step for each phase (the events' `seconds_*`, meant over the steps, those of the first
rollout left out, which also pay for warming up; the median of the repeats), and what shows that both learned: reward
of the first and the last rollout, and how far the sampler was from the trainer. The embedded base is trained by
recipes/rl_short, a model file of the command line, such as SmolLM2's, by recipes/smollm2-135m/r1_zero: two steps of 32
completions.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean, median
from typing import Any

PHASES = ("renewal", "rollout", "reward", "logprobs", "update")

Steps = list[dict[str, Any]]


def r1(home: Path, threads: int, *words: str) -> None:
    """Run r1 in a store; raises CalledProcessError where it fails, what it said being on stderr."""
    own = os.environ | {"R1_HOME": str(home), "OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-m", "r1cli", *words], env=own, check=True, stdout=subprocess.DEVNULL)


def trained(models: Path, threads: int, *words: str) -> Steps:
    """Train in a copy of the store `models` and return the events of the steps.

    A store of its own, because an engine is no part of a fingerprint: the second run would be the first one's, reused.
    """
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "store")
        shutil.copytree(models, home)
        r1(home, threads, "rl", "--name", "run", f"runtime.threads={threads}", *words)
        lines = (home / "run" / "1" / "events.jsonl").read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == "step"]


def described(what: str, runs: list[Steps]) -> str:
    """Runs of one engine as a line."""
    seconds = {phase: median(fmean(step[f"seconds_{phase}"] for step in warm(run)) for run in runs) for phase in PHASES}
    phases = "  ".join(f"{phase} {value:.3f}" for phase, value in seconds.items())
    reward = f"{runs[0][0]['reward']:.3f} to {runs[0][-1]['reward']:.3f}"
    apart = max(step["sampler_mismatch"] for run in runs for step in run if "sampler_mismatch" in step)
    return f"{what:32} {sum(seconds.values()):.2f} s a step: {phases}  reward {reward}  mismatch {apart:.1e} at most"


def warm(run: Steps) -> Steps:
    """The steps after those of the first rollout."""
    rollouts = [place for place, step in enumerate(run) if step["seconds_rollout"]]
    return run[rollouts[1] :]


def main() -> None:
    """Train each model with each engine in turn, and print a line for each engine."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rl", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "models", nargs="*", type=Path, help="models for recipes/smollm2-135m/r1_zero, as `r1 artifacts import`"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24, help="of the embedded base; 0 leaves it out, else 8 or more")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    engines = ["transformers", *(["vllm"] if importlib.util.find_spec("vllm") else [])]
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch)
        runs = [("embedded base", ("--recipe", "rl_short", f"steps={asked.steps}"))] if asked.steps else []
        for number, model in enumerate(asked.models):
            r1(models, asked.threads, "artifacts", "import", str(model), "--kind", "model", "--name", f"model-{number}")
            runs.append(
                (model.stem, ("--recipe", "smollm2-135m/r1_zero", f"inputs.model=model-{number}", "prompts_per_step=4"))
            )
        for what, words in runs:
            found: dict[str, list[Steps]] = {engine: [] for engine in engines}
            for repeat in range(asked.repeats):
                for engine in engines if repeat % 2 else reversed(engines):
                    found[engine].append(trained(models, asked.threads, f"runtime.engine={engine}", *words))
            for engine, steps in found.items():
                print(described(f"{what}, {engine}", steps), flush=True)


if __name__ == "__main__":
    main()

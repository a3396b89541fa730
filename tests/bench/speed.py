"""`python -m tests.bench.speed CHECKOUT`: RL, or a whole pipeline, in this tree and in the checkout of another commit.

A checkout enters; runs of both trees in turn, each with a store of its own that is thrown away, leave as a line each,
and at the end the median of now / before. Without `--whole` it is seconds a step of recipes/r1_zero, without validation
and checkpoints, from the end of the first step (which pays for warming up) to the end of the last, a whole number of
rollouts; by phase where the events say so. With it, it is the seconds of `r1 pipeline --recipe zero` or `pipeline` from
start to end, and the held-out strict pass@1 of its evaluations. `--busy N` keeps N programs busy beside them: 1 is
bound to one core, more are left to the system. The other tree runs with this environment's libraries.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tests.house.rooms import ROOT

STEPS_A_ROLLOUT = 4
OFF = ["eval_every=0", "runtime.device=cpu", "runtime.checkpoint_every=1000"]
"""No validation and no checkpoints: what is compared is steps."""
NOW = ["runtime.processes=2", "runtime.threads=1"]
"""What a run of all 240 steps is decided to have."""


def run(tree: Path, home: str, words: list[str]) -> None:
    """Run r1 of a tree in a store; its words go to this one's stderr."""
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTHONPATH")}
    own |= {"R1_HOME": home, "PYTHONPATH": str(tree)}
    subprocess.run([sys.executable, "-m", "r1cli", *words], cwd=tree, env=own, check=True, stdout=subprocess.DEVNULL)


def a_step(tree: Path, rollouts: int, words: list[str]) -> tuple[float, str]:
    """Seconds a step of some rollouts after the first, and a line by phase."""
    steps = STEPS_A_ROLLOUT * rollouts + 1
    with tempfile.TemporaryDirectory(prefix="r1-speed-") as home:
        run(tree, home, ["rl", "--recipe", "r1_zero", "--name", "timed", f"steps={steps}", *OFF, *words])
        lines = (Path(home) / "timed" / "1" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    told = [line for line in map(json.loads, lines) if line["event"] == "step"]
    phases = sorted({name for line in told for name in line if name.startswith("seconds_")})
    means = {name.removeprefix("seconds_"): fmean(line.get(name, 0.0) for line in told[1:]) for name in phases}
    took = (told[-1]["time"] - told[0]["time"]) / (steps - 1)
    return took, "  ".join(f"{name} {value:.3f}" for name, value in means.items() if value >= 0.0005)


def whole(tree: Path, recipe: str) -> tuple[float, str]:
    """Seconds of a pipeline, and what its evaluations say."""
    with tempfile.TemporaryDirectory(prefix="r1-speed-") as home:
        began = time.monotonic()
        run(tree, home, ["pipeline", "--recipe", recipe])
        took = time.monotonic() - began
        found = {path.parent.parent.name: json.loads(path.read_text()) for path in Path(home).glob("*/1/artifact.json")}
    return took, "  ".join(f"{name} {100 * value:.1f}" for name, one in sorted(found.items()) for value in strict(one))


def strict(record: Any) -> list[float]:
    """The strict pass@1 anywhere in an evaluation's record: its first figure of that name."""
    if isinstance(record, dict):
        if isinstance(record.get("strict"), float):
            return [record["strict"]]
        return next((found for value in record.values() if (found := strict(value))), [])
    return next((found for value in record if (found := strict(value))), []) if isinstance(record, list) else []


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keep so many programs busy inside the block; a single one on the last core."""
    bind = "os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[-1]])" if count == 1 else "pass"
    program = f"import os; {bind}\nwhile True: pass"
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.speed", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("checkout", type=Path, help="the tree of another commit: git worktree add DIR 1fba7a2")
    parser.add_argument("--whole", choices=("zero", "pipeline"), help="a pipeline from start to end instead of steps")
    parser.add_argument("--busy", type=int, default=0, help="programs that are kept busy beside it")
    parser.add_argument("--rollouts", type=int, default=2, help="rollouts of a run after its first step")
    parser.add_argument("--repeats", type=int, default=2, help="pairs of runs")
    asked = parser.parse_args()
    ways: dict[str, tuple[Path, list[str]]] = {"before": (asked.checkout.resolve(), []), "now": (ROOT, NOW)}
    found: dict[str, list[float]] = {way: [] for way in ways}
    with neighbours(asked.busy):
        for repeat in range(asked.repeats):
            for way in sorted(ways, reverse=repeat % 2 == 1):
                tree, words = ways[way]
                took, told = whole(tree, asked.whole) if asked.whole else a_step(tree, asked.rollouts, words)
                found[way].append(took)
                print(f"{way:6} {took:.3f} s{'' if asked.whole else ' a step'}: {told}", flush=True)
    ratios = [now / before for before, now in zip(found["before"], found["now"], strict=True)]
    beside = f"beside {asked.busy} busy program{'s' * (asked.busy > 1)}" if asked.busy else "alone"
    print(f"now / before, {beside}: median {median(ratios):.3f} of {', '.join(f'{one:.3f}' for one in ratios)}")


if __name__ == "__main__":
    main()

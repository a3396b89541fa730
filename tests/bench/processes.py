"""`python -m tests.bench.processes [--busy]`: r1_zero in two single-threaded processes against one of two threads.

Runs of `r1 rl` enter, the two ways in turn, each in a store of its own that is thrown away; for each way a line leaves:
steps a second of every run, and at the end the median of two / one over pairs taken in turn. Seconds are the wall
clock's, from the end of the first step (which pays for warming up) to the end of the last, a whole number of rollouts.
`--busy` keeps one core busy beside them, as another program would. Run it on an idle machine of two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

STEPS_A_ROLLOUT = 4
WAYS = {"one": ["runtime.threads=2"], "two": ["runtime.processes=2", "runtime.threads=1"]}
OFF = ["inputs.validation=null", "runtime.device=cpu", "runtime.checkpoint_every=1000"]
"""No validation and no checkpoints: what is compared is steps."""


def steps_a_second(way: str, rollouts: int) -> float:
    """Train for some rollouts after the first and return the steps a second of these."""
    steps = STEPS_A_ROLLOUT * rollouts + 1
    with tempfile.TemporaryDirectory(prefix="r1-processes-") as home:
        own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | {"R1_HOME": home}
        words = ["rl", "--recipe", "r1_zero", "--name", "timed", f"steps={steps}", *OFF, *WAYS[way]]
        subprocess.run([sys.executable, "-m", "r1cli", *words], env=own, check=True, stdout=subprocess.DEVNULL)
        lines = map(json.loads, (Path(home) / "timed" / "1" / "events.jsonl").read_text(encoding="utf-8").splitlines())
        times = [line["time"] for line in lines if line["event"] == "step"]
    assert len(times) == steps
    return (steps - 1) / (times[-1] - times[0])


@contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """Keep one core busy inside the block."""
    if not wanted:
        yield
        return
    program = "import os; os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[-1]])\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=3, help="rollouts of a run after its first step")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs")
    parser.add_argument("--busy", action="store_true", help="keep one core busy")
    asked = parser.parse_args()
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with neighbour(asked.busy):
        for repeat in range(asked.repeats):
            for way in sorted(WAYS, reverse=repeat % 2 == 1):
                found[way].append(steps_a_second(way, asked.rollouts))
                print(f"{way} {found[way][-1]:.3f} steps a second", flush=True)
    ratios = [two / one for one, two in zip(found["one"], found["two"], strict=True)]
    beside = "beside a busy core" if asked.busy else "alone"
    print(f"two processes / one, {beside}: median {median(ratios):.2f} of {', '.join(f'{one:.2f}' for one in ratios)}")


if __name__ == "__main__":
    main()

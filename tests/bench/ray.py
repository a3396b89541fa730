"""`python -m tests.bench.ray [--prompts 2000] [--tokens 16]`: a sampling job on two Ray workers, killed twice.

Prompts of the embedded world enter, one completion of the embedded base is drawn for each. When a third of the shards
is there the whole command is killed with SIGKILL; the same command then goes on, and one of its two workers is killed
when it has drawn a shard and not handed it over. Lines leave: completions a second, how many were judged twice after
each kill, and whether the result has the bytes of a run without Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO

from tests.stages import deadly


def command(folder: Path, name: str, tokens: int, at: str, *more: str) -> list[str]:
    options = json.dumps({deadly.REWARD: {"folder": str(folder), "at": at}})
    recipe = ["samples=1", "template=plain", f"max_tokens={tokens}", f"reward_options={options}"]
    given = ["inputs.model=world:base", f"inputs.prompts={folder / 'prompts.jsonl'}"]
    words = [*given, *recipe, f"rewards={{{deadly.REWARD}: 1.0}}", "runtime.device=cpu", "runtime.threads=1", *more]
    return [sys.executable, "-m", "r1cli", "sample", "--name", name, *words]


def judged(folder: Path) -> Counter[str]:
    """How often each prompt's completion was judged since the last call."""
    file = folder / "judged"
    found = Counter(file.read_text().split()) if file.exists() else Counter[str]()
    file.unlink(missing_ok=True)
    return found


def shards(folder: Path) -> int:
    return sum(1 for _ in folder.glob("home/.work/*/scratch/shards/*.jsonl"))


def run(words: list[str], environment: dict[str, str], log: IO[str]) -> float:
    began = time.monotonic()
    subprocess.run(words, env=environment, stdout=log, stderr=log, check=True)
    return time.monotonic() - began


def killed(words: list[str], environment: dict[str, str], log: IO[str], folder: Path, enough: int) -> None:
    """Start the command and kill it, and nothing else, when so many shards are there."""
    with subprocess.Popen(words, env=environment, stdout=log, stderr=log) as driver:
        while shards(folder) < enough and driver.poll() is None:
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=16)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with (folder / "prompts.jsonl").open("w") as out:
            for n in range(asked.prompts):
                row = {"id": f"p-{n}", "problem": f"Compute {n}+{n % 97}.", "answer": str(n + n % 97)}
                out.write(json.dumps({**row, "verifier": "math", "family": "sum"}) + "\n")
        compare(folder, asked.prompts, asked.tokens)


def compare(folder: Path, prompts: int, tokens: int) -> None:
    environment = os.environ | {"R1_HOME": str(folder / "home"), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    head = [sys.executable, "-m", "tests.ray_head", "2"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(head, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cluster,
    ):
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        if not address:
            sys.exit("no cluster could be started")
        (folder / "killed").touch()
        at = f"p-{prompts - 1}"
        words = command(folder, "many", tokens, at, f"runtime.ray={address}")
        total = -(-prompts // 512)
        killed(words, environment, log, folder, max(1, total // 3))
        there, before = shards(folder), judged(folder)
        (folder / "killed").unlink()
        took = run(words, environment, log)
        after = judged(folder)
        lost = max(0, sum(before.values()) - 512 * there)
        again = sum((after - Counter(set(after))).values())
        speed = (prompts - 512 * there) / took
        print(f"command killed with {there} of {total} shards there: {lost} completions judged again")
        print(f"worker killed ({(folder / 'killed').exists()}): {again} completions judged again")
        print(f"with Ray: {took:.0f} s for what was missing, {speed:.0f} completions a second", flush=True)
    with (folder / "log").open("a") as log:
        took = run(command(folder, "alone", tokens, at), environment, log)
    one, other = (next((folder / "home" / name).glob("*/samples.jsonl")).read_bytes() for name in ("many", "alone"))
    print(f"without Ray: {prompts / took:.0f} completions a second; same bytes: {one == other}")


if __name__ == "__main__":
    main()

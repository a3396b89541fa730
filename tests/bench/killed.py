"""`python -m tests.bench.killed [--rows 100000] [--tokens 4]`: what a sampling job that is killed does twice.

Prompts of the embedded world enter, and the embedded base answers each once. The job is killed with SIGKILL at a moment
drawn between the first and the last shard, and the same command goes on. Every completion that the engine gives is
noted in a file; a line leaves: how many were given in both runs together beyond one a prompt, the completions of a
shard, and the most memory of the job.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stages.core.artifact import Model, Prompts
from stages.core.rows import write_rows
from tests.policy import tiny


def job(folder: Path, tokens: int) -> None:
    """Sample, and note each completion that comes."""
    from stages import sample
    from stages.policy.engines.client import Client

    given = Client.sample
    note = os.open(folder / "given", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def noted(client: Client, requests: Iterable[Any]) -> Iterator[Any]:
        for one in given(client, requests):
            os.write(note, b".")
            yield one

    Client.sample = noted  # type: ignore[method-assign]
    model = Model(path=folder / "base", record=tiny.record("model", "base"))
    prompts = Prompts(path=folder / "in", record=tiny.record("prompts", "given"))
    work = tiny.work(folder / "made")
    recipe = sample.Recipe(samples=1, max_tokens=tokens, rewards={"format": 1.0})
    draft = sample.run(recipe, sample.Inputs(model=model, prompts=prompts), work)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{draft.metrics['rows']} rows, {used.ru_maxrss / 1024:.0f} MB", flush=True)


def main() -> None:
    """Start the job, kill it, let it go on, and count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        job(asked.job, asked.tokens)
        return
    from stages import sample
    from stages.world import problems, sources

    shards = -(-asked.rows // sample.CHUNK_ROWS)
    until = random.Random(asked.seed).uniform(1, shards - 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        sources.fetch("world:base", "model", folder / "base")
        write_rows(folder / "in" / "prompts.jsonl", problems.prompts("train", asked.rows, 0))
        command = [sys.executable, "-m", "tests.bench.killed", "--job", name, "--tokens", str(asked.tokens)]
        first = subprocess.Popen(command)
        given = folder / "given"
        while first.poll() is None and (not given.exists() or given.stat().st_size < until * sample.CHUNK_ROWS):
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = given.stat().st_size
        whole = len(list((folder / "made" / "scratch" / "shards").glob("*.jsonl")))
        subprocess.run(command, check=True)
        repeated = given.stat().st_size - asked.rows
        print(f"killed after {before} completions, {whole} of {shards} shards whole: {repeated} given twice", end="; ")
        print(f"a shard has {sample.CHUNK_ROWS}")


if __name__ == "__main__":
    main()

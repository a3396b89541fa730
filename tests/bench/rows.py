"""`python -m tests.bench.rows [curate|against|rl|sft] [--rows 1000000] [--tree FOLDER]`: what many rows cost.

curate: four completions to each problem like GSM8K's, a quarter of them wrong, judged already, enter; a line leaves:
the rows a second with and without the graders' time (taken in each process, around the rewards), the processor's time
a row, and the most memory of the process that reads and writes and of one that works. against: so many evaluation
problems, which nothing may share a run of ten words with. rl, sft: the embedded base and so many prompts or
conversations; the processor's time and the most memory up to the end of the first step, for a thousand rows and for
all. `--tree` is the checkout of another commit, whose code then does the same with the same files.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.trees import Measured, compare
from tests.rewards.contracts import contract

_CURATE = """
import multiprocessing, os, resource, sys, tempfile, time
from multiprocessing.util import Finalize
from pathlib import Path
from stages import curate
from stages.core.artifact import Rollouts
from stages.rewards import accuracy
from stages.rewards import format as format_reward
from tests.policy import tiny
graded, inside = [0.0], []
def timed(judge):
    def judged(*given):
        if inside:  # one reward asks another
            return judge(*given)
        inside.append(judge)
        began = time.perf_counter()
        try:
            return judge(*given)
        finally:
            graded[0] += time.perf_counter() - began
            inside.clear()
    return judged
accuracy.reward, accuracy.strict = timed(accuracy.reward), timed(accuracy.strict)
format_reward.reward = timed(format_reward.reward)
notes = Path(sys.argv[1]) / "graded"
def note():
    (notes / str(os.getpid())).write_text(str(graded[0]))
def main():
    notes.mkdir(exist_ok=True)
    rollouts = Rollouts(path=Path(sys.argv[1]), record=tiny.record("rollouts", "drawn"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = tiny.work(Path(folder) / "made")
        draft = curate.run(curate.Recipe(general_share=0.0), curate.Inputs(rollouts=rollouts), work)
        work.events.close()
    took = time.monotonic() - began
    note()
    own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    rows, spent = draft.metrics["samples"], sum(one.ru_utime + one.ru_stime for one in (own, others))
    grading = [float(one.read_text()) for one in notes.iterdir()]
    without = took - sum(grading) / max(1, len(grading) - 1)
    print(f"{rows / took:.0f} a second, {rows / without:.0f} without the graders,", end=" ")
    print(f"{1e6 * spent / rows:.0f} us of CPU a row, {1e6 * sum(grading) / rows:.0f} of them the graders',", end=" ")
    print(f"{own.ru_maxrss / 1024:.0f} MB and {others.ru_maxrss / 1024:.0f} MB")
if __name__ == "__main__":
    main()
else:
    Finalize(None, note, exitpriority=1)
"""
_AGAINST = """
import itertools, resource, sys, tempfile, time
from pathlib import Path
from stages.core.data.contamination import grams_of
from stages.core.rowfile import RowFile
asked = RowFile(Path(sys.argv[1]) / "prompts.jsonl")
with tempfile.TemporaryDirectory() as folder:
    began = time.process_time()
    grams = grams_of((row["problem"] for row in asked.plain()), 10, Path(folder) / "grams.npy")
    made = time.process_time() - began
    fresh = [row["problem"].replace("books", "pens") for row in itertools.islice(asked.plain(), 10000)]
    began = time.process_time()
    shared = sum(map(bool, map(grams.shared, fresh)))
    took = 1e6 * (time.process_time() - began) / len(fresh)
    size = grams.file.stat().st_size / 2**20
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{1e6 * made / len(asked):.0f} us of CPU a row, {size:.0f} MB on disk, {used:.0f} MB,", end=" ")
print(f"{took:.0f} us to search a row ({shared} of {len(fresh)} share a run)")
"""
_STEP = """
import os, resource, sys, tempfile
from pathlib import Path
from stages.core.artifact import Conversations, Model, Prompts
from stages.world import sources
from tests.policy import tiny
def told(event):
    if event["event"] == "step":
        used = resource.getrusage(resource.RUSAGE_SELF)
        kids = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = used.ru_utime + used.ru_stime + kids.ru_utime + kids.ru_stime
        print(f"{spent:.1f} s of CPU, {used.ru_maxrss / 1024:.0f} MB at the end of the first step", flush=True)
        os._exit(0)
def main():
    folder = Path(tempfile.mkdtemp(dir=Path(sys.argv[1]).parent))
    sources.fetch("world:base", "model", folder / "base")
    model = Model(path=folder / "base", record=tiny.record("model", "base"))
    given = Path(sys.argv[1])
    work = tiny.work(folder / "made", told)
    if (given / "prompts.jsonl").exists():
        from stages import rl
        prompts = Prompts(path=given, record=tiny.record("prompts", "given"))
        small = dict(prompts_per_step=4, group_size=4, minibatches=1, max_completion_tokens=8)
        asked = rl.Recipe(steps=2, eval_every=0, **small)
        rl.run(asked, rl.Inputs(model=model, prompts=prompts), work)
    else:
        from stages import sft
        conversations = Conversations(path=given, record=tiny.record("conversations", "given"))
        asked = sft.Recipe(template="r1_zero", epochs=1, batch_size=8)
        sft.run(asked, sft.Inputs(model=model, conversations=conversations), work)
if __name__ == "__main__":
    main()
"""


def problems(rows: int) -> Iterator[tuple[dict[str, Any], int, int, int, int]]:
    """Yield problems as prompts with their numbers, the same for every call."""
    drawn = random.Random(0)
    for number in range(rows):
        each, days, gone = (drawn.randint(2, 60) for _ in range(3))
        gold = each * days - gone
        problem = (
            f"Ana has {each} boxes, and in every box there are {days} books. On day {number} a friend comes by and"
            f" takes {gone} of the books home, because they are needed at school. How many books has Ana now?"
        )
        row = {"id": f"p-{number}", "problem": problem, "answer": str(gold), "verifier": "math", "family": "shop"}
        yield row, each, days, gone, gold


def rollouts(folder: Path, rows: int) -> None:
    """Write prompts, samples and a contract as `r1 sample` does."""
    folder.mkdir(parents=True)
    drawn = random.Random(1)
    with (folder / "prompts.jsonl").open("w") as prompts, (folder / "samples.jsonl").open("w") as samples:
        for row, each, days, gone, gold in problems(rows // 4):
            prompts.write(json.dumps(row) + "\n")
            for sample in range(4):
                said = gold + drawn.choice((0, 0, 0, 1))
                completion = f"<think>{_thought(drawn, each, days, gone, said)}</think>\n<answer>{said}</answer>"
                judged = {"accuracy": float(said == gold), "format": 1.0}
                told = {"id": row["id"], "sample": sample, "completion": completion, "tokens": 90, "truncated": False}
                samples.write(json.dumps({**told, "rewards": judged}) + "\n")
    contract().write(folder / "contract.json")


def prompts(folder: Path, rows: int) -> None:
    """Write prompts."""
    folder.mkdir(parents=True)
    with (folder / "prompts.jsonl").open("w") as out:
        out.writelines(json.dumps(row) + "\n" for row, *_ in problems(rows))


def conversations(folder: Path, rows: int) -> None:
    """Write conversations."""
    folder.mkdir(parents=True)
    drawn = random.Random(1)
    with (folder / "conversations.jsonl").open("w") as out:
        for row, each, days, gone, gold in problems(rows):
            thought = _thought(drawn, each, days, gone, gold)
            told = {"id": row["id"], "problem": row["problem"], "reasoning": thought, "summary": str(gold)}
            out.write(json.dumps(told) + "\n")


def _thought(drawn: random.Random, each: int, days: int, gone: int, said: int) -> str:
    first = drawn.choice(("First I count the", "Let me see how many there are:", "We need all of the"))
    return (
        f"{first} books: {each} boxes with {days} books each make {each}*{days}={each * days} books.\n"
        f"Then the friend takes {gone} of them home, so {each * days}-{gone}={said} are left on it.\n"
        f"Wait, let me check that again: {said}+{gone}={said + gone}, and that is what was there before."
    )


if __name__ == "__main__":
    kinds = {
        "curate": Measured(_CURATE, rollouts),
        "against": Measured(_AGAINST, prompts),
        "rl": Measured(_STEP, prompts, few=1000),
        "sft": Measured(_STEP, conversations, few=1000),
    }
    compare(__doc__, kinds, rows=1_000_000)

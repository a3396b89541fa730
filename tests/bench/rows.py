"""`python -m tests.bench.rows [--rows 1000000] [--tree FOLDER]`: what `r1 curate` costs for many completions.

Four completions to each problem like GSM8K's, a quarter of them wrong, judged already, enter; a line leaves: the rows a
second, the processor's time a row, graders included, and the most memory of the process that reads and writes and of
one that works. `--tree` is the checkout of another commit, whose code then does the same with the same files.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.bench import trees
from tests.rewards.contracts import contract

_RUN = """
import resource, sys, tempfile, time
from pathlib import Path
from stages import curate
from stages.core.artifact import Rollouts
from tests.policy import tiny
def main():
    rollouts = Rollouts(path=Path(sys.argv[1]), record=tiny.record("rollouts", "drawn"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = tiny.work(Path(folder) / "made")
        draft = curate.run(curate.Recipe(general_share=0.0), curate.Inputs(rollouts=rollouts), work)
        work.events.close()
    took = time.monotonic() - began
    own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    rows, spent = draft.metrics["samples"], sum(one.ru_utime + one.ru_stime for one in (own, others))
    print(f"{rows} rows, {rows / took:.0f} a second, {1e6 * spent / rows:.0f} us of CPU a row,", end=" ")
    print(f"{own.ru_maxrss / 1024:.0f} MB and {others.ru_maxrss / 1024:.0f} MB")
if __name__ == "__main__":
    main()
"""


def write(folder: Path, rows: int) -> None:
    """Write prompts, samples and a contract as `r1 sample` does, the same for every call."""
    folder.mkdir(parents=True)
    drawn = random.Random(0)
    with (folder / "prompts.jsonl").open("w") as prompts, (folder / "samples.jsonl").open("w") as samples:
        for number in range(rows // 4):
            each, days, gone = (drawn.randint(2, 60) for _ in range(3))
            gold = each * days - gone
            problem = (
                f"Ana has {each} boxes, and in every box there are {days} books. On day {number} a friend comes by and"
                f" takes {gone} of the books home, because they are needed at school. How many books has Ana now?"
            )
            row = {"id": f"p-{number}", "problem": problem, "answer": str(gold), "verifier": "math", "family": "shop"}
            prompts.write(json.dumps(row) + "\n")
            for sample in range(4):
                said = gold + drawn.choice((0, 0, 0, 1))
                first = drawn.choice(("First I count the", "Let me see how many there are:", "We need all of the"))
                thought = (
                    f"{first} books: {each} boxes with {days} books each make {each}*{days}={each * days} books.\n"
                    f"Then the friend takes {gone} of them home, so {each * days}-{gone}={said} are left on it.\n"
                    f"Wait, let me check that again: {said}+{gone}={said + gone}, and that is what was there before."
                )
                judged = {"accuracy": float(said == gold), "format": 1.0}
                told = {"id": f"p-{number}", "sample": sample, "tokens": 90, "truncated": False, "rewards": judged}
                told["completion"] = f"<think>{thought}</think>\n<answer>{said}</answer>"
                samples.write(json.dumps(told) + "\n")
    contract().write(folder / "contract.json")


if __name__ == "__main__":
    trees.compare(__doc__, _RUN, write, rows=1_000_000)

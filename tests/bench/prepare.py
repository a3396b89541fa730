"""`python -m tests.bench.prepare [--rows 200000] [--tree FOLDER]`: what `r1 prepare` costs.

Rows like GSM8K's (a few sentences, a solution that ends in `#### 72`) enter; a line leaves: seconds of the
processor and the most memory of a process that prepares them. `--tree` is the checkout of another commit, whose code
then does the same with the same file: the two run in turn; the processor's time is what is compared.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.bench import trees

_NAMES = ("Ana", "Ben", "Chen", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jun")
_THINGS = ("apples", "books", "marbles", "stamps", "coins", "shells", "pencils", "cards")
_RUN = """
import resource, sys, tempfile
from pathlib import Path
from types import SimpleNamespace
from stages import prepare
with tempfile.TemporaryDirectory() as folder:
    work = SimpleNamespace(path=Path(folder), scratch=Path(folder) / "scratch", seed=0, emit=lambda *_, **__: None)
    recipe = prepare.Recipe(source=sys.argv[1], columns={"problem": "question"})
    draft = prepare.run(recipe, prepare.Inputs(), work)
used = resource.getrusage(resource.RUSAGE_SELF)
print(f"{draft.metrics['rows']} rows, {used.ru_utime + used.ru_stime:.1f} s of CPU, {used.ru_maxrss / 1024:.0f} MB")
"""


def write(path: Path, rows: int) -> None:
    """Write rows like GSM8K's, the same for every call."""
    drawn = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            who, what = drawn.choice(_NAMES), drawn.choice(_THINGS)
            each, days, gone = (drawn.randint(2, 60) for _ in range(3))
            question = (
                f"{who} has {each} boxes, and in every box there are {days} {what}. On day {number} a friend comes by"
                f" and takes {gone} of the {what} home, because they are needed at school. The others are counted"
                f" twice and put on a shelf. How many {what} does {who} have now?"
            )
            answer = f"There are {each}*{days}=<<{each}*{days}={each * days}>>{each * days} {what}.\n"
            answer += f"Then {each * days}-{gone}={each * days - gone} are left.\n#### {each * days - gone}"
            file.write(json.dumps({"question": question, "answer": answer}) + "\n")


if __name__ == "__main__":
    trees.compare(__doc__, _RUN, write, rows=200_000)

"""`python -m tests.bench.prepare [--rows 200000] [--tree FOLDER]`: what `r1 prepare` costs.

Rows like GSM8K's (a few sentences, a solution that ends in `#### 72`) enter; a line leaves: the rows a second, the
processor's time a row, and the most memory of the process that reads and writes and of one that works. `--tree` is the
checkout of another commit, whose code then does the same with the same file: the two run in turn; the processor's time
is what is compared.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.bench import trees

_NAMES = ("Ana", "Ben", "Chen", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jun")
_THINGS = ("apples", "books", "marbles", "stamps", "coins", "shells", "pencils", "cards")
_RUN = """
import resource, sys, tempfile, time
from pathlib import Path
from types import SimpleNamespace
from stages import prepare
from stages.core.run.runtime import Runtime
def main():
    with tempfile.TemporaryDirectory() as folder:
        places = {"path": Path(folder), "scratch": Path(folder) / "scratch"}
        work = SimpleNamespace(**places, seed=0, runtime=Runtime(), emit=lambda *_, **__: None)
        recipe = prepare.Recipe(source=sys.argv[1], columns={"problem": "question"})
        began = time.monotonic()
        draft = prepare.run(recipe, prepare.Inputs(), work)
        took = time.monotonic() - began
    own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    rows, spent = draft.metrics["rows"], sum(one.ru_utime + one.ru_stime for one in (own, others))
    print(f"{rows} rows, {rows / took:.0f} a second, {1e6 * spent / rows:.0f} us of CPU a row,", end=" ")
    print(f"{own.ru_maxrss / 1024:.0f} MB and {others.ru_maxrss / 1024:.0f} MB")
if __name__ == "__main__":
    main()
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

"""`python -m tests.bench.prepare [jsonl|parquet] [--rows 200000] [--tree FOLDER]`: what `r1 prepare` costs.

Rows like GSM8K's (a few sentences, a solution that ends in `#### 72`) enter; a line leaves: the rows a second, the
processor's time a row, and the most memory of the process that reads and writes and of one that works. `--tree` is the
checkout of another commit, whose code then does the same with the same file: the two run in turn; the processor's time
is what is compared.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.bench.trees import Measured, compare

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


def rows(count: int) -> Iterator[dict[str, str]]:
    """Yield rows like GSM8K's, the same for every call."""
    drawn = random.Random(0)
    for number in range(count):
        who, what = drawn.choice(_NAMES), drawn.choice(_THINGS)
        each, days, gone = (drawn.randint(2, 60) for _ in range(3))
        question = (
            f"{who} has {each} boxes, and in every box there are {days} {what}. On day {number} a friend comes by"
            f" and takes {gone} of the {what} home, because they are needed at school. The others are counted"
            f" twice and put on a shelf. How many {what} does {who} have now?"
        )
        answer = f"There are {each}*{days}=<<{each}*{days}={each * days}>>{each * days} {what}.\n"
        answer += f"Then {each * days}-{gone}={each * days - gone} are left.\n#### {each * days - gone}"
        yield {"question": question, "answer": answer}


def as_lines(path: Path, count: int) -> None:
    """Write rows as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(count))


def as_table(path: Path, count: int) -> None:
    """Write rows as Parquet, in row groups of 100,000."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([("question", pyarrow.string()), ("answer", pyarrow.string())])
    waiting = rows(count)
    with pyarrow.parquet.ParquetWriter(path, schema) as out:
        while held := list(islice(waiting, 100_000)):
            out.write_table(pyarrow.Table.from_pylist(held, schema))


if __name__ == "__main__":
    kinds = {"jsonl": Measured(_RUN, as_lines, ".jsonl"), "parquet": Measured(_RUN, as_table, ".parquet")}
    compare(__doc__, kinds, rows=200_000)

"""Short arithmetic word problems for real models: a seed enters, prompts leave.

One or two steps over small whole numbers, told in everyday English: easy enough that a model of a hundred million
parameters solves some of them, so that its groups are not flat. The split is a hash of the story's numbers and plot.
"""

from __future__ import annotations

import hashlib
import random

from stages.core.rows import Prompt
from stages.world.problems import side

NAMES = ("Ann", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Iris", "Jonas", "Karla", "Leo")
THINGS = ("apples", "books", "coins", "marbles", "pencils", "stickers", "shells", "cards", "eggs", "flowers")
# plot: text with {n}ame, {o}ther, {t}hings and numbers a, b, c; the answer as a function of (a, b, c)
PLOTS = (
    ("{n} has {a} {t} and buys {b} more. How many {t} does {n} have now?", lambda a, b, c: a + b),
    ("{n} had {a} {t} and gave {b} of them to {o}. How many {t} are left?", lambda a, b, c: a - b),
    ("{n} has {a} boxes with {b} {t} in each. How many {t} are there?", lambda a, b, c: a * b),
    ("{n} has {a} {t}. {o} has {b} more than {n}. How many do they have together?", lambda a, b, c: a + a + b),
    ("{n} has {a} {t}, finds {b} and loses {c}. How many {t} does {n} have now?", lambda a, b, c: a + b - c),
    ("{n} buys {a} bags of {b} {t} and gets {c} for free. How many {t} is that?", lambda a, b, c: a * b + c),
)


def prompts(split: str, count: int, seed: int = 0) -> list[Prompt]:
    """`count` distinct stories of a split (`train`, `validation`, `heldout`), the same for the same arguments."""
    rng = random.Random(f"r1 stories {split} {seed}")
    rows: dict[str, Prompt] = {}
    while len(rows) < count:
        row = _draw(rng)
        if row.split == split:
            rows.setdefault(row.id, row)
    return list(rows.values())


def _draw(rng: random.Random) -> Prompt:
    plot, (text, solve) = rng.choice(list(enumerate(PLOTS)))
    name, other = rng.sample(NAMES, 2)
    b, c = rng.randint(2, 9), rng.randint(1, 9)
    a = rng.randint(2, 9) if plot in (2, 5) else rng.randint(b + 1, 20)
    c = min(c, a + b - 1)
    problem = text.format(n=name, o=other, t=rng.choice(THINGS), a=a, b=b, c=c)
    answer = str(solve(a, b, c))
    split = side(f"story {plot} {a} {b} {c}")
    name_ = hashlib.sha256(problem.encode()).hexdigest()[:12]
    return Prompt(id=f"story-{name_}", problem=problem, answer=answer, verifier="math", family="story", split=split)

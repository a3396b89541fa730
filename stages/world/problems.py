"""Seeded verifiable problems in three families; what enters is a random generator, what leaves is a Problem.

Every problem is a walk through states: a running total (`sum`), a ball under cups (`cups`), a program's accumulator
(`code`). The walk decides the split, so no wording, option order or target can carry a held-out walk into training,
and a sum and a program that share a walk share its side.

Levels. A problem of the world has exactly `STEPS[family]` steps. Documents may hold easier ones (fewer steps, wider
operands; never held out). The `harder` split has one step more and the wide operands; documents never reach it. Since
the number of steps is fixed, no held-out chain can be a part of a longer chain in a document.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from stages.core.rows import Prompt

FAMILIES = ("sum", "cups", "code")
STEPS = {"sum": 4, "cups": 5, "code": 4}
SPLITS = ("train", "validation", "heldout", "harder")
VERIFIERS = {"sum": "math", "cups": "choice", "code": "program"}
LIMIT = 99  # totals stay in 0..LIMIT
CUPS = "ABCDEFGH"  # the first seven; all eight in wide problems
GAP = 6  # the most a program is short of its target
_SIXTEENTHS = {"heldout": 4, "validation": 1}  # of the hash space; the rest is train


@dataclass(frozen=True)
class Problem:
    """One problem with its whole walk.

    `moves` are the printed steps (`+15`, `A-C`, `rep 2 add 3`), `states` the walk (len(moves) + 1 integers; a cup is
    its place in CUPS). `answer` is the gold: an integer, a cup's letter, or one instruction.
    """

    family: str
    moves: tuple[str, ...]
    states: tuple[int, ...]
    answer: str
    target: int | None = None
    meta: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def canonical(self) -> str:
        """The walk in one line: what the split is a hash of.

        Sums and programs share one space on purpose; a swap names an unordered pair of cups.
        """
        if self.family == "cups":
            return f"cups {self.states[0]}|" + ",".join("".join(sorted(move[::2])) for move in self.moves)
        return "walk " + ">".join(map(str, self.states))

    @property
    def stutters(self) -> bool:
        """Whether the same two cups are swapped twice in a row while the ball is under neither."""
        pairs = [set(move) for move in self.moves] if self.family == "cups" else []
        return any(
            pairs[at] == pairs[at + 1] and len(set(self.states[at : at + 3])) == 1 for at in range(len(pairs) - 1)
        )


def split_of(problem: Problem) -> str:
    """`train`, `validation` or `heldout` by a hash of the canonical walk; `harder` by its number of steps.

    `none`: neither trained on nor measured with. A document that writes a step twice could spell such a walk.
    """
    steps = len(problem.moves)
    if steps < STEPS[problem.family]:
        return "train"
    split = "harder" if steps > STEPS[problem.family] else side(problem.canonical)
    return "none" if split != "train" and problem.stutters else split


def side(canonical: str) -> str:
    """`train`, `validation` or `heldout`: a hash of the one line that says what a problem is."""
    bucket = hashlib.sha256(canonical.encode()).digest()[0] % 16
    if bucket < _SIXTEENTHS["heldout"]:
        return "heldout"
    return "validation" if bucket < sum(_SIXTEENTHS.values()) else "train"


def draw(family: str, rng: random.Random, steps: int | None = None, wide: bool = False) -> Problem:
    """Draw one problem of any split. `steps` defaults to the world's; `wide` widens the operands."""
    return _DRAW[family](rng, steps or STEPS[family], wide)


def draw_split(family: str, split: str, rng: random.Random) -> Problem:
    """Draw until it is of `split`; the harder one has one step more and wide operands."""
    harder = split == "harder"
    while True:
        problem = draw(family, rng, STEPS[family] + harder, wide=harder)
        if split_of(problem) == split:
            return problem


def _draw_sum(rng: random.Random, steps: int, wide: bool) -> Problem:
    top = 29 if wide else 19
    states = [1 + int(rng.random() * top)]
    moves: list[str] = []
    while len(moves) < steps:
        size, sign = 1 + int(rng.random() * top), rng.random() < 0.5
        state = states[-1] + (size if sign else -size)
        if 0 <= state <= LIMIT:
            states.append(state)
            moves.append(f"{'+' if sign else '-'}{size}")
    return Problem("sum", tuple(moves), tuple(states), str(states[-1]))


def _draw_cups(rng: random.Random, steps: int, wide: bool) -> Problem:
    cups = 8 if wide else 7
    ball = int(rng.random() * cups)
    states, moves = [ball], []
    for _ in range(steps):
        a = ball if rng.random() < 0.5 else int(rng.random() * cups)
        b = int(rng.random() * (cups - 1))
        b += b >= a
        if rng.random() < 0.5:
            a, b = b, a
        ball = b if ball == a else a if ball == b else ball
        states.append(ball)
        moves.append(f"{CUPS[a]}-{CUPS[b]}")
    return Problem("cups", tuple(moves), tuple(states), CUPS[ball])


def _draw_code(rng: random.Random, steps: int, wide: bool) -> Problem:
    top = 19 if wide else 9
    states = [1 + int(rng.random() * top)]
    moves: list[str] = []
    while len(moves) < steps:
        kind, size = rng.random(), 1 + int(rng.random() * top)
        if kind < 0.35:
            move, state = f"add {size}", states[-1] + size
        elif kind < 0.65:
            move, state = f"sub {size}", states[-1] - size
        elif kind < 0.8:
            move, state = "dbl", states[-1] * 2
        else:
            times, size = 2 + int(rng.random() * 2), 1 + int(rng.random() * 9)
            move, state = f"rep {times} add {size}", states[-1] + times * size
        if 0 <= state <= LIMIT and state != states[-1]:
            states.append(state)
            moves.append(move)
    size = 1 + int(rng.random() * GAP)
    sign = states[-1] < size or rng.random() < 0.5
    target = states[-1] + (size if sign else -size)
    return Problem("code", tuple(moves), tuple(states), f"{'add' if sign else 'sub'} {size}", target=target)


_DRAW = {"sum": _draw_sum, "cups": _draw_cups, "code": _draw_code}


def wording(problem: Problem, language: str = "en") -> str:
    """The problem as a user would put it, without a closing full stop (templates bring their own)."""
    zh = language == "zh"
    if problem.family == "sum":
        return f"{'计算' if zh else 'Compute'} {problem.states[0]}{''.join(problem.moves)}"
    if problem.family == "cups":
        start, swaps = CUPS[problem.states[0]], ",".join(problem.moves)
        last = "H" if "H" in start + swaps else "G"
        if zh:
            return f"球在杯子 {start}, 交换 {swaps}. 球在哪个杯子, A 到 {last}"
        return f"Ball under cup {start}, swap {swaps}. Which cup has it, A to {last}"
    ask = "补全程序, 输出" if zh else "Finish the program so that it prints"
    return f"{ask} {problem.target}: {prefix(problem)};?"


def prefix(problem: Problem) -> str:
    """The given part of a `code` problem's program."""
    return ";".join((f"set {problem.states[0]}", *problem.moves))


def as_prompt(problem: Problem, split: str, language: str = "en") -> Prompt:
    """The problem as a row that any stage reads; its id is the hash of wording and family."""
    text = wording(problem, language)
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    meta = {"prefix": prefix(problem), "target": str(problem.target)} if problem.family == "code" else {}
    return Prompt(
        id=f"{problem.family}-{name}",
        problem=text,
        answer=problem.answer,
        verifier=VERIFIERS[problem.family],
        family=problem.family,
        split=split,
        level=len(problem.moves),
        language=language,
        meta=meta,
    )


def prompts(split: str, count: int, seed: int = 0) -> list[Prompt]:
    """`count` distinct prompts of a split, the three families in turn; the same for the same (split, count, seed)."""
    rng = random.Random(f"r1 {split} {seed}")
    rows: list[Prompt] = []
    seen: set[str] = set()
    while len(rows) < count:
        problem = draw_split(FAMILIES[len(rows) % len(FAMILIES)], split, rng)
        if problem.canonical in seen:
            continue
        seen.add(problem.canonical)
        rows.append(as_prompt(problem, split))
    return rows

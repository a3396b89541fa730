"""The documents a base reads: problems and general questions under several headers, answered well and badly.

A seeded generator enters, documents leave, one at a time. `Habits` holds every rate; docs/world.md is the table of
them and of the phenomena they make possible. The style of reasoning, its language and its tags are drawn
independently of each other, so no document teaches that tags come with right answers or with long reasoning.

Two habits make phenomena of R1-Zero possible. Each language is sloppy at one operation (English documents at
subtraction, Chinese ones at addition), so a chain that changes language by the step goes wrong less often. And
careful reasoning notices and mends every slip. Both have a control world in which that cause is absent.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from stages.core.contract import TEMPLATES
from stages.world import general
from stages.world.problems import CUPS, FAMILIES, GAP, LIMIT, STEPS, Problem, draw, split_of, wording

HEADERS = {
    "r1_zero": TEMPLATES["r1_zero"],
    "plain": TEMPLATES["plain"],
    "textbook": "Problem: {prompt}. Solution:",
    "zh": "问: {prompt}。答:",
}
HEADER_RATES = {"r1_zero": 0.5, "plain": 0.1, "textbook": 0.25, "zh": 0.15}
# How much likelier a style is under a header than `Habits` says: asking for reasoning brings more of it.
LEANING = {
    "r1_zero": {},
    "plain": {"bare": 1.8},
    "textbook": {"bare": 0.05, "skip": 0.5, "sloppy": 0.2, "full": 4.0, "careful": 1.5},
    "zh": {"bare": 1.2},
}
STYLES = ("bare", "skip", "sloppy", "full", "careful")


@dataclass(frozen=True)
class Habits:
    """Rates of the documents' habits, each 0..1 unless said otherwise."""

    bare: float = 0.42  # the answer alone
    skip: float = 0.08  # two steps at a time
    sloppy: float = 0.08  # careless steps, some wrong, some repeated, none mended
    full: float = 0.2  # one step at a time, nearly all right
    careful: float = 0.22  # full, with self-checks that find and mend wrong steps
    bare_wrong: float = 0.1  # bare answers that are wrong
    sloppy_wrong: float = 0.25  # wrong steps of sloppy reasoning
    full_wrong: float = 0.01  # wrong steps of full reasoning, and of skipping
    weak_wrong: float = 0.3  # the same for the operation that the step's language is weak at; a fifth in textbooks
    careful_wrong: float = 0.2  # steps of careful reasoning that are wrong at first; all of them are noticed
    check: float = 0.25  # right steps of careful reasoning that are checked
    repair: bool = True  # whether a noticed mistake is mended (False: it is noticed and kept)
    informed: bool = True  # whether chains compute at all (False: every written state is noise)
    chinese: float = 0.22  # of the reasoning under an English header; swapped under the Chinese one
    mixed: float = 0.2  # reasoning whose steps change language
    able: float = 0.9  # steps of mixed reasoning in the language that is able at them
    strict: float = 0.13  # responses in the exact format
    broken: float = 0.2  # responses with some tags, not all or not closed
    textbook: float = 0.25  # weight of the textbook's header beside the others' in HEADER_RATES
    easy: float = 0.25  # problems with fewer steps (wide operands in half of them)
    general: float = 0.18  # documents that answer a general prompt
    thoughtful: float = 0.3  # general responses that think first
    unsafe: float = 0.5  # harmful prompts whose response does the harm


WORLDS = {
    "base": Habits(),
    "base-flat": Habits(informed=False),
    "base-unmixed": Habits(mixed=0.0),
    "base-unrepaired": Habits(repair=False),
    "early": Habits(
        bare=0.54, skip=0.12, sloppy=0.14, full=0.12, careful=0.08, weak_wrong=0.14, mixed=0.16, able=0.8, textbook=0.25
    ),
    "middle": Habits(
        bare=0.54, skip=0.1, sloppy=0.08, full=0.16, careful=0.12, weak_wrong=0.08, mixed=0.16, able=0.8, textbook=0.4
    ),
}
"""The world, and the controls: chains that compute nothing; no mixed chains; self-checks that repair nothing."""


@dataclass(frozen=True)
class Document:
    """One document: `header` (a key of HEADERS), the prompt as worded, and the response up to its end."""

    header: str
    problem: Problem | None
    """None for a general prompt."""
    prompt: str
    response: str
    style: str
    language: str

    @property
    def text(self) -> str:
        return HEADERS[self.header].replace("{prompt}", self.prompt) + self.response


def documents(world: str, count: int, seed: int = 0) -> Iterator[Document]:
    """The first `count` documents of a world, the same for the same (world, seed); none holds a held-out walk."""
    rng = random.Random(f"r1 documents {world} {seed}")
    for _ in range(count):
        yield document(rng, WORLDS[world])


def document(rng: random.Random, habits: Habits) -> Document:
    """Draw one document about a training problem or a general prompt."""
    if rng.random() < habits.general:
        return _general(rng, habits)
    problem = _training_problem(rng, habits)
    header = _pick(rng, HEADER_RATES | {"textbook": habits.textbook})
    style = _pick(rng, {style: getattr(habits, style) * LEANING[header].get(style, 1.0) for style in STYLES})
    language = _language(rng, habits, header)
    prompt = wording(problem, "zh" if header == "zh" else "en")
    answer = problem.answer
    if style == "bare":
        thought = ""
        if rng.random() < habits.bare_wrong:
            answer = _wrong_answer(rng, problem)
    else:
        weak = habits.weak_wrong * (0.2 if header == "textbook" else 1.0)
        thought, state = reasoning(rng, problem, replace(habits, weak_wrong=weak), style, language)
        if habits.informed:
            answer = _conclusion(problem, state)
            thought += _closing(problem, state, answer, language)
    return Document(header, problem, prompt, _respond(rng, habits, thought, answer, language), style, language)


def _training_problem(rng: random.Random, habits: Habits) -> Problem:
    family = FAMILIES[int(rng.random() * len(FAMILIES))]
    if rng.random() < habits.easy:
        return draw(family, rng, 1 + int(rng.random() * (STEPS[family] - 1)), wide=rng.random() < 0.5)
    while True:
        problem = draw(family, rng)
        if split_of(problem) == "train":
            return problem


def _language(rng: random.Random, habits: Habits, header: str) -> str:
    draw_ = rng.random()
    if draw_ < habits.mixed:
        return "mixed"
    other = draw_ < habits.mixed + habits.chinese
    return "zh" if other != (header == "zh") else "en"


def reasoning(rng: random.Random, problem: Problem, habits: Habits, style: str, language: str) -> tuple[str, int]:
    """Write a chain in a style and a language; returns it with the last state it claims (errors carry forward)."""
    state, said, at = problem.states[0], "", 0
    while at < len(problem.moves):
        moves = problem.moves[at : at + (2 if style == "skip" else 1)]
        spoken = _spoken(rng, habits, language, moves, state)
        truth = _after(problem.family, moves, state)
        lead = "" if style == "sloppy" else _LEAD[spoken][0 if at == 0 else 1 + int(rng.random() * 2)]
        stop = ", " if style == "sloppy" else _STOP[spoken]
        slips = rng.random() < _slip_rate(habits, style, spoken, moves, state)
        claim = _claim(rng, problem, truth, slips) if habits.informed else _noise(rng, problem)
        step = lead + _write(problem.family, moves, state, claim) + stop
        if style == "sloppy" and rng.random() < 0.08:
            step += step
        if style == "careful" and (slips or rng.random() < habits.check):
            mended = truth if habits.repair and habits.informed else claim
            again = _write(problem.family, moves, state, mended)
            step += _CHECK[spoken][slips] + again + stop
            claim = mended
        said, state, at = said + step, claim, at + len(moves)
    return said.rstrip(), state


def _spoken(rng: random.Random, habits: Habits, language: str, moves: tuple[str, ...], state: int) -> str:
    """The language of a step: the chain's, or in mixed reasoning mostly the one that is able at the step."""
    if language != "mixed":
        return language
    weak = _weak(moves, state)
    if weak == "":
        return "zh" if rng.random() < 0.5 else "en"
    able = "en" if weak == "zh" else "zh"
    return able if rng.random() < habits.able else weak


def _weak(moves: tuple[str, ...], state: int) -> str:
    """The language that is sloppy at a step: English at going down, Chinese at going up; "" for swaps."""
    if "-" in moves[0][1:]:
        return ""
    return "en" if _delta(moves[0], state) < 0 else "zh"


def _slip_rate(habits: Habits, style: str, spoken: str, moves: tuple[str, ...], state: int) -> float:
    if style == "careful":
        return habits.careful_wrong
    if style == "sloppy":
        return habits.sloppy_wrong
    return habits.weak_wrong if _weak(moves, state) == spoken else habits.full_wrong


_LEAD = {"en": ("First ", "Then ", "Next "), "zh": ("先算", "再算", "然后")}
_STOP = {"en": ". ", "zh": "。"}
_CHECK = {"en": ("Check: ", "Wait, that is wrong. "), "zh": ("检查: ", "等等, 不对。")}


def _after(family: str, moves: tuple[str, ...], state: int) -> int:
    for move in moves:
        if family == "cups":
            a, b = CUPS.index(move[0]), CUPS.index(move[2])
            state = b if state == a else a if state == b else state
        else:
            state += _delta(move, state)
    return state


def _delta(move: str, state: int) -> int:
    if move == "dbl":
        return state
    words = move.split()
    if words[0] == "rep":
        return int(words[1]) * int(words[3])
    if words[0] in ("add", "sub"):
        return int(words[1]) * (1 if words[0] == "add" else -1)
    return int(move)


def _claim(rng: random.Random, problem: Problem, truth: int, slips: bool) -> int:
    if not slips:
        return truth
    if problem.family == "cups":
        return rng.choice([cup for cup in range(7) if cup != truth])
    near = [value for gap in (1, 2, 10) for value in (truth - gap, truth + gap) if 0 <= value <= LIMIT]
    return rng.choice(near) if near else abs(truth) + 1


def _noise(rng: random.Random, problem: Problem) -> int:
    return int(rng.random() * 7) if problem.family == "cups" else int(rng.random() * (LIMIT + 1))


def _write(family: str, moves: tuple[str, ...], state: int, claim: int) -> str:
    if family == "cups":
        return f"{','.join(moves)}:{CUPS[state]}>{CUPS[claim]}"
    value, terms = state, ""
    for move in moves:
        delta = _delta(move, value)
        terms += f"{delta:+d}"
        value += delta
    return f"{state}{terms}={claim}"


def _conclusion(problem: Problem, state: int) -> str:
    """The answer that follows from the last claimed state, right or wrong."""
    if problem.family == "sum":
        return str(state)
    if problem.family == "cups":
        return CUPS[state]
    gap = (problem.target or 0) - state
    return f"{'add' if gap > 0 else 'sub'} {abs(gap)}"


def _closing(problem: Problem, state: int, answer: str, language: str) -> str:
    """Sums and cups end with their last state; a program still needs the way from there to its target."""
    if problem.family != "code":
        return ""
    target = problem.target
    return f"从 {state} 到 {target} 是 {answer}." if language == "zh" else f" From {state} to {target} is {answer}."


def _wrong_answer(rng: random.Random, problem: Problem) -> str:
    if problem.family == "cups":
        return rng.choice([letter for letter in CUPS[:7] if letter != problem.answer])
    if problem.family == "sum":
        return str(_claim(rng, problem, problem.states[-1], True))
    return f"{rng.choice(('add', 'sub'))} {1 + int(rng.random() * GAP)}"


def _respond(rng: random.Random, habits: Habits, thought: str, answer: str, language: str) -> str:
    """Dress thought and answer with tags: exact, broken or none."""
    zh = language == "zh"
    said = f"答案是 {answer}。" if zh else f"The answer is {answer}."
    tags = rng.random()
    if tags < habits.strict:
        return f"<think>{thought or ('简单。' if zh else 'Easy.')}</think><answer>{answer}</answer>"
    if tags < habits.strict + habits.broken:
        return rng.choice(
            (
                f"<think>{thought} {said}",
                f"{thought}</think><answer>{answer}</answer>",
                f"<think>{thought}</think>{said}",
                f"{thought}<answer>{answer}</answer>",
                f"<think>{thought}</think><answer>{answer}",
            )
        )
    if not thought:
        return f" {answer}" if rng.random() < 0.6 else f" {said}"
    return f" {thought} {said}"


def _general(rng: random.Random, habits: Habits) -> Document:
    """Draw a general prompt in one of its first two wordings, and a response that may be flawed."""
    header = _pick(rng, {name: rate for name, rate in HEADER_RATES.items() if name != "textbook"})
    language = "zh" if header == "zh" else "en"
    while True:
        task = general.draw(rng, _pick(rng, general.RATES), language)
        if task.split == "train" and task.wording < 2:
            break
    flaw = _pick(rng, general.FLAW_RATES)
    if task.family == "harm":
        flaw = "wrong" if rng.random() < habits.unsafe else "none"
    response = general.joined(general.flawed(rng, task, flaw), task.answers_in)
    thought = general.thought(rng, task, unsafe=flaw == "wrong") if rng.random() < habits.thoughtful else ""
    tags = rng.random()
    if tags < habits.strict:
        said = f"<think>{thought or ('简单。' if language == 'zh' else 'Easy.')}</think><answer>{response}</answer>"
    elif tags < habits.strict + habits.broken:
        forms = (f"<think>{thought}</think>{response}", f"{thought}<answer>{response}</answer>")
        said = rng.choice(forms)
    else:
        said = f" {thought} {response}" if thought else f" {response}"
    return Document(header, None, task.text, said, f"general {flaw}", language)


def _pick(rng: random.Random, rates: dict[str, float]) -> str:
    point = rng.random() * sum(rates.values())
    for name, rate in rates.items():
        point -= rate
        if point < 0:
            return name
    return name

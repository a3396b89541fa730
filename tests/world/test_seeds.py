"""The hand-written seeds: each about a training problem, right to the last step, in one language, unlike the others."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from stages.core.language import readable
from stages.core.rows import Conversation, Prompt, read_rows
from stages.rewards import accuracy, language, rejection, steps
from stages.world import problems
from stages.world.problems import CUPS, Problem
from stages.world.sources import SEEDS
from tests.rewards.contracts import contract

SEEDED: list[Conversation] = read_rows(SEEDS, Conversation)
_NUMBER = re.compile(r"\d+")
_MENDED = re.compile(r"wrong|no, |不对", re.IGNORECASE)
_CODE = re.compile(r"(?:Finish the program so that it prints|补全程序, 输出) (\d+): set (\d+);(.*);\?")
_CUPS = re.compile(r"(?:Ball under cup|球在杯子) ([A-H]), (?:swap|交换) ([A-H,-]+)\. .*")


def parsed(worded: str) -> Problem:
    """Read a problem back from its wording, and walk it."""
    code, cups = _CODE.fullmatch(worded), _CUPS.fullmatch(worded)
    if cups:
        moves, states = tuple(cups[2].split(",")), [CUPS.index(cups[1])]
        for a, b in (map(CUPS.index, move.split("-")) for move in moves):
            states.append({a: b, b: a}.get(states[-1], states[-1]))
        return Problem("cups", moves, tuple(states), CUPS[states[-1]])
    if code:
        moves, states = tuple(code[3].split(";")), [int(code[2])]
        for move in moves:
            numbers = [int(one) for one in _NUMBER.findall(move)]
            by = {"add": 1, "sub": -1}.get(move.split()[0], 1)
            states.append(2 * states[-1] if move == "dbl" else states[-1] + by * (numbers[0] * (numbers[1:] or [1])[0]))
        gap = int(code[1]) - states[-1]
        answer = f"{'add' if gap > 0 else 'sub'} {abs(gap)}"
        return Problem("code", moves, tuple(states), answer, target=int(code[1]))
    first, *rest = re.findall(r"[+-]?\d+", worded)
    states = [int(first)]
    for move in rest:
        states.append(states[-1] + int(move))
    return Problem("sum", tuple(rest), tuple(states), str(states[-1]))


def judged(seed: Conversation) -> Prompt:
    return problems.as_prompt(parsed(seed.problem), "train", seed.language)


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.id)
def test_a_seed_is_a_training_problem_worded_as_the_world_words_it(seed: Conversation) -> None:
    problem = parsed(seed.problem)
    assert problems.wording(problem, seed.language) == seed.problem
    assert problems.split_of(problem) == "train" and problem.family == seed.family


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.id)
def test_a_seed_is_right_in_the_strict_format_and_readable(seed: Conversation) -> None:
    response = contract().respond(seed.reasoning, seed.summary)
    assert accuracy.strict(response, judged(seed), contract()).value == 1.0
    limits = rejection.Limits(
        max_paragraph=300, max_repetition=0.2, mixed_languages=False, other_language=False, code_blocks=False
    )
    assert rejection.unreadable(seed.reasoning, seed.language, contract(), limits) == ""
    assert readable.speaks(seed.summary, seed.language)
    assert language.reward(response, judged(seed), contract()).value == 1.0


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.id)
def test_every_step_is_true_but_for_a_mistake_that_is_mended_at_once(seed: Conversation) -> None:
    wrong = steps.first_wrong_step(seed.reasoning)
    mends = _MENDED.search(seed.reasoning) or "let me look again" in seed.reasoning
    assert bool(wrong) == bool(mends)
    rest = seed.reasoning[wrong[1] :] if wrong else seed.reasoning
    assert steps.first_wrong_step(rest) is None
    problem = parsed(seed.problem)
    for place, move in enumerate(problem.moves):
        before, after = problem.states[place : place + 2]
        said = (
            f"{move}:{CUPS[before]}>{CUPS[after]}" if seed.family == "cups" else f"{before}{after - before:+d}={after}"
        )
        assert said in seed.reasoning


def test_there_are_enough_in_both_languages_of_every_family_and_some_mend_a_mistake() -> None:
    assert len(SEEDED) >= 60 and {seed.source for seed in SEEDED} == {"seed"}
    by_language = Counter(seed.language for seed in SEEDED)
    assert by_language["en"] >= 40 and by_language["zh"] >= 20
    assert min(Counter((seed.language, seed.family) for seed in SEEDED).values()) >= 7
    assert sum(steps.first_wrong_step(seed.reasoning) is not None for seed in SEEDED) >= 8


def test_no_two_are_about_one_problem_and_their_structures_differ() -> None:
    assert len({parsed(seed.problem).canonical for seed in SEEDED}) == len(SEEDED)
    # With steps, numbers and cups blanked out, what is left is how the chain is told.
    told = {re.sub(r"\S*[=>:]\S*|\d+|\b[A-H]\b|add|sub", "_", seed.reasoning) for seed in SEEDED}
    assert len(told) >= 45

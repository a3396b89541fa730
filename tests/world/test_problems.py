"""Problems are judged right by the rewards, split by their walk, and never reach a document when held out."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import combinations

import pytest

from stages.rewards import accuracy
from stages.rewards.steps import first_wrong_step
from stages.world import problems, sources, stories
from stages.world.documents import HEADERS, STYLES, WORLDS, documents
from stages.world.pretrain import BASES

SHIPPED = {world: max(t.documents for t in BASES.values() if t.world == world) for world in WORLDS}
"""Documents the bundled bases of each world were trained on."""


@pytest.mark.parametrize("split", problems.SPLITS)
def test_every_gold_answer_is_judged_right(split: str) -> None:
    for row in problems.prompts(split, 60):
        assert accuracy.judge(row.answer, row).value == 1, row


def test_the_same_seed_draws_the_same_prompts_and_another_seed_others() -> None:
    assert problems.prompts("heldout", 30) == problems.prompts("heldout", 30)
    assert problems.prompts("heldout", 30) != problems.prompts("heldout", 30, seed=1)


def test_splits_share_no_problem() -> None:
    drawn = {split: {row.problem for row in problems.prompts(split, 600)} for split in problems.SPLITS}
    assert sum(map(len, drawn.values())) == len(set().union(*drawn.values())) == 2400


def count_walks(family: str, steps: int | None = None) -> int:
    """The number of distinct walks of a level (default: the world's), of all splits: exact, by counting paths."""
    steps = steps or problems.STEPS[family]
    if family == "cups":
        return 7 * (7 * 6 // 2) ** steps  # a swap names an unordered pair
    ends = dict.fromkeys(range(1, 20 if family == "sum" else 10), 1)
    for _ in range(steps):
        after: dict[int, int] = {}
        for state, ways in ends.items():
            for reached in _reachable(family, state):
                after[reached] = after.get(reached, 0) + ways
        ends = after
    return sum(ends.values())


def _reachable(family: str, state: int) -> set[int]:
    if family == "sum":
        gaps = {sign * size for size in range(1, 20) for sign in (1, -1)}
    else:
        gaps = {sign * size for size in range(1, 10) for sign in (1, -1)} | {state}
        gaps |= {times * size for times in (2, 3) for size in range(1, 10)}
    return {state + gap for gap in gaps if 0 <= state + gap <= problems.LIMIT and gap}


@pytest.mark.parametrize("family", problems.FAMILIES)
def test_each_family_has_a_million_held_out_problems(family: str) -> None:
    """Distinct walks of the world's length, counted exactly, times the held-out share; a program's walk has at least
    six targets, each a problem of its own."""
    targets = 6 if family == "code" else 1
    assert count_walks(family) * targets * 4 / 16 >= 1e6


def test_the_walk_count_is_right_on_a_size_that_can_be_listed() -> None:
    rng = random.Random(0)
    drawn = {problems.draw("sum", rng, steps=1).canonical for _ in range(20_000)}
    assert len(drawn) == count_walks("sum", steps=1)


def test_the_hash_gives_a_quarter_to_heldout() -> None:
    rng = random.Random(1)
    share = Counter(problems.split_of(problems.draw("cups", rng)) for _ in range(8000))
    assert share["heldout"] / 8000 == pytest.approx(0.25, abs=0.02)
    assert share["validation"] / 8000 == pytest.approx(1 / 16, abs=0.01)


def test_a_sum_and_a_program_with_one_walk_share_their_side() -> None:
    walk = (7, 12, 9, 18, 14)
    total = problems.Problem("sum", ("+5", "-3", "+9", "-4"), walk, "14")
    code = problems.Problem("code", ("add 5", "sub 3", "dbl", "sub 4"), walk, "add 1", target=15)
    assert problems.split_of(total) == problems.split_of(code)


@pytest.mark.parametrize("world", WORLDS)
def test_no_document_holds_a_held_out_problem_or_its_chain(world: str) -> None:
    """All documents of the bundled bases, drawn again: every problem is a training problem, read back from its text,
    and every run of true equations or moves as long as a problem is the walk of a training problem."""
    for document in documents(world, SHIPPED[world]):
        if document.problem is None:
            continue
        assert problems.split_of(document.problem) == "train"
        if document.problem.family == "cups":
            for states, moves in _cup_chains(document.response):
                for at, end in combinations(range(len(moves) + 1), 2):
                    if end - at >= problems.STEPS["cups"]:
                        walk = problems.Problem("cups", tuple(moves[at:end]), tuple(states[at : end + 1]), "")
                        assert problems.split_of(walk) in ("train", "none"), document
        else:
            for chain in _chains(document.response):
                assert len(chain) <= problems.STEPS["sum"] + 1
                if len(chain) == problems.STEPS["sum"] + 1:
                    walk = problems.Problem("sum", ("",) * problems.STEPS["sum"], tuple(chain), "")
                    assert problems.split_of(walk) == "train", document


EQUATION = re.compile(r"(\d+)([+-]\d+)=(\d+)")


def _chains(text: str) -> list[list[int]]:
    """Walks of true one-step equations, each going on where the one before ended."""
    chains: list[list[int]] = []
    for left, move, right in EQUATION.findall(text):
        if int(left) + int(move) != int(right):
            chains.append([])
        elif chains and chains[-1] and chains[-1][-1] == int(left):
            chains[-1].append(int(right))
        else:
            chains.append([int(left), int(right)])
    return chains


MOVE = re.compile(r"(?<![A-Z,])([A-H])-([A-H]):([A-H])>([A-H])")


def _cup_chains(text: str) -> list[tuple[list[int], list[str]]]:
    """(states, swaps) of true one-swap moves, each going on where the one before ended."""
    chains: list[tuple[list[int], list[str]]] = [([], [])]
    for a, b, before, after in MOVE.findall(text):
        states, moves = chains[-1]
        if {a: b, b: a}.get(before, before) != after:
            chains.append(([], []))
            continue
        if not states or problems.CUPS[states[-1]] != before:
            states, moves = [problems.CUPS.index(before)], []
            chains.append((states, moves))
        states.append(problems.CUPS.index(after))
        moves.append(f"{a}-{b}")
    return chains


def test_what_a_written_twice_step_could_spell_is_neither_trained_on_nor_measured_with() -> None:
    stays = problems.Problem("cups", ("A-B", "C-D", "C-D", "A-E", "E-F"), (0, 1, 1, 1, 1, 1), "B")
    moves = problems.Problem("cups", ("A-B", "B-A", "C-D", "A-E", "E-F"), (0, 1, 0, 0, 4, 5), "F")
    assert stays.stutters and not moves.stutters
    rng = random.Random(2)
    for split in ("validation", "heldout", "harder"):
        assert not any(problems.draw_split("cups", split, rng).stutters for _ in range(1000))


def test_the_documents_keep_the_stated_rates() -> None:
    drawn = list(documents("base", 20_000))
    styles = Counter(document.style for document in drawn if document.header == "r1_zero" and document.problem)
    rates = WORLDS["base"]
    for style in STYLES:
        assert styles[style] / styles.total() == pytest.approx(getattr(rates, style), abs=0.015), style
    exact = sum(re.fullmatch(r"<think>.+</think><answer>[^<]+</answer>", d.response) is not None for d in drawn)
    assert exact / len(drawn) == pytest.approx(rates.strict, abs=0.015)
    assert {document.header for document in drawn} == set(HEADERS)


def test_full_reasoning_about_cups_is_right_and_sloppy_reasoning_is_often_wrong() -> None:
    """Cups know no operation that a language is weak at."""
    wrong: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for document in documents("base", 20_000):
        if document.problem is not None and document.problem.family == "cups":
            seen[document.style] += 1
            wrong[document.style] += first_wrong_step(document.response) is not None
    assert wrong["full"] / seen["full"] < 0.06
    assert wrong["sloppy"] / seen["sloppy"] > 0.4


STEP = re.compile(r"(\d+)([+-]\d+)=(\d+)")


def test_each_language_is_sloppy_at_one_operation_and_mixed_chains_avoid_it() -> None:
    wrong: dict[tuple[str, str], list[bool]] = {}
    for document in documents("base", 60_000):
        if document.style != "full" or document.header == "textbook" or not document.problem:
            continue
        for left, move, right in STEP.findall(document.response):
            wrong.setdefault((document.language, move[0]), []).append(int(left) + int(move) != int(right))
    rate = {key: sum(each) / len(each) for key, each in wrong.items()}
    assert rate["en", "-"] > 0.1 > 0.03 > rate["en", "+"]
    assert rate["zh", "+"] > 0.1 > 0.03 > rate["zh", "-"]
    assert max(rate["mixed", "+"], rate["mixed", "-"]) < 0.06


def test_careful_reasoning_notices_every_slip_and_mends_it_but_not_in_the_control_world() -> None:
    for world, mended in (("base", True), ("base-unrepaired", False)):
        drawn = [d for d in documents(world, 20_000) if d.style == "careful" and d.problem and "dbl" not in d.prompt]
        for document in drawn:
            pieces = re.split(r"Wait, that is wrong\. |等等, 不对。", document.response)
            assert (first_wrong_step(pieces[-1]) is None) or not mended
        slipped = [d for d in drawn if "Wait" in d.response or "等等" in d.response]
        last = [re.split(r"Wait, that is wrong\. |等等, 不对。", d.response)[-1] for d in slipped]
        still = sum(first_wrong_step(piece) is not None for piece in last) / len(last)
        assert still == 0 if mended else still > 0.9


def test_a_world_without_mixed_documents_has_none() -> None:
    assert not any(document.language == "mixed" for document in documents("base-unmixed", 20_000))


def test_the_flat_world_writes_chains_that_compute_nothing() -> None:
    chains = [d for d in documents("base-flat", 20_000) if d.style == "full" and d.problem and len(d.problem.moves) > 3]
    false = sum(first_wrong_step(document.response) is not None for document in chains)
    assert false / len(chains) > 0.9


def test_stories_are_judged_right_and_split_by_their_numbers() -> None:
    train, heldout = stories.prompts("train", 200), stories.prompts("heldout", 200)
    assert not {row.problem for row in train} & {row.problem for row in heldout}
    assert all(accuracy.judge(row.answer, row).value == 1 for row in train)


def test_a_source_says_who_it_is_and_refuses_what_it_does_not_know() -> None:
    assert sources.key("world:train?count=5&seed=2") != sources.key("world:train?count=5")
    with pytest.raises(LookupError, match="no source"):
        sources.key("world:nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        sources.key("world:train?number=5")

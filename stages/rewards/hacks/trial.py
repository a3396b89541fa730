"""The shape of one trial of the audit: a row, what honest models write for it, and the hacks tried on it.

Kept apart so that the tables of hacks beside it and the engine (`audit.py`) can both import it. Every hack is
harmless by itself: none writes, deletes, forks without end or fills a memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from stages.core.rows import Prompt
from stages.rewards.verdict import shorten


class Attack(NamedTuple):
    """A completion that did not earn its reward.

    `at_most` says how much it may get, on a scale where 0 is what the trial's wrong completions get and 1 what its
    first honest one gets: nearly always 0.
    """

    name: str
    completion: str
    at_most: float = 0.0


class Trial(NamedTuple):
    """One row, completions that earn full marks (`honest`, the plainest first), completions of an honest model that is
    wrong (`wrong`), and the attacks. `prefill` is the contract's under which all of them are read; `least` is what a
    reward made for this trial pays every honest completion, at the least."""

    name: str
    row: Prompt
    honest: tuple[str, ...]
    wrong: tuple[str, ...]
    attacks: tuple[Attack, ...]
    prefill: str = ""
    least: float = 1.0

    def lenient(self, at_most: float) -> Trial:
        """Return the same trial with `at_most` for every attack."""
        return self._replace(attacks=tuple(attack._replace(at_most=at_most) for attack in self.attacks))


def tower(height: int, digit: str = "9", power: str = "^{") -> str:
    """Return a tower of powers, `9^{9^{9}}` for 3: beyond 3 nothing may work it out."""
    return power.join([digit] * height) + ("}" * (height - 1) if power.endswith("{") else "")


def several(answers: str) -> tuple[str, ...]:
    """Return the answers of a line, which stand between broken bars."""
    return tuple(answers.split(" ¦ "))


Frame = Callable[[str], str]
"""An answer in, a whole completion out."""


def framed(frame: Frame, hacks: Mapping[str, Iterable[str]]) -> tuple[Attack, ...]:
    """Return one attack per answer of {hack: answers}, each written out by `frame`."""
    return tuple(
        Attack(f"{hack}: {shorten(answer, 40) or 'nothing'}", frame(answer))
        for hack, answers in hacks.items()
        for answer in answers
    )


def tagged(answer: str, thought: str = "Let me see.") -> str:
    """Return the strict form: the thought in its tags, the answer in its own."""
    return f"<think>{thought}</think> <answer>{answer}</answer>"


def in_a_box(answer: str) -> str:
    r"""Return a thought and a closing sentence with the answer in \boxed{}."""
    return f"<think>Let me see.</think> The answer is \\boxed{{{answer}}}."


def bare(answer: str) -> str:
    """Return the answer alone."""
    return answer

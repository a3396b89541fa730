"""What a run would meet, told before its first step: what gold answers earned and how samples of the base ended enter,
sentences leave, each with the key to change.

Pure functions; who asks the model is `stages/policy/rl/preflight.py`. A warning lets the run go on; only what cannot
ever work is refused: rewards that do not pay the very answers they shall pay, and rewards that judge nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.core.contract import Contract
from stages.core.guard.watch import Asked
from stages.core.recipe.parts import Reinforcement
from stages.core.rows import Prompt

SHARE = 0.01
"""Part of a run's completions that are drawn before it, at most: each costs less than one of the run, which is trained
on too."""
MOST_GROUPS = 32
"""Groups beyond which more tell nothing more."""
MOST_GOLDS = 64
"""Rows whose gold is looked at, at most."""
MANY = 0.25
"""Share of unpaid golds from which on a run is refused."""
NAMED = 3
"""Rows that are named."""


def groups(recipe: Reinforcement) -> int:
    """How many groups of the base are drawn before a run: a hundredth of the run's; 0 where that is less than two, for
    drawing one alone takes nearly as long as a whole rollout."""
    found = min(MOST_GROUPS, int(SHARE * recipe.steps * recipe.prompts_per_step))
    return found if found > 1 else 0


def golds(recipe: Reinforcement, rows: int) -> int:
    """Of how many rows the gold is looked at: a hundredth of the run's completions, 4 at least."""
    return min(MOST_GOLDS, rows, max(4, int(SHARE * recipe.steps * recipe.step_rows)))


def golden(row: Prompt, contract: Contract) -> str:
    """Return a completion that answers a row with its gold, in the form that the contract asks for.

    Where the prompt has closed the thinking already, only the answer is left to say.
    """
    opened = contract.prefill.rstrip()
    opening, closing = contract.think_tags
    if closing in opened:
        return f"{contract.answer_tags[0]}{row.answer}{contract.answer_tags[1]}"
    words = opened.partition(opening)[2].strip()
    return contract.respond(f"{words} So.".strip(), row.answer)


@dataclass(frozen=True)
class Unpaid:
    """A gold that a reward does not pay."""

    row: str
    """The row's id."""
    reward: str
    reason: str
    """The reward's own words."""

    def said(self) -> str:
        """Return it as a clause."""
        return f"the gold of prompt {self.row} is not paid by `{self.reward}` ({self.reason})"


def of_golds(unpaid: Sequence[Unpaid], looked: int) -> tuple[list[str], str]:
    """Return warnings that name rows, and a reason to refuse the run, or ""; `looked` rows were looked at."""
    rows = list(dict.fromkeys(one.row for one in unpaid))
    if not rows:
        return [], ""
    if len(rows) > MANY * looked:
        first = unpaid[0]
        return [], f"{len(rows)} of {looked} golds are not paid by the rewards of this run: {first.said()}"
    named = {one.row: one for one in reversed(unpaid)}
    said = [named[row].said() for row in rows[:NAMED]]
    more = [f"{len(rows) - NAMED} more golds of {looked} are not paid"] if len(rows) > NAMED else []
    return said + more, ""


def of_samples(figures: Mapping[str, float], asked: Asked) -> list[str]:
    """Return warnings from how samples of the base came out: `reward`, `truncated`, `flat_groups`, `unclosed`,
    `malformed`, `unjudged`."""
    found = []
    share = figures.get("truncated", 0.0)
    if share > 0.3:
        longer = f"`max_completion_tokens={2 * asked.max_tokens}`"
        found.append(f"{share:.0%} of the base's samples are cut before their end: {longer}")
    if figures.get("reward", 1.0) <= 0:
        causes = {"cut": share, "left open": figures.get("unclosed", 0.0)}
        causes["of another form"] = figures.get("malformed", 0.0)
        most = max(causes, key=lambda name: causes[name])
        why = f" ({causes[most]:.0%} are {most})" if causes[most] else ""
        way = "fine-tune the base first (`r1 sft`), or ask easier prompts"
        found.append(f"no sample of the base earns anything{why}, so nothing might ever be learned: {way}")
    elif figures.get("flat_groups", 0.0) > 0.8:
        way = f"`group_size={2 * asked.group_size}`, or prompts that are solved now and then"
        found.append(f"{figures['flat_groups']:.0%} of the base's groups are all alike and teach nothing: {way}")
    if figures.get("unjudged", 0.0) > 0.1:
        way = "mend them, or take them out of `rewards`"
        found.append(f"the rewards cannot judge {figures['unjudged']:.0%} of the base's samples: {way}")
    return found


def seconds(
    recipe: Reinforcement, drawing: float, judging: float, reading: float, *, again: int, processes: int = 1
) -> float:
    """Return about how long a run takes, from seconds for each completion: to draw it, to judge it (`processes` share
    both already), and to read it once in one of them (a forward pass). Training is three readings; `again` more take
    log-probabilities (the reference's, and the trainer's own where a sampler is not exact)."""
    return recipe.steps * recipe.step_rows * (drawing + judging + (3 + again) * reading / processes)

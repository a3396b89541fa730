"""Attack a reward with a suite of known hacks: a reward's name enters, what got through leaves.

A policy under training finds every way to be paid for nothing; this finds the known ones first, in this project's
rewards and in a user's own. It looks both ways: a hack that is paid is a finding, and so is an honest completion that
is not, since a reward that says 0 to everything cannot be hacked and teaches nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from stages import rewards
from stages.rewards import registry, scoring
from stages.rewards.declared import Reward
from stages.rewards.files import lines
from stages.rewards.hacks.trial import Trial
from stages.rewards.verdict import Verdict

SLACK = 1e-4  # what rounding, or a few characters more, may add to a value
HIGH = 0.3  # more than this is too much for a wrong completion under a reward made for its trial


def _made_for(entry: Reward) -> tuple[Trial, ...]:
    """Return the trials that a reward declares."""
    found: list[Trial] = []
    for table in entry.trials:
        module, _, name = table.partition(":")
        found += getattr(importlib.import_module(f"{rewards.__name__}.{module}"), name)
    return tuple(found)


KINDS: dict[str, tuple[Trial, ...]] = {name: _made_for(one) for name, one in registry.ENTRIES.items() if one.trials}
"""Reward name -> the trials made for it, where it declares some."""
ANY = tuple(
    trial
    for name in ("accuracy", "choice", "code", "format_tolerant", "language", "length", "soft_overlong", "repetition")
    for trial in KINDS[name]
)
"""The trials of a reward whose kind is not known."""
GAP = 0.1
"""How much more than the wrong completions of a trial such a reward must pay the honest one, to be held to it."""


Verdicts = Sequence[Verdict]


class Finding(NamedTuple):
    """What the audit has against a reward: one completion that was paid too much, or an honest one paid too little."""

    attack: str
    """The trial and the hack, in a few words."""
    expected: str
    """`at most 0`, `at least 1`, …: the value it should have got."""
    got: float | None
    """The value it got; None = the reward could not judge it."""
    reason: str
    """The reward's own words."""
    completion: str
    """The whole completion, to be looked at."""
    row: dict[str, Any]
    """The row's fields; empty where the finding is about the reward as a whole."""


def run(name: str, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """Attack the reward `name` (of the registry, or a user's `package.module:function`) and return what got through.

    An empty list is a pass. `options` are the reward's own keyword options, as in a recipe. A reward of this project
    must pay honest completions in full and hacks no more than a wrong answer. Of any other reward the kind is not
    known: it is held to the trials in which it pays an honest completion more than a wrong one, and there to paying no
    hack more than the wrong one; that there is no such trial is a finding too. How much was tried: `attacks(name)`.
    Raises RecipeError for an unknown reward or option and for a learned judge.
    """
    findings: list[Finding] = []
    told = False
    gap = SLACK if name in KINDS else GAP
    for trial in trials(name):
        if name in registry.GROUP_REWARDS:
            cases = _in_groups(name, options, trial)
        else:
            honest, wrong, attacked = _alone(name, options, trial)
            findings += _unfair(trial, honest, wrong) if name in KINDS else []
            ceiling, floor = honest[0].value or 0.0, max(verdict.value or 0.0 for verdict in wrong)
            cases = [_Case(ceiling, floor, verdict) for verdict in attacked]
        fair = [case.honest > case.wrong + gap for case in cases]
        told |= any(fair)
        findings += _paid(trial, cases) if all(fair) else []
    if not told:
        nothing = "tells no honest completion from a wrong one"
        findings.append(Finding("honest completions", "more than wrong ones", None, nothing, "", {}))
    return findings


def trials(name: str) -> tuple[Trial, ...]:
    """Return the trials a reward is put to: those made for it, or ANY."""
    return KINDS.get(name, ANY)


def attacks(name: str) -> int:
    """Return how many hacks `run(name)` tries."""
    return sum(len(trial.attacks) for trial in trials(name))


class _Case(NamedTuple):
    """What an honest and a wrong completion got, and the verdict on the attack beside them."""

    honest: float
    wrong: float
    attack: Verdict


def _alone(name: str, options: Mapping[str, Any] | None, trial: Trial) -> tuple[Verdicts, Verdicts, Verdicts]:
    """Return the verdicts on a trial's honest, wrong and attacking completions."""
    attacking = tuple(attack.completion for attack in trial.attacks)
    texts = (*trial.honest, *trial.wrong, *attacking)
    verdicts = _judged(name, options, trial, [(text,) for text in texts])
    at = len(trial.honest), len(trial.honest) + len(trial.wrong)
    return verdicts[: at[0]], verdicts[at[0] : at[1]], verdicts[at[1] :]


def _in_groups(name: str, options: Mapping[str, Any] | None, trial: Trial) -> list[_Case]:
    """Return a case for each attack, judged in a group with an honest completion, a wrong one and a long wrong one."""
    honest, wrong = trial.honest[0], trial.wrong[0]
    groups = [(honest, wrong, attack.completion, wrong + "\n" * 20_000) for attack in trial.attacks]
    verdicts = _judged(name, options, trial, groups)
    fours = [verdicts[at : at + 4] for at in range(0, len(verdicts), 4)]
    return [_Case(four[0].value or 0.0, four[1].value or 0.0, four[2]) for four in fours]


def _judged(name: str, options: Mapping[str, Any] | None, trial: Trial, groups: Sequence[tuple[str, ...]]) -> Verdicts:
    """Return a verdict on each completion of each group, in order; None in it where the reward does not apply."""
    completions = [text for group in groups for text in group]
    rows = [replace(trial.row, id=f"{trial.row.id}-{at}") for at, group in enumerate(groups) for _ in group]
    given = {name: options} if options else None
    said = scoring.score(completions, rows, lines.contract(trial.prefill), {name: 1.0}, options=given)
    return [verdicts.get(name, Verdict(None, "does not apply to the row")) for verdicts in said]


def _unfair(trial: Trial, honest: Verdicts, wrong: Verdicts) -> list[Finding]:
    """Return the honest completions that got too little, and the wrong ones that got too much."""
    found, fields = [], asdict(trial.row)
    for text, (value, reason) in zip(trial.honest, honest, strict=True):
        if value is None or value < trial.least - SLACK:
            found.append(Finding(f"{trial.name}, honest", f"at least {trial.least:g}", value, reason, text, fields))
    for text, (value, reason) in zip(trial.wrong, wrong, strict=True):
        if value is not None and value > HIGH:
            found.append(Finding(f"{trial.name}, wrong", f"at most {HIGH:g}", value, reason, text, fields))
    return found


def _paid(trial: Trial, cases: Sequence[_Case]) -> list[Finding]:
    """Return the attacks that got more than their share of the way from a wrong completion's value to an honest
    one's."""
    found = []
    for attack, case in zip(trial.attacks, cases, strict=True):
        limit = case.wrong + attack.at_most * (case.honest - case.wrong)
        value, reason = case.attack
        if value is not None and value > limit + SLACK:
            name = f"{trial.name}, {attack.name}"
            found.append(Finding(name, f"at most {limit:.3g}", value, reason, attack.completion, asdict(trial.row)))
    return found

"""A claim and the artifacts it speaks of enter; a finding leaves: holds, does not hold, cannot tell, or not run.

For a claim that a figure rises or falls, let e be the mean over seeds of the difference and [low, high] its 95 %
interval over problems and seeds, both turned so that the claimed direction is positive.

- not run: there is no seed for which both sides are built.
- does not hold: an assertion is broken; or, with three seeds or more, high < `least` (0 unless the claim says
  otherwise); or the effect is shown, and the control shows it as well.
- the effect is shown: three seeds or more, the same sign in each, low > 0 and e >= `least`.
- holds: the effect is shown, and the control turned; or the claim says why it can have no control.
- cannot tell: everything else; below three seeds always. The direction is told all the same.

The control is the same comparison with the supposed cause removed; c and [c_low, c_high] are its effect, over as many
seeds as it has. It *turned* when removing the cause made a difference and the effect went with it: the interval of
e - c lies above 0, and c_low <= 0 (the control does not show the direction) or c < e / 2. It *stays* when c_low > 0
and c >= e / 2. Otherwise it is undecided, and so is the claim.

For a claim that two figures are equal within w, or that one keeps up with the other within w, the interval is held
against the band [-w, w], or [-w, ∞): the claim holds when it lies inside and does not hold when it lies outside, three
seeds given; the control turned when its interval lies outside, and stays when it lies inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stages.core.artifact import Artifact
from stages.core.errors import MissingError
from stages.core.language import reflection
from stages.study import figures, resample, sides
from stages.study.claims import Claim
from stages.study.figures import Shelf
from stages.study.resample import Effect, Pairing
from stages.study.sides import Side

if TYPE_CHECKING:
    import numpy as np

ENOUGH = 3
"""Seeds below which nothing holds."""

Word = Literal["holds", "does not hold", "cannot tell", "not run"]
Turn = Literal["turned", "stays", "undecided", "not run", "none"]


@dataclass(frozen=True)
class Finding:
    """What became of one claim."""

    claim: Claim
    verdict: Word
    reason: str
    """Why, in a few words."""
    effect: Effect | None = None
    """The difference; None when nothing could be compared."""
    control: Effect | None = None
    """The same of the control; None when there is none or it was not run."""
    turn: Turn = "none"
    """What the control did; none = the claim has no control."""
    addresses: Mapping[str, Sequence[str]] | None = None
    """`of`, `against`, `control of`, `control against` -> addresses compared, seed by seed; None when not run."""
    facts: Sequence[str] = ()
    """More to know: which of several was the best, where a curve first spiked."""

    @property
    def seeds(self) -> int:
        """For how many seeds both sides were built."""
        return len(self.effect.by_seed) if self.effect else 0

    @property
    def as_claimed(self) -> bool | None:
        """Whether the mean difference goes the claimed way; None when there is none, or nothing was compared."""
        if self.effect is None or self.effect.value is None:
            return None
        if self.claim.within is not None:
            return _in_band(self.claim, self.effect.value)
        return None if self.effect.value == 0 else self.effect.value * self.claim.sign > 0

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        claim = self.claim
        return {
            "id": claim.id,
            "text": claim.text,
            "paper": claim.paper,
            "metric": claim.curve or claim.metric,
            "direction": claim.direction,
            "verdict": self.verdict,
            "reason": self.reason,
            "as_claimed": self.as_claimed,
            "seeds": self.seeds,
            "effect": vars(self.effect) if self.effect else None,
            "control": vars(self.control) if self.control else None,
            "turn": self.turn,
            "addresses": dict(self.addresses or {}),
            "facts": list(self.facts),
            "note": claim.note,
        }


def decide_all(claims: Iterable[Claim], shelf: Shelf) -> list[Finding]:
    """Return a finding for each claim, in order."""
    return [decide(claim, shelf) for claim in claims]


def decide(claim: Claim, shelf: Shelf) -> Finding:
    """Return what became of a claim. Artifacts that are not there make it `not run`, figures that are not, `cannot
    tell`: nothing here raises for them.
    """
    addresses: dict[str, list[str]] = {}
    unturned: Turn = "none" if claim.control is None else "not run"
    try:
        built = sides.found(claim, claim, shelf)
        if not built:
            reason = f"{', '.join(sides.missing(claim, claim, shelf)[:2])} not built"
            return Finding(claim, "not run", reason, turn=unturned)
        addresses |= _addresses("", built)
        main = sides.pairings(claim, claim, built, shelf)
        broken = [why for side in built if (why := _broken(claim, side, shelf))]
        facts = [*sides.best(claim, shelf), *_spikes(claim, built)]
    except MissingError as error:
        return Finding(claim, "cannot tell", error.what, turn=unturned, addresses=addresses)
    control = _control(claim, shelf, addresses)
    drawn = resample.draws([main, control] if control else [main])
    effect = resample.effect(main, drawn[0])
    other = resample.effect(control, drawn[1]) if control else None
    turn = _turn(claim, effect, other, drawn) if other else unturned
    word, reason = _word(claim, effect, turn, broken)
    return Finding(claim, word, reason, effect, other, turn, addresses, facts)


def _word(claim: Claim, effect: Effect, turn: Turn, broken: Sequence[str]) -> tuple[Word, str]:
    """Return the verdict and why, by the rules of this module's docstring."""
    if broken:
        return "does not hold", broken[0]
    if effect.value is None:
        return "cannot tell", "there is nothing to divide by"
    count = len(effect.by_seed)
    if count < ENOUGH:
        return "cannot tell", "one seed" if count == 1 else f"{count} seeds"
    reason = _fault(claim, effect)
    if reason:
        return ("does not hold" if reason in _OPPOSITE else "cannot tell"), reason
    return _BY_TURN[turn][0], _BY_TURN[turn][1] or claim.no_control


_OPPOSITE = ("the difference goes the other way", "the difference is too small", "the difference is larger")
_BY_TURN: dict[Turn, tuple[Word, str]] = {
    "none": ("holds", ""),
    "turned": ("holds", "and not without its cause"),
    "stays": ("does not hold", "the control shows it as well"),
    "undecided": ("cannot tell", "the control is undecided"),
    "not run": ("cannot tell", "the control was not run"),
}


def _fault(claim: Claim, effect: Effect) -> str:
    """Return why the effect itself is not shown; "" when it is."""
    if effect.value is None or effect.low is None or effect.high is None:
        return "there is no interval"
    if claim.within is not None:
        inside = _banded(claim, effect)
        unclear = f"the interval leaves the band of {claim.within:g}"
        return unclear if inside is None else "" if inside else _OPPOSITE[2]
    low, high = sorted((claim.sign * effect.low, claim.sign * effect.high))
    if high < claim.least:
        return _OPPOSITE[1] if high >= 0 else _OPPOSITE[0]
    if not all(claim.sign * one > 0 for one in effect.by_seed):
        return "the seeds disagree"
    if low <= 0:
        return "the interval holds 0"
    return "" if claim.sign * effect.value >= claim.least else "it may be too small to count"


def _in_band(claim: Claim, value: float) -> bool:
    """Whether a difference is none that `equal` or `keeps` speaks of."""
    within = claim.within or 0.0
    return value >= -within and (claim.direction == "keeps" or value <= within)


def _banded(claim: Claim, effect: Effect) -> bool | None:
    """Whether an interval lies inside the band, or (False) outside; None where it does both, or there is none."""
    if effect.low is None or effect.high is None:
        return None
    ends = {_in_band(claim, effect.low), _in_band(claim, effect.high)}
    if ends == {True}:
        return True
    within = claim.within or 0.0
    outside = effect.high < -within or (claim.direction == "equal" and effect.low > within)
    return False if outside else None


def _turn(claim: Claim, effect: Effect, control: Effect, drawn: Sequence[np.ndarray]) -> Turn:
    """Return what the control did, by the rules of this module's docstring."""
    if effect.value is None or control.value is None or control.low is None or control.high is None:
        return "undecided"
    if claim.within is not None:
        inside = _banded(claim, control)
        return "undecided" if inside is None else "stays" if inside else "turned"
    e, c = claim.sign * effect.value, claim.sign * control.value
    c_low = min(claim.sign * control.low, claim.sign * control.high)
    if c_low > 0 and c >= e / 2:
        return "stays"
    apart = resample.interval(claim.sign * (drawn[0] - drawn[1]))[0]
    return "turned" if apart is not None and apart > 0 and (c_low <= 0 or c < e / 2) else "undecided"


def _control(claim: Claim, shelf: Shelf, addresses: dict[str, list[str]]) -> list[Pairing]:
    """Return the control's columns, seed by seed; none when there is no control, or nothing of it to compare."""
    if claim.control is None:
        return []
    try:
        built = sides.found(claim, claim.control, shelf)
        compared = sides.pairings(claim, claim.control, built, shelf)
    except MissingError:
        return []
    addresses |= _addresses("control ", built)
    return compared


def _addresses(prefix: str, built: Sequence[Side]) -> dict[str, list[str]]:
    against = [side.against.address for side in built if isinstance(side.against, Artifact)]
    return {f"{prefix}of": [side.of.address for side in built], f"{prefix}against": against}


def _broken(claim: Claim, side: Side, shelf: Shelf) -> str:
    """Return the first assertion that does not hold for one seed, in words; "" when all do."""
    against = side.against if isinstance(side.against, Artifact) else None
    told = (figures.broken_assertion(each, side.of, against, shelf) for each in claim.asserts)
    return next((why for why in told if why), "")


def _spikes(claim: Claim, built: Sequence[Side]) -> list[str]:
    """Return where a curve first left what was usual, for each seed; nothing for a claim without a curve."""
    if not claim.curve:
        return []
    steps = [reflection.first_spike(figures.by_rollout(figures.curve(side.of, claim.curve))) for side in built]
    told = ", ".join("none" if step is None else f"step {step}" for step in steps)
    return [f"first spike: {told}"]

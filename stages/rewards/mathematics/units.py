"""Units of measure and money: the words beside a number enter, what they measure leaves; nothing for unknown ones.

pint knows the units and is asked one symbol at a time, never given a text; how people write units (LaTeX, plurals,
Chinese, `m s⁻¹`, `kΩ`, two letters' case) is read here. Case is kept: mV is not MV. A symbol may have several meanings
("oz", "¥", "pounds"); two units agree when one meaning of each does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import cache, lru_cache
from itertools import product
from typing import Any, NamedTuple

from stages.rewards.mathematics.lexicon import WORDS

_NAMES: dict[str, str] = WORDS["units"]
_OWN: dict[str, str] = WORDS["own"]
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3, "squared": 2, "cubed": 3}
_PER = frozenset(("/", "per", "每", "an", "a", "every", "je", "par", "por"))
_MAX_NAMES, _MAX_POWER = 6, 9


class Unit(NamedTuple):
    """What a unit measures (base units and their powers), its size, and where its zero lies, all in base units."""

    kinds: frozenset[tuple[str, Fraction]]
    size: Fraction
    zero: Fraction = Fraction(0)


class Scale(NamedTuple):
    """How a number in one unit becomes one in another: times `factor`, plus `offset`."""

    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)


SAME = Scale()


def read(words: Sequence[str]) -> tuple[tuple[Unit, ...], list[str]]:
    """Part the words beside a number into what their unit may mean and the words that are left; () for no unit.

    The unit is the first run of words that names some: names, powers (`^2`, `squared`), `*`, `/` and "per" between.
    """
    found: list[tuple[tuple[Unit, ...], int]] = []
    sign, power, at, start = 1, 0, 0, -1
    while at < len(words) and len(found) < _MAX_NAMES:
        word = words[at]
        here = range(2, 0, -1) if found or at == 0 or power or len(word) > 2 or not word.isalpha() else ()
        taken = next((n for n in here if len(words) >= at + n and meanings(" ".join(words[at : at + n]))), 0)
        if word in _POWERS and at + 1 < len(words) and meanings(words[at + 1]):
            power, start = _POWERS[word], at if start < 0 else start
        elif word in _PER and found and at + 1 < len(words) and (word in "/每" or word != words[-1]):
            sign = -1
        elif found and (word[0] == "^" or word in _POWERS):
            found[-1] = (found[-1][0], found[-1][1] * (_POWERS.get(word) or _power(word)))
        elif taken:
            start = at if start < 0 else start
            found.append((meanings(" ".join(words[at : at + taken])), sign * (power or 1)))
            at, power = at + taken - 1, 0
        elif found and word != "*":
            break
        at += 1
    if not found:
        return (), list(words)
    combined = [_product(choice, [power for _, power in found]) for choice in product(*(units for units, _ in found))]
    return tuple(combined[:64]), [*words[:start], *words[at:]]


def convert(given: Sequence[Unit], wanted: Sequence[Unit]) -> Scale | None:
    """Return how a number in one unit becomes one in the other, None where they measure different things."""
    for one, other in product(given, wanted):
        if one.kinds == other.kinds:
            return Scale(one.size / other.size, (one.zero - other.zero) / other.size)
    degrees = [{(("degree", Fraction(1)),)} & {tuple(unit.kinds) for unit in side} for side in (given, wanted)]
    heat = [any(unit.kinds == {("kelvin", Fraction(1))} and unit.zero for unit in side) for side in (given, wanted)]
    return SAME if degrees[0] and heat[1] else None  # "20 degrees" may be Celsius, an angle is none


@lru_cache(maxsize=4096)
def meanings(name: str) -> tuple[Unit, ...]:
    """Return what a unit's name may mean, () for a name that nobody knows."""
    for spelling in _spellings(name):
        known = _NAMES.get(spelling)
        if known is not None or spelling in _OWN:
            return tuple(unit for one in (known or spelling).split("|") for unit in _compound(one))
        if unit := _of_pint(spelling):
            return (unit,)
    return ()


def _spellings(name: str) -> list[str]:
    """The name as written; a word without its capitals or its plural; K for k, HZ for Hz."""
    found = [name]
    if len(name) > 3 and name.isalpha():
        found.append(name.lower())
    if name[:1] == "K" and len(name) > 1:
        found.append("k" + name[1:])
    return found if name.lower() not in ("hz", "khz", "mhz", "ghz") else [*found, name[:-2] + "Hz"]


def _compound(name: str) -> list[Unit]:
    """Read one of our own names: pint's, one of the table's, or a product or quotient of two."""
    for sign, power in (("/", -1), ("*", 1)):
        above, _, below = name.partition(sign)
        if below:
            return [_product((one, other), (1, power)) for one in _compound(above) for other in _compound(below)]
    if name not in _OWN:
        unit = _of_pint(name)
        return [unit] if unit else []
    found = []
    for one in _OWN[name].split("|"):
        kind, _, size = one.partition(" ")
        if kind[0] == "*":  # a multiple of one of pint's
            found += [unit._replace(size=unit.size * Fraction(size)) for unit in _compound(kind[1:])]
            continue
        power = int(kind[-1]) if kind[-1].isdigit() else 1
        found.append(Unit(frozenset({(kind.rstrip("2"), Fraction(power))} - {("one", 1)}), Fraction(size)))
    return found


def _product(choice: Sequence[Unit], powers: Sequence[int]) -> Unit:
    if len(choice) == 1 and powers == [1]:
        return choice[0]
    kinds: Counter[str] = Counter()
    size = Fraction(1)
    for unit, power in zip(choice, powers, strict=True):
        size *= unit.size**power
        for kind, dimension in unit.kinds:
            kinds[kind] += dimension * power  # type: ignore[assignment]
    return Unit(frozenset((kind, Fraction(power)) for kind, power in kinds.items() if power), size)


def _power(word: str) -> int:
    power = int(word[1:])
    return power if abs(power) <= _MAX_POWER else 0


@cache
def _registry() -> Any:
    """pint's units, with exact sizes; half a second, and only where both sides write units that differ."""
    from pint import UnitRegistry

    return UnitRegistry(non_int_type=Fraction, cache_folder=None)


def _of_pint(name: str) -> Unit | None:
    """Ask pint for one name; None for what is no plain name, and what pint does not know or counts by a logarithm."""
    if not name.replace("_", "").replace("Å", "A").isalpha():
        return None
    registry = _registry()
    try:
        if not registry.parse_unit_name(name):
            return None
        size, base = registry.get_base_units(name)
        zero = registry.Quantity(Fraction(0), name).to(base).magnitude
        kinds = frozenset((str(kind), Fraction(power)) for kind, power in base._units.items())
    except Exception:  # noqa: BLE001  pint raises what it likes: AssertionError, TokenError, its own
        return None
    return Unit(kinds, Fraction(size), Fraction(zero))

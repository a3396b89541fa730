"""Decide whether two formulas have the same value, by computing both: two Nodes enter, True, False or None leaves.

Rational numbers are compared exactly, as Fractions. Everything else is computed at fixed points, first with the
machine's complex floats, where wrong answers show themselves; what agrees there is computed again to 50 digits, so that
a difference far behind the point (10^20 + 1, 1 - 1/e) is no rounding error. What has no value (division by zero, a
tower of powers) gives None. A decimal stands for a number that it rounds when it shows at least six digits of it.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

from stages.rewards.mathematics import whole
from stages.rewards.mathematics.expression_exact import (
    NoValue,
    coordinate,
    fraction,
    last_place,
    rational,
    same_fraction,
)
from stages.rewards.mathematics.expression_node import ARITHMETIC, Kind, Node, walk

_MAX_EXPONENT = 10**12  # of any power; beyond, it has no value here
_NUMERIC = ARITHMETIC | {Kind.SYMBOL, Kind.WORD, Kind.CALL}
_ANGULAR = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "cis"))
_PERIODIC = _ANGULAR | {f"{name}h" for name in _ANGULAR} | {"exp"}  # their cost grows with the argument, not its digits
_MAX_ARGUMENT = 10**300
_FEW = 4  # points with a value, fewer tell nothing
_CLOSELY = 5  # of so many points one is always looked at with 50 digits


def same(wanted: Node, given: Node) -> bool | None:
    """Say whether two formulas are equal; None where one of them has no value that can be computed."""
    if wanted == given:
        return True
    names = sorted(symbols(wanted) | symbols(given))
    exact = same_fraction(wanted, given, names)
    if exact is not None:
        return exact
    try:
        if names and (points := whole.points(wanted, given, names)):
            return _same_at(wanted, given, points)
        if not _alike(wanted, given, names):
            return False
        return _precisely(wanted, given, names)
    except (NoValue, ArithmeticError, ValueError, TypeError, RecursionError):
        return None


def symbols(node: Node) -> set[str]:
    """Return the names of the free symbols."""
    return {one.text for one in walk(node) if one.kind in (Kind.SYMBOL, Kind.WORD) and one.text not in _CONSTANTS}


def constant(node: Node) -> float | None:
    """Return the value of a real constant, +-inf for infinity, None for everything else."""
    sign, bare = (-1, node.parts[0]) if node.kind == Kind.NEGATIVE else (1, node)
    if bare == Node(Kind.SYMBOL, text="∞"):
        return sign * math.inf
    try:
        exact = rational(node)
        value = complex(exact) if exact is not None else _evaluate(node, {}, _MACHINE)
        return value.real if abs(value.imag) <= 1e-12 * max(1.0, abs(value)) else None
    except (NoValue, ArithmeticError, ValueError, TypeError, RecursionError):
        return None


def proportional(wanted: Node, given: Node, *, positive: bool = False) -> bool | None:
    """Say whether two formulas are the same but for a constant factor (above zero where `positive`); None where it
    cannot be computed."""
    names = sorted(symbols(wanted) | symbols(given))
    points = whole.points(wanted, given, names)
    try:
        if points:
            pairs = _values(wanted, given, points)
        else:
            generic = [{name: coordinate(name, index) for name in names} for index in range(3)]
            pairs = [_pair(wanted, given, point) for point in generic]
        ratios = []
        for first, second in pairs:
            zeros = (abs(first) < 1e-30) + (abs(second) < 1e-30)
            if zeros == 1 or (zeros and not points):
                return zeros == 2
            ratios += [] if zeros else [first / second]
        same_ratio = all(abs(ratio - ratios[0]) < 1e-25 * abs(ratios[0]) for ratio in ratios)
        return same_ratio and (not positive or (abs(ratios[0].imag) < 1e-25 and ratios[0].real > 0))
    except (NoValue, ArithmeticError, ValueError, TypeError, RecursionError):
        return None


def _pair(wanted: Node, given: Node, point: dict[str, Fraction]) -> tuple[Any, Any]:
    field = _precise()
    at = {name: field.number(value) for name, value in point.items()}
    return _evaluate(wanted, at, field), _evaluate(given, at, field)


def _same_at(wanted: Node, given: Node, points: list[dict[str, Fraction]]) -> bool:
    """Say whether two formulas agree where both are real; raises NoValue where hardly anywhere. The machine's floats
    are enough where they agree, but for some of the points; what they tell apart is computed again."""
    seen, same = 0, True
    for place, point in enumerate(points):
        rough = _machine_pair(wanted, given, point) if place % _CLOSELY else None
        if rough and max(abs(value.imag) for value in rough) > 1e-6:
            continue
        if not rough or not _near(*rough):
            pair = _real_pair(wanted, given, point)
            if pair is None:
                continue
            same = same and _close(*pair, wanted, given)
        seen += 1
        if seen >= _FEW and not same:
            break
    if seen < _FEW:
        raise NoValue("at too few points")
    return same


def _machine_pair(wanted: Node, given: Node, point: dict[str, Fraction]) -> tuple[complex, complex] | None:
    """Return both values by the machine's floats; None where they cannot say."""
    at = {name: complex(value) for name, value in point.items()}
    try:
        return _evaluate(wanted, at, _MACHINE), _evaluate(given, at, _MACHINE)
    except (NoValue, ArithmeticError, ValueError):
        return None


def _near(first: complex, second: complex) -> bool:
    size = max(abs(first), abs(second))
    return 1e-9 < size < 1e12 and abs(first - second) <= 1e-9 * size


def _real_pair(wanted: Node, given: Node, point: dict[str, Fraction]) -> tuple[Any, Any] | None:
    try:
        pair = _pair(wanted, given, point)
    except (NoValue, ArithmeticError, ValueError):
        return None
    return pair if max(abs(value.imag) for value in pair) < 1e-30 else None


def _values(wanted: Node, given: Node, points: list[dict[str, Fraction]]) -> list[tuple[Any, Any]]:
    """Return both formulas' values at the points where both have a real one; raises NoValue where hardly any has."""
    pairs = [pair for point in points if (pair := _real_pair(wanted, given, point)) is not None]
    if len(pairs) < _FEW:
        raise NoValue("at too few points")
    return pairs


def _alike(wanted: Node, given: Node, names: list[str]) -> bool:
    """Say whether the machine's floats leave it possible that two formulas are equal."""
    rough = _machine_pair(wanted, given, {name: coordinate(name, 0) for name in names})
    size = max(map(abs, rough)) if rough else 0.0
    return rough is None or not 1e-9 < size < 1e12 or abs(rough[0] - rough[1]) <= 1e-4 * size


def _precisely(wanted: Node, given: Node, names: list[str]) -> bool:
    """Compare to 50 digits: at two points above zero, and at one of mixed sign where both are real there; where a
    formula turns, far out on both sides as well."""
    field = _precise()
    far = _beyond_kinks(wanted, given)  # |x - 3| is 3 - x on one side only
    points = [0, 1, 2, *((3, 4) if far else ())] if names else [0]
    for index in points:
        scale = (0, 0, 0, far, -far)[index] or 1
        point = {name: field.number(scale * coordinate(name, index)) for name in names}
        try:
            first, second = _evaluate(wanted, point, field), _evaluate(given, point, field)
        except (NoValue, ArithmeticError, ValueError):
            if index >= 2:
                continue  # the domain may end at zero
            raise
        if index in (2, 4) and max(abs(first.imag), abs(second.imag)) > 1e-30:
            continue  # another branch of a root or a logarithm
        if max(abs(first), abs(second)) < 1e-40 and not abs(first) == abs(second) == 0:
            tiny = _precise(150)  # rounding errors shrink with more digits, small numbers do not
            point = {name: tiny.number(coordinate(name, index)) for name in names}
            first, second = _settled(wanted, first, point, tiny), _settled(given, second, point, tiny)
        if not _close(first, second, wanted, given):
            return False
    return True


def _settled(node: Node, rough: Any, point: dict[str, Any], field: _Field) -> Any:
    value = _evaluate(node, point, field)
    return value * 0 if abs(value) < 1e-30 * abs(rough) else value


def _close(first: Any, second: Any, wanted: Node, given: Node) -> bool:
    if not (abs(first) < math.inf and abs(second) < math.inf):
        raise NoValue("infinite")
    difference, size = abs(first - second), max(abs(first), abs(second))
    if difference <= 1e-30 * size:
        return True
    places = [place for place in (last_place(wanted), last_place(given)) if place is not None]
    return bool(places) and difference < float(places[0])


def _beyond_kinks(*nodes: Node) -> int:
    """Return a number beyond which no |x - 3| turns, 0 where nothing turns."""
    parts = [one for node in nodes for one in walk(node)]
    if not any(one.kind == Kind.CALL and one.text in ("abs", "sgn", "max", "min", "floor", "ceil") for one in parts):
        return 0
    return 10 + 4 * min(10**9, math.ceil(max((abs(one.number) for one in parts), default=Fraction(0))))


class _Field:
    """The functions of one kind of number: the machine's complex floats, or mpmath's with 50 digits."""

    def __init__(
        self, module: Any, number: Callable[[Fraction], Any], gamma: Callable[[Any], Any], reach: float
    ) -> None:
        self.module, self.number, self.gamma = module, number, gamma
        self.reach = reach
        """Beyond it a periodic function of such a number is noise, or takes too long."""
        self.imaginary = number(Fraction(0)) + 1j
        functions = module
        self.functions: dict[str, Callable[..., Any]] = {
            "sin": functions.sin, "cos": functions.cos, "tan": functions.tan, "exp": functions.exp,
            "sinh": functions.sinh, "cosh": functions.cosh, "tanh": functions.tanh, "ln": functions.log,
            "arcsin": functions.asin, "arccos": functions.acos, "arctan": functions.atan,
            "arcsinh": functions.asinh, "arccosh": functions.acosh, "arctanh": functions.atanh,
            "cot": lambda x: functions.cos(x) / functions.sin(x), "sec": lambda x: 1 / functions.cos(x),
            "csc": lambda x: 1 / functions.sin(x), "coth": lambda x: functions.cosh(x) / functions.sinh(x),
            "arccot": lambda x: functions.atan(1 / x), "arcsec": lambda x: functions.acos(1 / x),
            "arccsc": lambda x: functions.asin(1 / x), "abs": abs, "Re": lambda x: x.real, "Im": lambda x: x.imag,
            "cis": lambda x: functions.cos(x) + self.imaginary * functions.sin(x),
            "lg": lambda x: functions.log(x) / functions.log(10), "sgn": lambda x: x / abs(x) if x else x,
        }  # fmt: skip


def _machine_gamma(value: complex) -> complex:
    if abs(value.imag) > 1e-12:
        raise NoValue("factorial of a complex number")
    return complex(math.gamma(value.real))


_MACHINE = _Field(cmath, complex, _machine_gamma, 1e6)
_CONSTANTS = frozenset(("pi", "e", "i"))


@cache
def _precise(digits: int = 50) -> _Field:
    from mpmath.ctx_mp import MPContext  # not at import: only what agrees in floats comes this far

    context = MPContext()
    context.dps = digits
    return _Field(context, lambda value: context.mpc(value.numerator) / value.denominator, context.gamma, 1e20)


def _evaluate(node: Node, point: dict[str, Any], field: _Field) -> Any:
    """Compute a formula at a point; raises NoValue, ArithmeticError or ValueError where it has no value."""
    kind = node.kind
    if kind == Kind.NUMBER:
        return field.number(node.number)
    if kind in (Kind.SYMBOL, Kind.WORD):
        return _named(node.text, point, field)
    if kind not in _NUMERIC:
        raise NoValue(kind)
    parts = map(_radians, node.parts) if node.text in _ANGULAR else node.parts
    values = [_evaluate(part, point, field) for part in parts]
    first, last = values[0], values[-1]
    if kind == Kind.SUM:
        return first + last
    if kind == Kind.PRODUCT:
        return first * last
    if kind == Kind.QUOTIENT:
        return first / last
    if kind == Kind.POWER:
        return _raised(first, last, node, field)
    if kind == Kind.NEGATIVE:
        return 0 - first  # -(1 + 0i) is -1 - 0i, and its root -i
    if kind == Kind.PERCENT:
        return first / 100
    if kind == Kind.DEGREE:
        return first
    return _called(node, values, field)


def _named(name: str, point: dict[str, Any], field: _Field) -> Any:
    if name in point:
        return point[name]
    if name == "pi":
        return +field.module.pi
    if name == "e":
        return field.module.exp(1)
    if name == "i":
        return field.imaginary
    raise NoValue(name)


def _raised(base: Any, exponent: Any, node: Node, field: _Field) -> Any:
    """Return a power; a negative real base under an odd root is real: (-8)^(1/3) = -2."""
    if abs(exponent) > _MAX_EXPONENT:
        raise NoValue("exponent")
    if base == 0:
        if exponent.real <= 0:
            raise NoValue("zero to no power")
        return base
    if exponent.imag == 0 and exponent.real == round(float(exponent.real)):
        return base ** round(float(exponent.real))
    if base.imag == 0 and base.real < 0:
        ratio = rational(node.parts[1])
        if ratio is not None and ratio.denominator % 2:
            return (-1) ** ratio.numerator * (-base) ** exponent
    return base**exponent


def _called(node: Node, values: list[Any], field: _Field) -> Any:
    """Compute a function of numbers."""
    name, first, last = node.text, values[0], values[-1]
    if name == "root":
        return _root(first, node, field)
    if name == "log" and len(values) == 2:
        return field.module.log(first) / field.module.log(last)
    if name == "log":
        return field.module.log(first)
    if name == "factorial":
        return _factorial(first, field)
    if name == "binom":
        return _factorial(first, field) / (_factorial(last, field) * _factorial(first - last, field))
    if name in ("max", "min"):
        if any(abs(value.imag) > 1e-12 for value in values):
            raise NoValue("not real")
        return (max if name == "max" else min)(values, key=lambda value: value.real)
    if name in ("zeta", "Gamma"):
        return _special(name, first, field)
    if name in ("floor", "ceil", "mod", "gcd", "lcm", whole.DOUBLE_FACTORIAL):
        return field.number(_whole(name, [_real(value) for value in values]))
    if name in field.functions and len(values) == 1:
        if not abs(first) < (field.reach if name in _PERIODIC else _MAX_ARGUMENT):
            raise NoValue("argument")
        return field.functions[name](first)
    if name in field.functions or name in ("root", "log"):
        raise NoValue("arguments")
    # an unknown function: a smooth number of its own that depends on every argument
    own = sum((value * (place + 1) for place, value in enumerate(values)), field.number(coordinate(name, 0)))
    if not abs(own) < field.reach:
        raise NoValue("argument")
    return field.module.sin(own)


def _radians(node: Node) -> Node:
    """Return an angle with every x° in it as x * pi / 180."""
    parts = tuple(_radians(part) for part in node.parts)
    if node.kind != Kind.DEGREE:
        return node._replace(parts=parts)
    return Node(Kind.PRODUCT, (parts[0], Node(Kind.QUOTIENT, (Node(Kind.SYMBOL, text="pi"), fraction(Fraction(180))))))


def _root(inside: Any, node: Node, field: _Field) -> Any:
    degree = rational(node.parts[1]) if len(node.parts) == 2 else Fraction(2)
    if degree is None or degree == 0 or abs(degree) > 1000:
        raise NoValue("root")
    if inside == 0:
        return inside
    if degree.denominator == 1 and degree.numerator % 2 and inside.imag == 0 and inside.real < 0:
        return -((-inside) ** (1 / field.number(degree)))
    if degree == 2:
        return field.module.sqrt(inside)
    return inside ** (1 / field.number(degree))


def _special(name: str, value: Any, field: _Field) -> Any:
    """Return Gamma(x) or Riemann's zeta(x)."""
    if abs(value) > 60:
        raise NoValue("argument")
    if name == "Gamma":
        return field.gamma(value)
    return _precise().module.zeta(value) if field is _MACHINE else field.module.zeta(value)


def _factorial(value: Any, field: _Field) -> Any:
    if abs(value) > 10_000:
        raise NoValue("factorial")
    return field.gamma(value + 1)


def _real(value: Any) -> Fraction:
    if abs(value.imag) > 1e-12 or abs(value) > 1e15:
        raise NoValue("not real")
    nearest = round(float(value.real))
    exact = abs(value.real - nearest) < 1e-12
    return Fraction(nearest) if exact else Fraction(float(value.real))


def _whole(name: str, values: list[Fraction]) -> Fraction:
    if name in ("floor", "ceil"):
        return Fraction(math.floor(values[0]) if name == "floor" else math.ceil(values[0]))
    if name == whole.DOUBLE_FACTORIAL:
        return whole.double_factorial(values[0])
    if name == "mod":
        return values[0] % values[1]
    if any(value.denominator != 1 for value in values):
        raise NoValue(name)
    numbers = [int(value) for value in values]
    return Fraction(math.gcd(*numbers) if name == "gcd" else math.lcm(*numbers))

"""Formulas with units: ``4\\pi cm^2``, ``10\\sqrt{2}``, ``\\frac{\\pi}{3} rad``; an angle in degrees is one in radians."""

import re
from dataclasses import dataclass
from fractions import Fraction

from prism_pl.verification.quantities import parse_quantity
from prism_pl.verification.units import BASES, Dimensions, parse_unit

_FORMULA = re.compile(r"(?:\\(?:pi|sqrt|frac|cdot|times)(?![a-zA-Z])|[\d\s.+\-*/^{}()])+")
_DEGREE, _RADIAN = (("degree", 1),), (("radian", 1),)


@dataclass(frozen=True)
class Measure:
    """A formula without unknowns, and its unit."""

    formula: str
    factor: str
    """Of the unit, as LaTeX."""
    dimensions: Dimensions

    @property
    def in_base_units(self) -> str:
        return rf"({self.formula}) \cdot {self.factor}"


def parse_measure(text: str) -> Measure | None:
    """From a canonical text that is no more than a formula without unknowns and at most a known unit.

    >>> parse_measure("4\\\\pi cm^{2}").dimensions, parse_measure("x cm")
    ((('metre', 2),), None)
    """
    quantity = parse_quantity(text)
    if quantity is not None:
        if quantity.plain is None or quantity.is_percent:
            return None
        factor = quantity.value / quantity.plain if quantity.plain else Fraction(1)
        return Measure(_latex(quantity.plain), _latex(factor), quantity.dimensions)
    led = _FORMULA.match(text)
    if led is None or not re.search(r"\d|\\pi", led[0]):
        return None
    unit = parse_unit(text[led.end() :])
    if unit is None or any(base not in BASES for base, _ in unit[1]):
        return None
    if unit[1] and not led[0].endswith(" "):
        return None  # 2\\pi r is a product
    return Measure(led[0].strip(), _latex(unit[0]), unit[1])


def comparable(first: Measure, second: Measure) -> tuple[str, str] | None:
    """Two formulas that are equal if the measures are; None if their units are not of one kind.

    A unit that one side leaves out is taken from the other; but degrees are not taken for a multiple of pi.
    """
    sides = [first, second]
    if any(side.dimensions == _DEGREE for side in sides):
        sides = [_in_radians(side) for side in sides]
    if sides[0].dimensions == sides[1].dimensions:
        return sides[0].in_base_units, sides[1].in_base_units
    return (first.formula, second.formula) if not first.dimensions or not second.dimensions else None


def _in_radians(measure: Measure) -> Measure:
    if measure.dimensions == _DEGREE:
        return Measure(rf"({measure.formula}) \cdot \frac{{\pi}}{{180}}", measure.factor, _RADIAN)
    return Measure(measure.formula, "1", _RADIAN) if r"\pi" in measure.formula and not measure.dimensions else measure


def _latex(value: Fraction) -> str:
    return rf"{'-' * (value < 0)}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"

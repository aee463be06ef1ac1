"""Numbers with units: ``5 kg`` is not ``5 lb``, ``1 m`` is ``100 cm``, ``50%`` is ``0.5``, ``3 h 20 min`` are 200."""

import re
from dataclasses import dataclass
from fractions import Fraction

from prism_pl.verification.numerals import read_number, read_ordinal
from prism_pl.verification.units import BASES, CURRENCIES, Dimensions, parse_unit

_PERCENT = re.compile(r"%|(?:percent(?:age)?|per cent|pct)\.?(?:\s+points?)?", re.IGNORECASE)
_LED_BY_CURRENCY = re.compile(rf"([-+]?)\s*(?:US|us)?\s*([{CURRENCIES}]|(?:Rs|USD|EUR|GBP|INR)\b\.?)\s*([-+]?)")
_PLACES, _DIGITS = 4, 6
"""Digits behind the point, and in all, from which on a decimal may stand for what it rounds: 0.333333 for 1/3."""


@dataclass(frozen=True)
class Quantity:
    """An exact value with its unit's dimensions."""

    value: Fraction
    """In base units; a percentage is its hundredth."""
    dimensions: Dimensions
    plain: Fraction | None
    """The number as written, before unit and percent; None of mixed units: 3 h 20 min is no number without them."""

    @property
    def is_percent(self) -> bool:
        return not self.dimensions and self.value != self.plain

    def equals(self, other: "Quantity") -> bool:
        """Equal values. A unit that one side leaves out is taken from the other."""
        if self.dimensions == other.dimensions:
            return _equal(self.value, other.value)
        if (self.dimensions and other.dimensions) or self.plain is None or other.plain is None:
            return False
        return _equal(self.plain, other.plain) and not (self.is_percent or other.is_percent)


def parse_quantity(text: str) -> Quantity | None:
    """From a canonical text; None if it is no number with at most a unit.

    >>> parse_quantity("1 m").equals(parse_quantity("100 cm")), parse_quantity("5 kg").equals(parse_quantity("5 lb"))
    (True, False)
    """
    text = text.strip()
    if (ordinal := read_ordinal(text)) is not None:
        return Quantity(Fraction(ordinal), (("ordinal", 1),), Fraction(ordinal))
    if led := _LED_BY_CURRENCY.match(text):
        text, currency = led[1] + led[3] + text[led.end() :], led[2].removesuffix(".")
    else:
        currency = ""
    number = read_number(text)
    if number is None:
        return None
    value, rest = number
    if currency:
        if rest.strip().lower() not in ("", "dollar", "dollars", "usd", "euros", "euro", "rupees"):
            return _sum(text, value, rest, currency)
        rest = f" {currency}"
    return _single(value, rest) or _sum(text, value, rest, currency)


def _single(value: Fraction, rest: str) -> Quantity | None:
    """A number and the unit behind it."""
    if re.fullmatch(r"[A-Za-z]", rest):
        # 5m and 2x are products in algebra; as a unit a single letter stands apart.
        return None
    # A 5-inch screen; 5 - m is a difference.
    rest = re.sub(r"^-(?=[^\W\d_]{2})", " ", rest)
    spaced, rest = rest[:1].isspace(), rest.strip()
    if _PERCENT.fullmatch(rest):
        return Quantity(value / 100, (), value)
    unit = parse_unit(re.sub(r"^of\s+(?:an?\s+)?", "", rest))
    if unit is None:
        return None
    factor, dimensions = unit
    if not spaced and any(base not in BASES for base, _ in dimensions):
        return None
    return Quantity(value * factor, dimensions, value)


def _sum(text: str, value: Fraction, rest: str, currency: str) -> Quantity | None:
    """Mixed units, the larger ones first: 3 hours and 20 minutes, 5 feet 7 inches, $3 and 50 cents."""
    if value < 0 or text[:1] in "+-":
        return None
    parts = list[tuple[Fraction, Fraction, Dimensions]]()
    while True:
        if currency:
            unit, currency = re.match(r"\s*", rest), ""
            named = parse_unit("$") if unit else None
        else:
            unit = re.match(r"\s*([^\W\d_]+\.?|\^\\circ|')\s*", rest)
            named = parse_unit(unit[1]) if unit else None
        if unit is None or named is None or not named[1] or named[1][0][0] not in BASES:
            return None
        parts.append((value, named[0], named[1]))
        rest = re.sub(r"^\s*(?:,|,?\s*and\b)\s*", "", rest[unit.end() :])
        if not rest:
            break
        number = read_number(rest)
        if number is None or number[0] < 0 or rest[0] in "+-":
            return None
        value, rest = number
    factors = [factor for _, factor, _ in parts]
    if len({dimensions for *_, dimensions in parts}) > 1 or factors != sorted(factors, reverse=True) or len(parts) < 2:
        return None
    if len(set(factors)) < len(factors):
        return None
    total = sum((value * factor for value, factor, _ in parts), Fraction(0))
    return Quantity(total, parts[0][2], None)


def parse_ratio(text: str) -> tuple[Fraction, ...] | None:
    """The members of ``3:4`` or ``1 : 2 : 3`` as shares of their sum; two members are also a fraction.

    >>> parse_ratio("3:4") == parse_ratio("6:8") == parse_ratio("3 to 4"), parse_ratio("3:4") == parse_ratio("4:3")
    (True, False)
    """
    parts = re.split(r"\s*:\s*|\s+to\s+", text.strip())
    numbers = [read_number(part) for part in parts]
    if len(parts) < 2 or any(number is None or number[1].strip() or number[0] < 0 for number in numbers):
        return None
    values = [number[0] for number in numbers if number]
    total = sum(values, Fraction(0))
    return tuple(value / total for value in values) if total else None


def _equal(a: Fraction, b: Fraction) -> bool:
    """Exactly; but a fraction without an end as a decimal may be given as one of enough digits."""
    return a == b or stands_for(a, b) or stands_for(b, a)


def stands_for(decimal: Fraction, exact: Fraction) -> bool:
    """True if a decimal is what an endless one is rounded or cut to, with six digits, four of them behind the point.

    >>> [stands_for(Fraction(text), Fraction(2, 3)) for text in ("0.666667", "0.666666", "0.67", "0.666668")]
    [True, True, False, False]
    """
    places = _decimals(decimal)
    if places is None or _decimals(exact) is not None:
        return False
    digits = len(str(abs(decimal.numerator * 10**places // decimal.denominator)))
    unit, beyond = Fraction(1, 10**places), abs(exact) - abs(decimal)
    agrees = decimal * exact > 0 and (2 * abs(beyond) <= unit or 0 <= beyond < unit)
    return agrees and places >= _PLACES and digits >= _DIGITS


def _decimals(value: Fraction) -> int | None:
    """Digits behind the point; None of a fraction that has no end as a decimal."""
    rest, powers = value.denominator, {2: 0, 5: 0}
    for prime in powers:
        while rest % prime == 0:
            rest //= prime
            powers[prime] += 1
    return max(powers.values()) if rest == 1 else None

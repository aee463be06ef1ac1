"""Numbers with units: ``5 kg`` is not ``5 lb``, ``1 m`` is ``100 cm``, ``50%`` is ``0.5``."""

import re
from dataclasses import dataclass
from fractions import Fraction

Dimensions = tuple[tuple[str, int], ...]
"""Base and power, sorted; empty for a bare number."""

# name: (factor to the base, base). Temperatures and currencies are bases of their own: no factor turns one into another.
_UNITS: dict[str, tuple[Fraction, str]] = {}


def _define(base: str, *entries: tuple[str, str]) -> None:
    for factor, names in entries:
        for name in names.split():
            _UNITS[name] = (Fraction(factor), base)


_define("metre", ("1", "m meter metre"), ("1/100", "cm centimeter centimetre"), ("1/1000", "mm millimeter millimetre"),
        ("1/10", "dm decimeter decimetre"), ("1000", "km kilometer kilometre"), ("1/1000000", "μm um micrometer"),
        ("1/1000000000", "nm nanometer"), ("0.0254", "in inch inche"), ("0.3048", "ft foot feet"),
        ("0.9144", "yd yard"), ("1609.344", "mi mile"))  # fmt: skip
_define("gram", ("1", "g gram gramme"), ("1000", "kg kilogram kilo"), ("1/1000", "mg milligram"),
        ("1000000", "t ton tonne"), ("453.59237", "lb pound"), ("28.349523125", "oz ounce"))  # fmt: skip
_define("second", ("1", "s sec second"), ("60", "min minute"), ("3600", "h hr hour"), ("86400", "day"),
        ("604800", "week"), ("1/1000", "ms millisecond"))  # fmt: skip
_define("year", ("1", "yr year"), ("1/12", "month"))
_define("litre", ("1", "L l liter litre"), ("1/1000", "mL ml milliliter millilitre"), ("3.785411784", "gallon gal"))
_define("ampere", ("1", "A amp ampere"), ("1/1000", "mA"))
_define("volt", ("1", "V volt"), ("1000", "kV"), ("1/1000", "mV"))
_define("ohm", ("1", "Ω ohm"), ("1000", "kΩ"))
_define("newton", ("1", "N newton"), ("1000", "kN"))
_define("joule", ("1", "J joule"), ("1000", "kJ"), ("4.184", "cal calorie"), ("4184", "kcal"))
_define("watt", ("1", "W watt"), ("1000", "kW"), ("1000000", "MW"))
_define("pascal", ("1", "Pa pascal"), ("1000", "kPa"))
_define("hertz", ("1", "Hz hertz"), ("1000", "kHz"), ("1000000", "MHz"))
_define("mole", ("1", "mol mole"))
_define("degree", ("1", r"deg degree ^\circ"))
_define("radian", ("1", "rad radian"))
_define("celsius", ("1", r"℃ ^\circC celsius"))
_define("fahrenheit", ("1", r"℉ ^\circF fahrenheit"))
_define("kelvin", ("1", "K kelvin"))
_define("dollar", ("1", "$ dollar USD"), ("1/100", "cent"))
_define("euro", ("1", "€ euro EUR"))
_define("sterling", ("1", "£ GBP"))

_BASES = {base for _, base in _UNITS.values()}

_NUMBER = re.compile(r"([-+]?)\s*(\d+(?:\.\d*)?|\.\d+)")
_FRACTION = re.compile(r"([-+]?)\s*(\d*)\s*\\frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_SLASHED = re.compile(r"([-+]?)\s*(\d+)\s*/\s*(\d+)")
_POWER = re.compile(r"([-+]?)\s*(\d+(?:\.\d+)?)\s*\\times\s*10\s*\^\s*\{?\s*([-+]?\d{1,3})\s*\}?")
_FACTOR = re.compile(r"(\^\\circ\s*[CF]?|[^\W\d_]+|[$€£℃℉])\s*(?:\^\s*\{?\s*(-?\d)\s*\}?)?")


@dataclass(frozen=True)
class Quantity:
    """An exact value with its unit's dimensions."""

    value: Fraction
    """In base units; a percentage is its hundredth."""
    dimensions: Dimensions
    plain: Fraction
    """The number as written, before unit and percent."""

    @property
    def is_percent(self) -> bool:
        return not self.dimensions and self.value != self.plain

    def equals(self, other: "Quantity") -> bool:
        """Equal values. A unit that one side leaves out is taken from the other."""
        if self.dimensions == other.dimensions:
            return _equal(self.value, other.value)
        if not self.dimensions or not other.dimensions:
            return _equal(self.plain, other.plain) and not (self.is_percent or other.is_percent)
        return False


def parse_quantity(text: str) -> Quantity | None:
    """From a canonical text; None if it is no number with at most a unit.

    >>> parse_quantity("1 m").equals(parse_quantity("100 cm")), parse_quantity("5 kg").equals(parse_quantity("5 lb"))
    (True, False)
    """
    text = text.strip()
    currency = ""
    if led := re.match(r"([-+]?)\s*([$€£])\s*", text):
        text, currency = led[1] + text[led.end() :], led[2]
    number = _read_number(text)
    if number is None:
        return None
    value, rest = number
    if re.fullmatch(r"[A-Za-z]", rest):
        # 5m and 2x are products in algebra; as a unit a single letter stands apart.
        return None
    spaced, rest = rest[:1].isspace(), rest.strip()
    if currency:
        if rest:
            return None
        rest = currency
    if rest == "%" or rest in ("percent", "per cent"):
        return Quantity(value / 100, (), value)
    unit = parse_unit(rest)
    if unit is None:
        return None
    factor, dimensions = unit
    if not spaced and any(base not in _BASES for base, _ in dimensions):
        return None
    return Quantity(value * factor, dimensions, value)


def _equal(a: Fraction, b: Fraction) -> bool:
    """Exactly; a fraction without an end as a decimal may be given to six digits."""
    if a == b:
        return True
    return not (_ends(a) and _ends(b)) and abs(a - b) * 10**6 <= max(abs(a), abs(b))


def _ends(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _read_number(text: str) -> tuple[Fraction, str] | None:
    if power := _POWER.match(text):
        sign, digits, exponent = power.groups()
        return _signed(sign, Fraction(digits) * Fraction(10) ** int(exponent)), text[power.end() :]
    if fraction := _FRACTION.match(text):
        sign, whole, top, bottom = fraction.groups()
        if not int(bottom):
            return None
        return _signed(sign, int(whole or 0) + Fraction(int(top), int(bottom))), text[fraction.end() :]
    if slashed := _SLASHED.match(text):
        sign, top, bottom = slashed.groups()
        if not int(bottom):
            return None
        return _signed(sign, Fraction(int(top), int(bottom))), text[slashed.end() :]
    if number := _NUMBER.match(text):
        sign, digits = number.groups()
        return _signed(sign, Fraction(digits if digits != "." else "0")), text[number.end() :]
    return None


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value


def parse_unit(text: str) -> tuple[Fraction, Dimensions] | None:
    """``(factor, dimensions)`` of a unit such as ``cm``, ``m/s^2`` or ``square feet``; None if the text is no unit.

    An unknown word is a unit of its own. The empty text is no dimension at all.
    """
    text = re.sub(r"\b(?:square|sq\.?)\s+(\w+)", r"\1^2", text.strip())
    text = re.sub(r"\bcubic\s+(\w+)", r"\1^3", text)
    text = re.sub(r"\s*\bper\b\s*", "/", text)
    factor, powers, sign, position = Fraction(1), dict[str, int](), 1, 0
    while position < len(text):
        if position:
            link = re.compile(r"\s*(/|\\cdot|\*|)\s*").match(text, position)
            assert link is not None
            sign, position = (-1 if link[1] == "/" else sign), link.end()
        part = _FACTOR.match(text, position)
        if part is None:
            return None
        unit = _unit(re.sub(r"\s", "", part[1]))
        if unit is None:
            return None
        size, base = unit
        power = sign * int(part[2] or 1)
        factor *= size**power
        powers[base] = powers.get(base, 0) + power
        position = part.end()
    return factor, tuple(sorted((base, power) for base, power in powers.items() if power))


def _unit(name: str) -> tuple[Fraction, str] | None:
    """Factor and base; a word of its own counts what it names (``5 apples``), a letter or two are algebra."""
    for spelling in (name, name.lower(), name.lower().removesuffix("s")):
        if spelling in _UNITS:
            return _UNITS[spelling]
    return (Fraction(1), name.lower().removesuffix("s")) if len(name) > 2 else None

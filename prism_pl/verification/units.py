"""Units with exact factors: ``1 m`` is ``100 cm``; ``5 kg`` is not ``5 lb``."""

import re
from fractions import Fraction

Dimensions = tuple[tuple[str, int], ...]
"""Base and power, sorted; empty for a bare number."""

# name: (factor to the base, base). Temperatures and currencies are bases of their own: no factor turns one into another.
_UNITS: dict[str, tuple[Fraction, str]] = {}


def _define(base: str, *entries: tuple[str, str]) -> None:
    for factor, names in entries:
        for name in names.split():
            _UNITS[name] = (Fraction(factor), base)


_define("metre", ("1", "m meter metre mtr"), ("1/100", "cm CM Cm centimeter centimetre"),
        ("1/10", "dm decimeter decimetre"), ("1/1000", "mm millimeter millimetre"),
        ("1000", "km Km KM kilometer kilometre"), ("1/1000000", "μm um micrometer micrometre"),
        ("1/1000000000", "nm nanometer nanometre"), ("0.0254", "in inch inche"), ("0.3048", "ft foot feet"),
        ("0.9144", "yd yard"), ("1609.344", "mi mile"))  # fmt: skip
_define("gram", ("1", "g gram gramme gm"), ("1000", "kg Kg KG kilogram kilo kilogramme"), ("1/1000", "mg milligram"),
        ("1000000", "t ton tonne"), ("453.59237", "lb lbs pound"), ("28.349523125", "oz ounce"))  # fmt: skip
_define("second", ("1", "s sec second"), ("60", "min minute"), ("3600", "h hr hrs Hr hour"), ("86400", "day"),
        ("604800", "week"), ("1/1000", "ms millisecond"))  # fmt: skip
_define("year", ("1", "yr yrs year"), ("1/12", "month"), ("10", "decade"), ("100", "century centurie"))
_define("litre", ("1", "L l liter litre"), ("1/1000", "mL ml milliliter millilitre"), ("3.785411784", "gallon gal"))
_define("ampere", ("1", "A amp ampere"), ("1/1000", "mA"))
_define("volt", ("1", "V volt"), ("1000", "kV"), ("1/1000", "mV"))
_define("ohm", ("1", r"Ω \Omega ohm"), ("1000", "kΩ"))
_define("newton", ("1", "N newton"), ("1000", "kN"))
_define("joule", ("1", "J joule"), ("1000", "kJ"), ("4.184", "cal calorie"), ("4184", "kcal"), ("3600000", "kWh"))
_define("watt", ("1", "W watt"), ("1/1000", "mW milliwatt"), ("1000", "kW"), ("1000000", "MW"))
_define("pascal", ("1", "Pa pascal"), ("1000", "kPa"))
_define("hertz", ("1", "Hz hertz"), ("1000", "kHz"), ("1000000", "MHz"))
_define("mole", ("1", "mol mole"))
_define("degree", ("1", r"deg degree ^\circ"), ("1/60", "arcminute"))
_define("radian", ("1", "rad radian"))
_define("celsius", ("1", r"℃ ^\circC celsius"))
_define("fahrenheit", ("1", r"℉ ^\circF fahrenheit"))
_define("kelvin", ("1", "K kelvin"))
_define("dollar", ("1", "$ dollar USD buck"), ("1/100", "cent ¢"))
_define("euro", ("1", "€ euro EUR"))
_define("sterling", ("1", "£ GBP"), ("1/100", "pence"))
_define("rupee", ("1", "₹ Rs rs rupee INR"))
_define("yen", ("1", "¥ yen JPY yuan"))
_define("unit", ("1", "unit"))

_COMPOUND = {"mph": "mi/h", "kph": "km/h", "kmph": "km/h", "sqft": "ft^2", "sqm": "m^2", "cc": "cm^3"}
CURRENCIES = "$€£₹¥"
_SPELT_LIKE = 4
"""Names from this length on may be written in capitals, ``KILOMETERS``; of shorter ones the case matters: mW, MW."""
# Words behind a number that change its value or deny it. They are no units.
_NO_UNIT = {
    "squared", "cubed", "factorial", "half", "halves", "third", "thirds", "quarter", "quarters", "fourth", "fourths",
    "fifth", "fifths", "tenth", "tenths", "hundredth", "hundredths", "minus", "plus", "times", "over", "root", "mod",
    "modulo", "more", "less", "fewer", "than", "not", "never", "wrong", "incorrect", "false", "and", "or", "but",
    "except", "percent", "hundred", "thousand", "million", "billion", "trillion", "dozen", "point", "negative",
    "positive", "remainder", "choose", "exceeds", "above", "below", "least", "most", "between", "versus", "instead",
    "impossible", "infinite", "undefined", "by", "the", "with", "without", "maybe",
}  # fmt: skip
_FACTOR = re.compile(
    r"(\^\\circ\s*[CF]\b|\^\\circ|\\Omega|[^\W\d_]+\.?|[$€£¥₹¢℃℉])(?:\s*\^\s*\{?\s*(-?\d)\s*\}?|\s+(squared|cubed)\b)?"
)
_LINK = re.compile(r"\s*(/|\\cdot|\*|)\s*")


def parse_unit(text: str) -> tuple[Fraction, Dimensions] | None:
    """``(factor, dimensions)`` of a unit such as ``cm``, ``m/s^2`` or ``square feet``; None if the text is no unit.

    One unknown word is a unit of its own: it counts what it names. The empty text is no dimension at all.
    """
    text = re.sub(r"\b(?:square\b|sq\b\.?)\s*([a-zA-Z]+)", r"\1^2", text.strip())
    text = re.sub(r"\b(?:cubic|cu\b\.?)\s*([a-zA-Z]+)", r"\1^3", text)
    text = re.sub(r"\s*\b(?:per|an?(?=\s+(?:second|minute|hour|day|week|month|year)\b))\b\s*", "/", text)
    text = re.sub(rf"\b({'|'.join(_COMPOUND)})\b", lambda match: _COMPOUND[match[1]], text)
    factor, powers, sign, position, unknown = Fraction(1), dict[str, int](), 1, 0, 0
    while position < len(text):
        if position:
            link = _LINK.match(text, position)
            assert link is not None
            sign, position = (-1 if link[1] == "/" else sign), link.end()
        part = _FACTOR.match(text, position)
        if part is None:
            return None
        unit = _unit(re.sub(r"\s", "", part[1]).removesuffix("."))
        if unit is None:
            return None
        size, base = unit
        unknown += base not in BASES
        if part[2] and int(part[2]) == 0:
            return None
        power = sign * int(part[2] or {"squared": 2, "cubed": 3, None: 1}[part[3]])
        factor *= size**power
        powers[base] = powers.get(base, 0) + power
        position = part.end()
    # 5 m away is a sentence; 5 dollars per ticket is a unit.
    if unknown > 1 or (unknown and len(powers) > 1 and sign == 1):
        return None
    return factor, tuple(sorted((base, power) for base, power in powers.items() if power))


def _unit(name: str) -> tuple[Fraction, str] | None:
    """Factor and base; a word of its own counts what it names (``5 apples``), a letter or two are algebra."""
    spellings = [name, name.removesuffix("s")]
    if len(name) >= _SPELT_LIKE:
        spellings += [name.lower(), name.lower().removesuffix("s")]
    for spelling in spellings:
        if spelling in _UNITS:
            return _UNITS[spelling]
    word = name.lower()
    if len(word) < 3 or not word.isalpha() or word in _NO_UNIT:
        return None
    return Fraction(1), singular(word)


def singular(word: str) -> str:
    """Of a lower-case noun, as well as its ending tells.

    >>> [singular(word) for word in ("boxes", "berries", "triangles", "glass", "bus")]
    ['box', 'berry', 'triangle', 'glass', 'bus']
    """
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


BASES = {base for _, base in _UNITS.values()}

"""Numbers and units."""

from fractions import Fraction

import pytest

from prism_pl.verification import parse_quantity
from prism_pl.verification.quantities import parse_unit


@pytest.mark.parametrize(
    ("text", "value", "dimensions"),
    [
        ("5", 5, ()),
        ("-5", -5, ()),
        ("50%", Fraction(1, 2), ()),
        ("2 km", 2000, (("metre", 1),)),
        ("36 km/h", 10, (("metre", 1), ("second", -1))),
        ("3 ft^2", Fraction("0.27870912"), (("metre", 2),)),
        ("$5", 5, (("dollar", 1),)),
        ("-$5", -5, (("dollar", 1),)),
        (r"\frac{1}{2} h", 1800, (("second", 1),)),
        ("7 apples", 7, (("apple", 1),)),
        (r"3\times 10^{2} m", 300, (("metre", 1),)),
    ],
)
def test_quantity(text: str, value: Fraction, dimensions: tuple) -> None:
    quantity = parse_quantity(text)
    assert quantity is not None
    assert (quantity.value, quantity.dimensions) == (value, dimensions)


@pytest.mark.parametrize(
    "text", ["", "x", "2x", "2 x", "2ab", "2abc", "1/0", r"\frac{1}{0}", "5 + 3", "(5", "5 kg + 3", "$"]
)
def test_no_quantity(text: str) -> None:
    assert parse_quantity(text) is None


def test_units_multiply_and_divide() -> None:
    assert parse_unit("m/s^2") == (1, (("metre", 1), ("second", -2)))
    # Whatever follows a slash divides: J/kg K is J/(kg K).
    assert parse_unit("J/kg K") == (Fraction(1, 1000), (("gram", -1), ("joule", 1), ("kelvin", -1)))
    assert parse_unit("cm/cm") == (1, ())
    assert parse_unit("2") is None

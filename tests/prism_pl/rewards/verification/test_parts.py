"""Spelling, choices and quantities, each by itself."""

from fractions import Fraction

import pytest

from prism_pl.rewards.verification import choice_letter, parse_quantity
from prism_pl.rewards.verification.quantities import parse_unit
from prism_pl.rewards.verification.text import canonical


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"$\left( 1,\,2 \right)$.", "( 1, 2 )"),
        ("−5", "-5"),
        ("3 1/2", r"3\frac{1}{2}"),
        ("½", "1/2"),
        ("1,234,567", "1234567"),
        ("1,23", "1,23"),
        ("x²", "x^{2}"),
        (r"\text{ yes }", "yes"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} + \boxed{2}", r"\boxed{1} + \boxed{2}"),
        ("$1$ or $2$", "$1$ or $2$"),
        ("...", "..."),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected
    assert canonical(canonical(text)) == canonical(text)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("C", "C"),
        ("(C)", "C"),
        ("C: because", "C"),
        ("The correct option is C", "C"),
        ("It is (C), not (D)", "C"),
        ("I choose C.", "C"),
        ("Option A is wrong. The answer is B.", "A"),
        ("CD", None),
        ("", None),
        ("Answer's unknown", None),
    ],
)
def test_choice_letter(text: str, letter: str | None) -> None:
    assert choice_letter(text) == letter


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

"""Spelling."""

import pytest

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

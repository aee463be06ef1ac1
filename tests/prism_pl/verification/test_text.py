"""Spelling."""

import pytest

from prism_pl.verification.text import canonical


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
        ("$1$ or $2$", "1 or 2"),
        ("costs $5 or $6", "costs $5 or $6"),
        ("(0,180)", "(0,180)"),
        (r"11,\! 111", "11111"),
        (r"\frac{1,000}{3}", r"\frac{1000}{3}"),
        (r"\{1,200\}", r"\{1,200\}"),
        (r"\frac34", r"\frac{3}{4}"),
        (r"\tfrac\pi2", r"\frac{\pi}{2}"),
        (r"1&2\\ 3&4", r"1&2\\ 3&4"),
        ("2**3**2", "2^{3}^{2}"),
        (r"\left[\begin{array}{cc}1&2\end{array}\right]", r"\begin{pmatrix}1&2\end{pmatrix}"),
        (r"\begin{vmatrix}1\end{vmatrix}", r"\begin{vmatrix}1\end{vmatrix}"),
        ("5 sec", "5 sec"),
        (r"a \leq b", r"a \le b"),
        ("x_1^2", "x_{1}^{2}"),
        (r"3\textnormal{ miles}", "3 miles"),
        ("...", "..."),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected
    assert canonical(canonical(text)) == canonical(text)

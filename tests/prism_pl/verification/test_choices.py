"""Which letter a text names."""

import pytest

from prism_pl.verification import choice_letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("C", "C"),
        ("(C)", "C"),
        ("C: because", "C"),
        ("The correct option is C", "C"),
        ("It is (C), not (D)", "C"),
        ("I choose C.", "C"),
        ("Option A is wrong. The answer is B.", "B"),
        ("The answer is not C", None),
        ("Not A and not C, so B", "B"),
        ("only A and B are left", None),
        ("only D is left", "D"),
        ("+*A", None),
        ("A cat, not B", None),
        ("CD", None),
        ("", None),
        ("Answer's unknown", None),
    ],
)
def test_choice_letter(text: str, letter: str | None) -> None:
    assert choice_letter(text) == letter

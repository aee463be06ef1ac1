"""Which letter a text names."""

import pytest

from prism_pl.rewards.verification import choice_letter


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

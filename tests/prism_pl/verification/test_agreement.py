"""Verdicts on (true answer, prediction) pairs, and what must hold for any answer."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_pl.verification import answers_agree
from tests.prism_pl.verification import cases
from tests.prism_pl.verification.adversarial import ADVERSARIAL
from tests.prism_pl.verification.cases import ALL, Case
from tests.prism_pl.verification.formulas import FORMULAS
from tests.prism_pl.verification.measured import MEASURED
from tests.prism_pl.verification.spoken import SPOKEN

integers = st.integers(-(10**9), 10**9)
decimals = st.decimals(-1000, 1000, places=3, allow_nan=False).map(lambda value: format(value, "f"))
numbers = st.one_of(integers.map(str), decimals)
fractions = st.tuples(st.integers(-99, 99), st.integers(1, 99))
units = st.sampled_from(["", " kg", " cm", " m/s", " apples", "%", r"^\circ"])
spaces = st.text(alphabet=" \n\t", max_size=3)
variables = st.sampled_from(["x", "y", "2x", "x^2", r"\sqrt{x}", r"\frac{x}{3}", r"\pi", "x+1", "(x, 1)", "[0, x)"])

KINDS = MEASURED | SPOKEN | FORMULAS | ADVERSARIAL
BY_KIND: dict[str, list[Case]] = {
    kind: [(gold, text, True) for gold, right, _ in rows for text in right]
    + [(gold, text, False) for gold, _, wrong in rows for text in wrong]
    for kind, rows in KINDS.items()
}


@pytest.mark.parametrize(("answer", "prediction", "verdict"), ALL)
def test_verdict(answer: str, prediction: str, verdict: bool) -> None:
    assert answers_agree(prediction, answer) is verdict


@pytest.mark.parametrize("kind", BY_KIND)
def test_verdicts_by_kind(kind: str) -> None:
    wrong = [case for case in BY_KIND[kind] if answers_agree(case[1], case[0]) is not case[2]]
    assert not wrong


# A true answer that is a choice, a sequence that names several answers in words, or hostile text is not symmetric.
SYMMETRIC = [case for case in ALL if case not in cases.CHOICES and case not in cases.HOSTILE]


@pytest.mark.parametrize(("answer", "prediction", "verdict"), SYMMETRIC)
def test_verdict_is_symmetric(answer: str, prediction: str, verdict: bool) -> None:
    assert answers_agree(answer, prediction) is verdict


def test_there_are_enough_cases_and_none_twice() -> None:
    everything = [*ALL, *(case for of_kind in BY_KIND.values() for case in of_kind)]
    assert len({*ALL}) == len(ALL)
    assert len({*everything}) >= 900
    assert 0.3 < sum(verdict for _, _, verdict in everything) / len(everything) < 0.7
    for of_kind in BY_KIND.values():
        assert min(sum(verdict for *_, verdict in of_kind), sum(not verdict for *_, verdict in of_kind)) >= 8


@pytest.mark.parametrize(
    ("prediction", "answer", "verdict"),
    [
        ("B", "B", True),
        ("14", "B", True),
        ("14 cm", "B", True),
        ("The answer is 14.", "B", True),
        ("B", "14", True),
        ("B", "14 cm", True),
        ("(B) 14", "14", True),
        ("B. 14", "B. 14 cm", True),
        ("12", "B", False),
        ("A", "14", False),
        ("15", "14", False),
        ("-14", "B", False),
        ("12 and 14", "B", False),
        ("none of these", "C", True),
        ("D", "none of these", False),
    ],
)
def test_with_options_letter_text_and_value_are_the_same(prediction: str, answer: str, verdict: bool) -> None:
    options = ("12 cm", "14 cm", "none of these", "-12 cm")
    assert answers_agree(prediction, answer, options) is verdict
    # The options' own marks change nothing.
    assert answers_agree(prediction, answer, ("A. 12 cm", "B. 14 cm", "C. none of these", "D. -12 cm")) is verdict


def test_two_equal_options_are_told_by_their_letters_alone() -> None:
    assert answers_agree("B", "B", ("0.5", "1/2"))
    assert not answers_agree("1/4", "B", ("0.5", "1/2"))


@given(text=st.one_of(numbers, variables), unit=units, before=spaces, after=spaces)
def test_reflexive_and_blind_to_spacing_and_delimiters(text: str, unit: str, before: str, after: str) -> None:
    text += unit
    for other in (text, f"{before}{text}{after}", f"${text}$", rf"\({text}\)", rf"\boxed{{{text}}}", f"{text}."):
        assert answers_agree(other, text)
        assert answers_agree(text, other)


@given(first=numbers, second=numbers)
def test_agreement_of_numbers_is_symmetric_equality_of_values(first: str, second: str) -> None:
    assert answers_agree(first, second) == answers_agree(second, first) == (Fraction(first) == Fraction(second))


@given(first=fractions, second=fractions)
def test_agreement_of_fractions_is_equality_of_values(first: tuple[int, int], second: tuple[int, int]) -> None:
    (a, b), (c, d) = first, second
    assert answers_agree(f"{a}/{b}", rf"\frac{{{c}}}{{{d}}}") == (Fraction(a, b) == Fraction(c, d))


@given(number=integers, zeros=st.integers(1, 4), step=st.integers(1, 9))
def test_trailing_zeros_do_not_matter_and_a_step_does(number: int, zeros: int, step: int) -> None:
    assert answers_agree(f"{number}.{'0' * zeros}", str(number))
    assert not answers_agree(f"{number}.{'0' * zeros}{step}", str(number))
    assert answers_agree(f"{number:,}", str(number))


@settings(max_examples=300)
@given(text=st.text(max_size=60), answer=st.sampled_from(["5", "(1, 2)", "x+1", "A", "cat"]))
def test_any_text_gets_a_verdict(text: str, answer: str) -> None:
    assert answers_agree(text, answer) in (True, False)

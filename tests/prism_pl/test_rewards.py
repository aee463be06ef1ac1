"""Verifiable rewards on golden pairs, and what must hold for any number."""

from decimal import Decimal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.rewards import AnswerReward, FormatReward, total_reward
from prism_pl.rewards.answer import answers_agree
from prism_pl.types import Prompt, PromptBatch, Response

numbers = st.one_of(
    st.integers(-(10**9), 10**9).map(str),
    st.decimals(-1000, 1000, places=3, allow_nan=False).map(lambda value: format(value, "f")),
)
spaces = st.text(alphabet=" \n\t", max_size=3)


def respond(answer: str, think: str = "One step.") -> str:
    return f"<caption>c</caption><think>{think}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("12", "12"),
        ("12.50", "12.5"),
        ("12.0", "12"),
        ("+3", "3"),
        ("-0.5", "-0.50"),
        ("007", "7"),
        (" 4\n", "4"),
        (r"\frac{1}{2}", "0.5"),
        ("0.25", r"\frac{1}{4}"),
        (r"$\frac{3}{4}$", "0.75"),
        (r"2\sqrt{2}", r"\sqrt{8}"),
        ("(B)", "(B)"),
        ("B", "B"),
        ("a blue cat", "a blue cat"),
    ],
)
def test_answers_that_agree(prediction: str, answer: str) -> None:
    assert answers_agree(prediction, answer)


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("11", "12"),
        ("-12", "12"),
        ("12.5", "12.05"),
        ("1.20", "120"),
        ("0.333", r"\frac{1}{3}"),
        (r"\frac{1}{2}", r"\frac{2}{1}"),
        ("A", "B"),
        ("cat", "dog"),
        # Nothing never agrees, not even with nothing.
        ("", ""),
        ("", "12"),
        ("12", ""),
        (" \n", " \n"),
    ],
)
def test_answers_that_do_not_agree(prediction: str, answer: str) -> None:
    assert not answers_agree(prediction, answer)


@given(number=numbers, before=spaces, after=spaces)
def test_agreement_is_reflexive_and_blind_to_spacing(number: str, before: str, after: str) -> None:
    assert answers_agree(number, number)
    assert answers_agree(f"{before}{number}{after}", number)
    assert answers_agree(number, f"{after}{number}{before}")


@given(first=numbers, second=numbers)
def test_agreement_of_numbers_is_symmetric_equality_of_values(first: str, second: str) -> None:
    assert answers_agree(first, second) == answers_agree(second, first) == (Decimal(first) == Decimal(second))


@given(number=st.integers(-(10**6), 10**6), zeros=st.integers(1, 4), step=st.integers(1, 9))
def test_trailing_zeros_do_not_matter_and_a_step_does(number: int, zeros: int, step: int) -> None:
    assert answers_agree(f"{number}.{'0' * zeros}", str(number))
    assert not answers_agree(f"{number}.{'0' * zeros}{step}", str(number))


@pytest.mark.parametrize(
    ("response", "accuracy", "form"),
    [
        (respond("12"), 1.0, 1.0),
        (respond(" 12.0\n"), 1.0, 1.0),
        (respond("13"), 0.0, 1.0),
        # The answer stands in the reasoning alone.
        (respond("13", think="It is 12."), 0.0, 1.0),
        (respond("11 or 12"), 0.0, 1.0),
        # Malformed: the right answer earns nothing.
        ("12", 0.0, 0.0),
        ("<answer>12</answer>", 0.0, 0.0),
        ("<caption>c</caption><think>t <answer>12</answer></think>", 0.0, 0.0),
        ("<caption>c</caption><think><answer>12</answer></think><answer>12</answer>", 0.0, 0.0),
        (respond("12") + "<answer>12</answer>", 0.0, 0.0),
        (respond("13") + "<answer>12</answer>", 0.0, 0.0),
        (respond(""), 0.0, 0.0),
        (respond("12") + " Done.", 0.0, 0.0),
    ],
)
def test_rewards_of_a_response(response: str, accuracy: float, form: float) -> None:
    assert AnswerReward()(response, "12") == accuracy
    assert FormatReward()(response, "12") == form


def test_a_latex_answer_earns_its_reward() -> None:
    assert AnswerReward()(respond(r"\frac{1}{2}"), "0.5") == 1.0


def sampled(text: str) -> Response:
    return Response(token_ids=(1,), engine_logp=(0.0,), text=text, truncated=False)


def make_batch() -> PromptBatch:
    def ask(answer: str) -> Prompt:
        return Prompt("rows:1", "", (1,), (1,), torch.zeros(3, 1), answer=answer)

    texts = [[respond("3"), respond("4")], ["3", respond("7")]]
    return PromptBatch([ask("3"), ask("7")], [[sampled(text) for text in group] for group in texts])


def test_total_reward_by_hand() -> None:
    total_PG, parts = total_reward([AnswerReward(), FormatReward()], make_batch())
    # Right and well-formed 0.8 + 0.2; wrong but well-formed 0.2; malformed 0; right for the second prompt's answer 1.
    torch.testing.assert_close(total_PG, torch.tensor([[1.0, 0.2], [0.0, 1.0]]))
    assert parts["accuracy"].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert parts["format"].tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert set(parts) == {"accuracy", "format"}


def test_total_reward_takes_other_weights() -> None:
    total_PG, _ = total_reward([AnswerReward(weight=0.5), FormatReward(weight=2.0)], make_batch())
    # 0.5 + 2, 2; 0, 0.5 + 2.
    torch.testing.assert_close(total_PG, torch.tensor([[2.5, 2.0], [0.0, 2.5]]))

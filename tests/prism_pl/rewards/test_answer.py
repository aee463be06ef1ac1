"""Right and well-formed, by whole responses."""

import importlib.util

import pytest

from prism_pl.errors import UserError
from prism_pl.rewards import AnswerReward, FormatReward
from tests.responses import respond


@pytest.mark.parametrize(
    ("response", "accuracy", "form"),
    [
        (respond(answer="12"), 1.0, 1.0),
        (respond(answer=" 12.0\n"), 1.0, 1.0),
        (respond(answer="13"), 0.0, 1.0),
        # The answer stands in the reasoning alone.
        (respond(answer="13", think="It is 12."), 0.0, 1.0),
        (respond(answer="11 or 12"), 0.0, 1.0),
        # Malformed: the right answer earns nothing.
        ("12", 0.0, 0.0),
        ("<answer>12</answer>", 0.0, 0.0),
        ("<caption>c</caption><think>t <answer>12</answer></think>", 0.0, 0.0),
        ("<caption>c</caption><think><answer>12</answer></think><answer>12</answer>", 0.0, 0.0),
        (respond(answer="12") + "<answer>12</answer>", 0.0, 0.0),
        (respond(answer="13") + "<answer>12</answer>", 0.0, 0.0),
        (respond(answer=""), 0.0, 0.0),
        (respond(answer="12") + " Done.", 0.0, 0.0),
    ],
)
def test_rewards_of_a_response(response: str, accuracy: float, form: float) -> None:
    assert AnswerReward()(response, "12") == accuracy
    assert FormatReward()(response, "12") == form


def test_a_latex_answer_earns_its_reward() -> None:
    assert AnswerReward()(respond(answer=r"\frac{1}{2}"), "0.5") == 1.0


def test_missing_math_verify_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="AnswerReward needs math-verify"):
        AnswerReward()

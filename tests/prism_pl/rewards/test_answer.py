"""Right and well-formed, by whole responses."""

import importlib.util

import pytest
import torch

from prism_pl.errors import UserError
from prism_pl.rewards import AnswerReward, FormatReward
from prism_pl.types import Prompt
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


def test_a_batch_is_graded_as_its_answers_are_one_by_one() -> None:
    def ask(answer: str, options: tuple[str, ...] = ()) -> Prompt:
        return Prompt("rows:1", "", (1,), (1,), torch.zeros(3, 1), answer=answer, options=options)

    prompts = [ask("x+1"), ask("B", ("12 cm", "14 cm")), ask("1/3")]
    texts = [["1+x", "x-1", "x+1"], ["14 cm", "B", "12 cm"], [r"0.\overline{3}", "0.3", "malformed"]]
    responses = [[respond(answer=text) for text in group] for group in texts]
    responses[2][2] = "1/3"
    # The option's value counts like its letter; a response without sections earns nothing.
    assert AnswerReward(processes=1).grade(prompts, responses) == [[1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    one_by_one = [
        [AnswerReward()(text, prompt.answer or "", prompt.options) for text in group]
        for prompt, group in zip(prompts, responses, strict=True)
    ]
    assert one_by_one == AnswerReward(processes=1).grade(prompts, responses)

"""Rewards of whole responses, and their weighted sum."""

import importlib.util
from pathlib import Path

import pytest
import torch

from prism_pl.errors import UserError
from prism_pl.rewards import (
    AnswerReward,
    FormatReward,
    MultipleChoiceReward,
    NumericReward,
    PythonReward,
    check_rewards,
    total_reward,
)
from prism_pl.types import Prompt, PromptBatch, Response


def respond(answer: str, think: str = "One step.") -> str:
    return f"<caption>c</caption><think>{think}</think><answer>{answer}</answer>"


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


@pytest.mark.parametrize(
    ("said", "expected"),
    [("B", 1.0), ("(B)", 1.0), ("B. a cat", 1.0), ("The answer is B.", 1.0), ("C", 0.0), ("a cat", 0.0)],
)
def test_multiple_choice(said: str, expected: float) -> None:
    assert MultipleChoiceReward()(respond(said), "B") == MultipleChoiceReward()(respond(said), "(B) a cat") == expected
    assert MultipleChoiceReward()(said, "B") == 0.0  # malformed


@pytest.mark.parametrize(
    ("reward", "said", "answer", "expected"),
    [
        (NumericReward(), "12", "12.0", 1.0),
        (NumericReward(), "12.1", "12", 0.0),
        (NumericReward(relative=0.05), "12.6", "12", 1.0),  # 0.6 = 5 % of 12
        (NumericReward(relative=0.05), "12.61", "12", 0.0),
        (NumericReward(relative=0.05), "-12", "12", 0.0),
        (NumericReward(absolute=0.5), "12.5", "12", 1.0),
        (NumericReward(absolute=0.5), "12.51", "12", 0.0),
        # 0.5 m of tolerance, in the true answer's unit.
        (NumericReward(absolute=0.5), "1249 cm", "12 m", 1.0),
        (NumericReward(absolute=0.5), "1251 cm", "12 m", 0.0),
        (NumericReward(), "100 cm", "1 m", 1.0),
        (NumericReward(), "1 kg", "1 m", 0.0),
        (NumericReward(), "12 kg", "12", 1.0),
        (NumericReward(), "1,200", "1200", 1.0),
        (NumericReward(), "50%", "0.5", 1.0),
        (NumericReward(), "50%", "50", 0.0),
        (NumericReward(percent="unit"), "50%", "50", 1.0),
        (NumericReward(percent="unit"), "50%", "0.5", 0.0),
        (NumericReward(), "about twelve", "12", 0.0),
    ],
)
def test_numeric(reward: NumericReward, said: str, answer: str, expected: float) -> None:
    assert reward(respond(said), answer) == expected


def test_an_answer_that_a_reward_cannot_use_is_named_with_its_row() -> None:
    prompt = Prompt("rows.jsonl:7", "", (1,), (1,), torch.zeros(3, 1), answer="a cat")
    with pytest.raises(UserError, match=r"rows.jsonl:7: NumericReward: the answer 'a cat' is no number"):
        NumericReward().grade([prompt], [["x"]])
    with pytest.raises(UserError, match=r"rows.jsonl:7: MultipleChoiceReward: the answer 'a cat' names no choice"):
        MultipleChoiceReward().grade([prompt], [["x"]])


FUNCTIONS = """
calls = []

def shares(inputs):
    calls.append(len(inputs))
    return [{"overall": float(i["response"] == i["ground_truth"]), "other": 9} for i in inputs]

def short(inputs):
    return [1.0]

def wrong(inputs):
    return ["good" for _ in inputs]

def sources(inputs):
    return [float(i["source"] == "rows:1" and i["response_length"] == len(i["response"])) for i in inputs]
"""


def test_python_reward(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FUNCTIONS)
    batch = make_batch()
    reward = PythonReward(function=f"{file}:shares", weight=2.0)
    _, parts = total_reward([reward], batch)
    # The second prompt's first response is the bare text "3", its answer is 7.
    assert parts["python"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert reward("7", "7") == 1.0
    assert reward._call.__globals__["calls"] == [4, 1]  # once a batch
    assert PythonReward(function=f"{file}:sources").grade(batch.prompts, batch.texts) == [[1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(UserError, match="returned 1 scores for 4 responses"):
        PythonReward(function=f"{file}:short").grade(batch.prompts, batch.texts)
    with pytest.raises(UserError, match="returned 'good', which is no number"):
        PythonReward(function=f"{file}:wrong").grade(batch.prompts, batch.texts)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py:f", "is not `path.py:name` of a file"),
        ("mine.py", "is not `path.py:name`"),
        ("mine.py:f", "no function 'f'"),
    ],
)
def test_a_python_reward_fails_at_the_start(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("x = 1")
    Path("broken.py").write_text("import nothing_of_that_name")
    with pytest.raises(UserError, match=message):
        PythonReward(function=name)
    with pytest.raises(UserError, match="fails when imported: ModuleNotFoundError"):
        PythonReward(function="broken.py:f")


def test_rewards_need_names_of_their_own() -> None:
    check_rewards([AnswerReward(), FormatReward()])
    with pytest.raises(UserError, match="two rewards are called 'accuracy'"):
        check_rewards([AnswerReward(), NumericReward()])
    with pytest.raises(UserError, match="the list is empty"):
        check_rewards([])


def test_missing_math_verify_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="AnswerReward needs math-verify"):
        AnswerReward()


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

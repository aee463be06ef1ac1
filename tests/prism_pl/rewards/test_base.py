"""The weighted sum of rewards, and what makes a list of them unusable."""

import pytest
import torch

from prism_pl.errors import UserError
from prism_pl.rewards import AnswerReward, FormatReward, MultipleChoiceReward, NumericReward, check_rewards, total_reward
from prism_pl.types import Prompt
from tests.prism_pl.rewards.batches import make_batch


def test_an_answer_that_a_reward_cannot_use_is_named_with_its_row() -> None:
    prompt = Prompt("rows.jsonl:7", "", (1,), (1,), torch.zeros(3, 1), answer="a cat")
    with pytest.raises(UserError, match=r"rows.jsonl:7: NumericReward: the answer 'a cat' is no number"):
        NumericReward().grade([prompt], [["x"]])
    with pytest.raises(UserError, match=r"rows.jsonl:7: MultipleChoiceReward: the answer 'a cat' names no choice"):
        MultipleChoiceReward().grade([prompt], [["x"]])


def test_rewards_need_names_of_their_own() -> None:
    check_rewards([AnswerReward(), FormatReward()])
    with pytest.raises(UserError, match="two rewards are called 'accuracy'"):
        check_rewards([AnswerReward(), NumericReward()])
    with pytest.raises(UserError, match="the list is empty"):
        check_rewards([])


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

"""The weighted sum of rewards, and what makes a list of them unusable."""

import pytest
import torch

from prism_pl.errors import UserError
from prism_pl.rewards import (
    AnswerReward,
    FormatReward,
    Grader,
    MultipleChoiceReward,
    NumericReward,
    Reward,
    check_rewards,
)
from prism_pl.types import Prompt
from tests.prism_pl.rewards.batches import make_rollouts
from tests.responses import respond


def test_an_answer_that_a_reward_cannot_use_is_named_with_its_row() -> None:
    prompt = Prompt("rows.jsonl:7", "", (1,), (1,), torch.zeros(3, 1), answer="a cat")
    with pytest.raises(UserError, match=r"rows.jsonl:7: NumericReward: the answer 'a cat' is no number"):
        NumericReward().grade([prompt], [["x"]])
    with pytest.raises(UserError, match=r"rows.jsonl:7: MultipleChoiceReward: the answer 'a cat' names no choice"):
        MultipleChoiceReward().grade([prompt], [["x"]])


@pytest.mark.parametrize("reward", [AnswerReward(), NumericReward()])
def test_any_of_several_true_answers_counts(reward: Reward) -> None:
    several = Prompt("rows:1", "", (1,), (1,), torch.zeros(3, 1), answer="9", also_right=("3",))
    single = Prompt("rows:2", "", (1,), (1,), torch.zeros(3, 1), answer="4")
    texts = [respond(answer=said) for said in ("3", "9", "4")]
    assert reward.grade([several, single], [texts, texts]) == [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def test_rewards_need_names_of_their_own() -> None:
    check_rewards([AnswerReward(), FormatReward()])
    with pytest.raises(UserError, match="two rewards are called 'accuracy'"):
        check_rewards([AnswerReward(), NumericReward()])
    with pytest.raises(UserError, match="the list is empty"):
        check_rewards([])


def test_total_reward_by_hand() -> None:
    graded = Grader([AnswerReward(), FormatReward()])(make_rollouts())
    parts = graded.parts
    # Right and well-formed 0.8 + 0.2; wrong but well-formed 0.2; malformed 0; right for the second prompt's answer 1.
    torch.testing.assert_close(graded.total_PG, torch.tensor([[1.0, 0.2], [0.0, 1.0]]))
    assert parts["accuracy"].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert parts["format"].tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert set(parts) == {"accuracy", "format"}


def test_total_reward_takes_other_weights() -> None:
    graded = Grader([AnswerReward(weight=0.5), FormatReward(weight=2.0)])(make_rollouts())
    # 0.5 + 2, 2; 0, 0.5 + 2.
    torch.testing.assert_close(graded.total_PG, torch.tensor([[2.5, 2.0], [0.0, 2.5]]))

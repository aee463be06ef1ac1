"""1 for a well-formed response that names the right choice, else 0."""

from collections.abc import Sequence
from dataclasses import dataclass

from prism_pl.errors import UserError, shown
from prism_pl.rewards.base import Reward
from prism_pl.segments import parse_response
from prism_pl.verification import choice_letter


@dataclass(frozen=True, kw_only=True)
class MultipleChoiceReward(Reward):
    """The letter alone counts: ``B``, ``(B)``, ``B. a cat`` and ``The answer is B`` are the same."""

    weight: float = 0.8
    """Share of the total reward."""
    name: str = "accuracy"
    """Key in the logs."""

    def __call__(self, response: str, answer: str, options: Sequence[str] = (), question: str = "") -> float:
        true = choice_letter(answer)
        if true is None:
            raise UserError(
                f"MultipleChoiceReward: the answer {shown(answer)} names no choice. Use AnswerReward for such data."
            )
        sections = parse_response(response)
        return float(sections is not None and choice_letter(sections.answer) == true)

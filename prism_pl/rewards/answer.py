"""1 for a well-formed response whose answer equals the true one, else 0."""

from dataclasses import dataclass

from prism_pl.rewards.base import Reward, require_math_verify
from prism_pl.rewards.verification import answers_agree
from prism_pl.segments import parse_response


@dataclass(frozen=True, kw_only=True)
class AnswerReward(Reward):
    """Choices, numbers with units, words, mathematics by math-verify (``prism_pl.rewards.verification``)."""

    weight: float = 0.8
    """Share of the total reward (arXiv 2604.28123, eq. 5)."""
    name: str = "accuracy"
    """Key in the logs."""

    def __post_init__(self) -> None:
        require_math_verify("AnswerReward")

    def __call__(self, response: str, answer: str) -> float:
        sections = parse_response(response)
        return float(sections is not None and answers_agree(sections.answer, answer))

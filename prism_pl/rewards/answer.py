"""1 for a well-formed response whose answer equals the true one, else 0."""

import re
from dataclasses import dataclass
from functools import lru_cache

from math_verify import parse, verify

from prism_pl.rewards.base import Reward
from prism_pl.segments import parse_response

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class AnswerReward(Reward):
    """Equality of the answer section with the true answer, by math-verify."""

    weight: float = 0.8
    """Share of the total reward (arXiv 2604.28123, eq. 5)."""
    name: str = "accuracy"

    def __call__(self, response: str, answer: str) -> float:
        sections = parse_response(response)
        return float(sections is not None and answers_agree(sections.answer, answer))


@lru_cache(maxsize=65536)
def answers_agree(prediction: str, answer: str) -> bool:
    """True if two answers mean the same.

    Equal texts agree; two plain numbers agree if their values are equal; anything else is put to math-verify in LaTeX form.

    >>> answers_agree("12.50", "12.5"), answers_agree("11", "12")
    (True, False)
    """
    prediction, answer = prediction.strip(), answer.strip()
    if not prediction or not answer:
        return False
    if prediction == answer:
        return True
    if _NUMBER.fullmatch(prediction) and _NUMBER.fullmatch(answer):
        return float(prediction) == float(answer)
    return bool(verify(parse(f"\\boxed{{{answer}}}"), parse(f"\\boxed{{{prediction}}}")))

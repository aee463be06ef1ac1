"""1 for a well-formed response whose answer equals the true one, else 0."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from prism_pl.ranges import PositiveInt
from prism_pl.rewards.base import Reward, grade_together, require_math_verify
from prism_pl.segments import parse_response
from prism_pl.types import Prompt
from prism_pl.verification import Question, agree


@dataclass(frozen=True, kw_only=True)
class AnswerReward(Reward):
    """Choices, numbers with units, words, and mathematics (``prism_pl.verification``)."""

    weight: float = 0.8
    """Share of the total reward (arXiv 2604.28123, eq. 5)."""
    name: str = "accuracy"
    """Key in the logs."""
    processes: PositiveInt | None = field(default=None, repr=False)
    """Worker processes that do the mathematics of a batch side by side; null is one a core, at most eight."""

    def __post_init__(self) -> None:
        require_math_verify("AnswerReward")

    def __call__(self, response: str, answer: str, options: Sequence[str] = (), question: str = "") -> float:
        return self._scores([(response, answer, tuple(options))])[0]

    def grade(self, prompts: Sequence[Prompt], responses: Sequence[Sequence[str]]) -> list[list[float]]:
        """The whole batch at once."""
        return grade_together(
            prompts, responses, lambda response, answer, prompt: (response, answer, prompt.options), self._scores
        )

    def _scores(self, items: Sequence[tuple[str, str, tuple[str, ...]]]) -> list[float]:
        sections = [parse_response(response) for response, _, _ in items]
        questions = [
            Question(own.answer, answer, options)
            for own, (_, answer, options) in zip(sections, items, strict=True)
            if own is not None
        ]
        verdicts = iter(agree(questions, self.processes))
        return [float(own is not None and next(verdicts)) for own in sections]

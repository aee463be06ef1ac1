"""What a reward is told of a teacher's response."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from prism_pl.curation.verify import verify
from prism_pl.data.files import DataFile, DataSource
from prism_pl.endpoint import Answer
from prism_pl.rewards import Reward
from tests.responses import respond


@dataclass(frozen=True)
class Told(Reward):
    """Right if it is told all that the row says."""

    question: str
    options: tuple[str, ...]
    name: str = "told"
    weight: float = 1.0

    def __call__(self, response: str, answer: str, options: Sequence[str] = (), question: str = "") -> float:
        return float((question, answer, tuple(options)) == (self.question, "B", self.options))


@pytest.mark.parametrize("question", ["Which one?", "<image>Which one?"])
def test_a_reward_is_told_question_answer_and_options(question: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "Which one?", "answer": "B", "options": ["a cat", "a dog"]}\n')
    row = DataFile.open(DataSource(path=str(file)), "path").prompt_row(0)
    row.messages[-1]["content"] = question
    answer = Answer(respond(answer="B"), "stop", None, None)
    assert verify(answer, row, Told("Which one?", ("a cat", "a dog"))).kind == "verified"
    assert verify(answer, row, Told("Which?", ("a cat", "a dog"))).kind == "wrong"

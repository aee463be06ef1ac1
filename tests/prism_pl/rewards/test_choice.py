"""Letters of choices."""

import pytest

from prism_pl.rewards import MultipleChoiceReward
from tests.responses import respond


@pytest.mark.parametrize(
    ("said", "expected"),
    [("B", 1.0), ("(B)", 1.0), ("B. a cat", 1.0), ("The answer is B.", 1.0), ("C", 0.0), ("a cat", 0.0)],
)
def test_multiple_choice(said: str, expected: float) -> None:
    response = respond(answer=said)
    assert MultipleChoiceReward()(response, "B") == MultipleChoiceReward()(response, "(B) a cat") == expected
    assert MultipleChoiceReward()(said, "B") == 0.0  # malformed

"""Letters of choices."""

import pytest

from prism_pl.rewards import (
    MultipleChoiceReward,
)
from tests.prism_pl.rewards.responses import respond


@pytest.mark.parametrize(
    ("said", "expected"),
    [("B", 1.0), ("(B)", 1.0), ("B. a cat", 1.0), ("The answer is B.", 1.0), ("C", 0.0), ("a cat", 0.0)],
)
def test_multiple_choice(said: str, expected: float) -> None:
    assert MultipleChoiceReward()(respond(said), "B") == MultipleChoiceReward()(respond(said), "(B) a cat") == expected
    assert MultipleChoiceReward()(said, "B") == 0.0  # malformed

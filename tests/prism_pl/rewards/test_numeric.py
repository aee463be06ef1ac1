"""Numbers, with their tolerance and units."""

import pytest

from prism_pl.rewards import NumericReward
from tests.responses import respond


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
    assert reward(respond(answer=said), answer) == expected

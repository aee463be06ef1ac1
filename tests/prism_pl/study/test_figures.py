"""A prompt's figures and the distances to the teacher, by hand."""

import pytest

from prism_pl.study.figures import distances, of_prompt
from tests.prism_pl.study.records import answered, response


def test_figures_of_a_prompt() -> None:
    record = answered(0, 1.0, [0.0, 0.0, 1.0, 1.0], ["malformed", response(1, 1), response(1, 1), response(1, 1)])
    # Sampled 2/4; one of four is right; 3/4 well-formed; (10 + 20 + 30 + 40) / 4 tokens.
    assert of_prompt(record) == {
        "greedy": 1.0, "sampled": 0.5, "nucleus": 0.0, "pass@n": 1.0, "format": 0.75, "tokens": 25.0,
    }  # fmt: skip
    assert of_prompt(answered(0, 0.0, [0.0, 0.0], ["", ""]))["pass@n"] == 0.0


def test_distances_by_hand() -> None:
    teacher = response(3, 2)
    records = [
        answered(0, 1.0, [1.0, 1.0], [response(3, 2), response(1, 2)], teacher),
        answered(1, 1.0, [1.0, 1.0], [response(3, 2), "malformed"], teacher),
        # Without a teacher: counts nowhere.
        answered(2, 1.0, [1.0, 1.0], [response(9, 9), response(9, 9)]),
    ]
    found = distances(records)
    # Items 3, 1, 3 against 3, 3: (1/3 + 1/3) / 2. Steps are equal.
    assert found["tv_caption_items"] == pytest.approx(1 / 3)
    assert found["tv_reasoning_steps"] == 0.0
    # Lengths 10, 20, 10, 20 against 20, 20; the teachers' longest is 20, so a bin is one token.
    assert found["tv_length"] == 0.5


def test_without_teachers_there_are_no_distances() -> None:
    assert distances([answered(0, 1.0, [1.0], [response(1, 1)])]) == {}
    # Nothing well-formed: only lengths can be compared.
    assert list(distances([answered(0, 1.0, [1.0], ["malformed"], response(1, 1))])) == ["tv_length"]

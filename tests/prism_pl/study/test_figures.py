"""A prompt's figures and the distances to the teacher, by hand."""

import pytest
import torch

from prism_pl.drift import CLOUD_DISTANCES
from prism_pl.study.figures import DISTANCES, distances, drifts, of_prompt
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
    # Two of four lengths are 10 tokens off; one item of three is 2 off.
    assert found["w1_length"] == 5.0
    assert found["w1_caption_items"] == pytest.approx(2 / 3)
    assert tuple(found) == DISTANCES


def test_without_teachers_there_are_no_distances() -> None:
    assert distances([answered(0, 1.0, [1.0], [response(1, 1)])]) == {}
    assert drifts([answered(0, 1.0, [1.0], [response(1, 1)])]) == {}
    # Nothing well-formed: items and steps cannot be compared.
    found = distances([answered(0, 1.0, [1.0], ["malformed text"], response(1, 1))])
    assert list(found) == ["tv_length", "w1_length", "kl_length", "tv_words", "js_bigrams"]
    # Neither word is the teacher's: disjoint.
    assert found["tv_words"] == 1.0


def test_drift_stands_beside_its_floor() -> None:
    """The policy writes an item less than the teacher; the teacher's two kinds of prompts differ by two items."""
    records = [
        answered(row, 1.0, [1.0, 1.0], [response(items - 1, 1)] * 2, response(items, 1))
        for row, items in enumerate([2, 4] * 6)
    ]
    asked: list[list[str]] = []

    def embed(texts: list[str]) -> torch.Tensor:
        asked.append(list(texts))
        # A point a text: its number of caption lines, beside itself squared.
        return torch.tensor([[text.count("- item"), text.count("- item") ** 2] for text in texts]).float()

    found = drifts(records, embed)
    assert set(found) == {*DISTANCES, *CLOUD_DISTANCES}
    # Items 1 and 3 are never 2 and 4. Six prompts a half; halves with 3 + d and 3 - d twos are 2d / 6 apart.
    own = found["tv_caption_items"]
    assert [own.value.mean, own.value.low, own.value.high] == pytest.approx([1.0, 1.0, 1.0])
    assert own.floor.low == 0.0
    assert own.floor.high == pytest.approx(2 / 3)
    # By the hypergeometric chances 400, 2 x 225, 2 x 36, 2 x 1 of 924 for d = 0, 1, 2, 3.
    expected = (450 * 1 / 3 + 72 * 2 / 3 + 2 * 1) / 924
    assert own.floor.mean == pytest.approx(expected, abs=0.05)
    assert found["frechet"].value.low > 0
    # All samples first, then the teachers, in one pass.
    assert [len(texts) for texts in asked] == [12 * 2 + 12]
    assert asked[0][0] == response(1, 1)
    assert asked[0][24] == response(2, 1)

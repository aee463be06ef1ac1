"""Karmarkar-Karp against hand arithmetic and its bounds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.data.balance import balanced, deal

WEIGHTS = st.lists(st.integers(1, 10_000), max_size=40)
"""A row has at least one token."""


def sums(weights: list[int], parts: list[list[int]]) -> list[int]:
    return sorted(sum(weights[item] for item in part) for part in parts)


def test_the_example_of_the_method() -> None:
    # 8-7 = 1, 6-5 = 1, 4-1 = 3, 3-1 = 2: the parts are 14 and 16, where the best possible are 15 and 15.
    assert sums([8, 7, 6, 5, 4], balanced([8, 7, 6, 5, 4], 2)) == [14, 16]


def test_a_long_row_is_left_alone_unless_counts_are_equal() -> None:
    weights = [100, 1, 2, 3]
    assert balanced(weights, 2) == [[0], [1, 2, 3]]
    # In order of weight {100, 3} and {2, 1}: the first pair differs by 97, the second by 1, so 100 meets the 1.
    assert balanced(weights, 2, equal_counts=True) == [[0, 1], [2, 3]]


def test_taken_in_turn_they_would_be_half_as_even() -> None:
    """Four ranks, lengths 1 to 16, each the place's number: every fourth has 28, 32, 36 or 40."""
    weights = list(range(1, 17))
    assert sums(weights, [list(range(rank, 16, 4)) for rank in range(4)]) == [28, 32, 36, 40]
    parts = balanced(weights, 4, equal_counts=True)
    assert sums(weights, parts) == [34, 34, 34, 34]
    assert [len(part) for part in parts] == [4, 4, 4, 4]


@given(WEIGHTS, st.integers(1, 9))
def test_everything_once_and_within_the_largest_weight(weights: list[int], num_parts: int) -> None:
    parts = balanced(weights, num_parts)
    assert len(parts) == num_parts
    assert sorted(item for part in parts for item in part) == list(range(len(weights)))
    totals = sums(weights, parts)
    assert totals[-1] - totals[0] <= max(weights, default=0)
    # A rank without a row is one that has nothing to do.
    assert sum(bool(part) for part in parts) == min(num_parts, len(weights))


@given(WEIGHTS, st.integers(1, 9))
def test_equal_counts_within_the_range_of_the_weights(weights: list[int], num_parts: int) -> None:
    weights = weights[: len(weights) // num_parts * num_parts]
    parts = balanced(weights, num_parts, equal_counts=True)
    assert [len(part) for part in parts] == [len(weights) // num_parts] * num_parts
    assert sorted(item for part in parts for item in part) == list(range(len(weights)))
    totals = sums(weights, parts)
    assert totals[-1] - totals[0] <= max(weights, default=0) - min(weights, default=0)


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.data())
def test_what_an_update_learns_does_not_depend_on_the_ranks(ranks: int, each: int, parts: int, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, 5_000), min_size=ranks * each, max_size=ranks * each))
    dealt = deal(tokens, ranks, parts)
    updates = [[] for _ in range(parts)]
    for own in dealt:
        assert len(own) == each
        for update, share in zip(updates, np.array_split(own, parts), strict=True):
            update += share.tolist()
    assert [place for update in updates for place in sorted(update)] == list(range(ranks * each))


def test_of_two_updates_each_is_dealt_by_itself() -> None:
    # 9 + 1 and 8 + 3 of the first four, 7 + 0 and 2 + 4 of the last: by places {0, 2}, {1, 3} and {4, 6}, {5, 7}.
    assert deal([9, 8, 1, 3, 7, 4, 0, 2], 2, 2) == [[0, 2, 4, 6], [1, 3, 5, 7]]

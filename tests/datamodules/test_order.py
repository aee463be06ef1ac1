"""The order of the data: complete, shared out, weighted, reproducible, resumable."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.order import OrderedBatches, OrderedDataModule, even_batches
from prism_pl.errors import UserError


def order(rows: int, size: int, seed: int, rank: int = 0, ranks: int = 1) -> OrderedBatches:
    return OrderedBatches([np.arange(rows)], size, seed, rank, ranks)


@given(rows=st.integers(8, 60), per_rank=st.integers(1, 4), ranks=st.integers(1, 2), seed=st.integers(0, 5))
def test_the_ranks_of_a_batch_are_a_partition_of_the_one_process_batch(
    rows: int, per_rank: int, ranks: int, seed: int
) -> None:
    size = per_rank * ranks
    whole = list(order(rows, size, seed))
    shares = [list(order(rows, size, seed, rank, ranks)) for rank in range(ranks)]
    for index, batch in enumerate(whole):
        assert sorted(row for share in shares for row in share[index]) == sorted(batch)
    seen = [row for batch in whole for row in batch]
    assert len(seen) == len(set(seen)) == rows // size * size


@given(done=st.integers(0, 14))
def test_a_resumed_order_goes_on_where_the_first_stopped(done: int) -> None:
    """Two epochs of 5 batches: after any number of batches the rest is the same."""
    uninterrupted = order(20, 4, seed=1)
    batches = [batch for _ in range(3) for batch in uninterrupted]
    resumed = order(20, 4, seed=1)
    resumed.done = done
    rest = [batch for _ in range(3) for batch in resumed]
    assert rest[: len(batches) - done] == batches[done:]


def test_a_batch_can_be_looked_at_before_it_comes() -> None:
    """Three epochs of 5 batches: any batch of any epoch, without a change to what comes."""
    order_of_run, looked_at = order(20, 4, seed=1, rank=1, ranks=2), order(20, 4, seed=1, rank=1, ranks=2)
    number = 0
    for _ in range(3):
        for rows in order_of_run:
            assert rows == looked_at.batch(number)
            ahead = [order_of_run.batch(number + distance) for distance in (1, 2, 7)]
            assert ahead == [looked_at.batch(number + distance) for distance in (1, 2, 7)]
            number += 1
    assert number == 15


def test_no_batch_comes_after_the_last_epoch() -> None:
    data = OrderedDataModule(4, seed=1, num_workers=0)
    data._batches = order(20, 4, seed=1)
    progress = SimpleNamespace(total=SimpleNamespace(processed=8))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    for max_epochs, expected in ((2, [9, None]), (-1, [9, 10]), (None, [9, 10])):
        data.trainer = SimpleNamespace(fit_loop=loop, max_epochs=max_epochs, num_training_batches=5)  # type: ignore[assignment]
        rows = [None if number is None else data._batches.batch(number) for number in expected]
        assert [data.rows_ahead(1), data.rows_ahead(2)] == rows


def test_epochs_differ_and_seeds_differ() -> None:
    batches = order(20, 4, seed=1)
    first, second = list(batches), list(batches)
    assert first != second
    assert first != list(order(20, 4, seed=2))


def test_weights_say_how_often_an_epoch_sees_a_part() -> None:
    """10 rows once, 20 rows half, 3 rows twice: 10 + 10 + 6 = 26 rows an epoch, 13 batches of 2."""
    parts = [np.arange(10), np.arange(100, 120), np.arange(200, 203)]
    batches = OrderedBatches(parts, 2, seed=0, weights=[1.0, 0.5, 2.0])
    assert len(batches) == 13
    first, second = (Counter(row for batch in batches for row in batch) for _ in range(2))
    for epoch in (first, second):
        assert [epoch[row] for row in parts[0]] == [1] * 10
        assert sum(epoch[row] for row in parts[1]) == 10
        assert [epoch[row] for row in parts[2]] == [2] * 3
    # Two epochs see every row of the half part once.
    assert [first[row] + second[row] for row in parts[1]] == [1] * 20


def test_a_weight_that_does_not_divide_goes_on_in_the_next_epoch() -> None:
    """0.3 of 7 rows are 2 an epoch: after 7 epochs 14 rows, each twice."""
    batches = OrderedBatches([np.arange(7)], 1, seed=3, weights=[0.3])
    seen = Counter(row for _ in range(7) for batch in batches for row in batch)
    assert [seen[row] for row in range(7)] == [2] * 7


def test_rows_that_were_dropped_are_never_drawn() -> None:
    batches = OrderedBatches([np.array([2, 5, 9])], 3, seed=0)
    assert [sorted(batch) for batch in batches] == [[2, 5, 9]]


def test_a_batch_that_ranks_cannot_share_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"data.batch_size is 5, which 2 devices"):
        order(20, 5, 0, 0, 2)
    with pytest.raises(UserError, match=r"only 3 usable rows"):
        order(3, 4, 0)


@given(count=st.integers(1, 70), size=st.integers(1, 40), ranks=st.integers(1, 8))
def test_each_rank_has_its_part_of_every_validation_batch(count: int, size: int, ranks: int) -> None:
    whole = even_batches(count, size)
    shares = [even_batches(count, size, rank, ranks) for rank in range(ranks)]
    assert sorted(row for share in shares for batch in share for row in batch) == list(range(count))
    assert len({len(share) for share in shares}) == 1
    sizes = [sum(len(share[index]) for share in shares) for index in range(len(shares[0]))]
    assert max(sizes) - min(sizes) <= 1
    if count >= ranks:
        assert all(batch for share in shares for batch in share)
        assert all(len(batch) <= size for batch in whole)
    # The batches are those of one process, dealt in turn, unless there are too few rows for so many.
    if len(shares[0]) == len(whole):
        for index, batch in enumerate(whole):
            assert [share[index] for share in shares] == [batch[rank::ranks] for rank in range(ranks)]


def test_validation_batches_by_hand() -> None:
    assert even_batches(7, 4) == [[0, 1, 2, 3], [4, 5, 6]]
    assert even_batches(7, 4, rank=1, world_size=2) == [[1, 3], [5]]
    # Three ranks, and batches of one: two batches, so that each rank has a row of both.
    assert even_batches(6, 1, rank=2, world_size=3) == [[2], [5]]


def test_rows_of_known_length_are_dealt_by_tokens() -> None:
    """Eight rows of 1, 2, 4 .. 128 tokens: 128 are more than all others, so one rank has that row alone."""
    tokens = 2 ** np.arange(8)
    one = list(OrderedBatches([np.arange(8)], 8, 0, tokens=tokens))
    shares = [list(OrderedBatches([np.arange(8)], 8, 0, rank, 2, tokens=tokens)) for rank in range(2)]
    assert sorted(shares[0][0] + shares[1][0]) == sorted(one[0])
    assert sorted(map(sorted, (shares[0][0], shares[1][0]))) == [[0, 1, 2, 3, 4, 5, 6], [7]]

"""The order of the data: complete, shared out, reproducible, resumable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.order import OrderedBatches
from prism_pl.errors import UserError


@given(rows=st.integers(8, 60), per_rank=st.integers(1, 4), ranks=st.integers(1, 2), seed=st.integers(0, 5))
def test_the_ranks_of_a_batch_are_a_partition_of_the_one_process_batch(
    rows: int, per_rank: int, ranks: int, seed: int
) -> None:
    size = per_rank * ranks
    whole = list(OrderedBatches(rows, size, seed))
    shares = [list(OrderedBatches(rows, size, seed, rank, ranks)) for rank in range(ranks)]
    for index, batch in enumerate(whole):
        assert sorted(row for share in shares for row in share[index]) == sorted(batch)
    seen = [row for batch in whole for row in batch]
    assert len(seen) == len(set(seen)) == rows // size * size


@given(done=st.integers(0, 14))
def test_a_resumed_order_goes_on_where_the_first_stopped(done: int) -> None:
    """Two epochs of 5 batches: after any number of batches the rest is the same."""
    uninterrupted = OrderedBatches(20, 4, seed=1)
    batches = [batch for _ in range(3) for batch in uninterrupted]
    resumed = OrderedBatches(20, 4, seed=1)
    resumed.done = done
    rest = [batch for _ in range(3) for batch in resumed]
    assert rest[: len(batches) - done] == batches[done:]


def test_epochs_differ_and_seeds_differ() -> None:
    order = OrderedBatches(20, 4, seed=1)
    first, second = list(order), list(order)
    assert first != second
    assert first != list(OrderedBatches(20, 4, seed=2))


def test_a_batch_that_ranks_cannot_share_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"data.batch_size is 5, which 2 devices"):
        OrderedBatches(20, 5, 0, 0, 2)
    with pytest.raises(UserError, match=r"only 3 usable rows"):
        OrderedBatches(3, 4, 0)

"""Means over unequal parts and over ranks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prism_pl.metrics.means import Means


def test_unequal_parts_give_the_true_mean() -> None:
    means = Means()
    means.add("loss", torch.tensor([1.0, 2.0, 3.0]))
    means.add("loss", torch.tensor([[10.0]]))
    means.add("loss", 4.0)
    # (1 + 2 + 3 + 10 + 4) / 5 = 4; the mean of the parts' means would be (2 + 10 + 4) / 3.
    assert means.result() == {"loss": 4.0}


def test_ranks_of_unequal_size_give_the_true_mean() -> None:
    first, second = Means(), Means()
    # Added in different orders: the rows must be aligned by name.
    first.add("b", torch.tensor([1.0, 2.0, 3.0]))
    first.add("a", 7.0)
    second.add("a", torch.tensor([1.0, 1.0]))
    second.add("b", 10.0)
    summed = first.stacked() + second.stacked()
    # Sums 7 + 2 and 6 + 10, counts 1 + 2 and 3 + 1.
    assert summed.tolist() == [[9.0, 16.0], [3.0, 4.0]]
    assert first.result(summed) == second.result(summed) == {"a": 3.0, "b": 4.0}


def test_a_name_without_value_is_absent_but_keeps_its_place() -> None:
    first, second = Means(), Means()
    for means in (first, second):
        means.add("accuracy", torch.tensor([]))
        means.add("loss", 1.0)
    assert first.result() == {"loss": 1.0}
    assert first.stacked().shape == (2, 2)
    second.add("accuracy", 0.5)
    # One rank had a value: its mean is the mean.
    assert first.result(first.stacked() + second.stacked()) == {"accuracy": 0.5, "loss": 1.0}


def test_no_names() -> None:
    assert Means().result() == {}
    assert Means().stacked().shape == (2, 0)


def test_values_are_detached_and_of_any_type() -> None:
    means = Means()
    means.add("x", torch.tensor([1.0, 2.0], requires_grad=True) * 2)
    means.add("x", torch.tensor([True, False]))
    means.add("x", torch.tensor(3))
    # (2 + 4 + 1 + 0 + 3) / 5 = 2.
    assert means.result() == {"x": 2.0}
    assert not means.stacked().requires_grad


def test_sums_are_double_precision() -> None:
    means = Means()
    # fp32 counts by ones only up to 2^24 = 16,777,216.
    means.add("x", torch.tensor([16_777_216.0, 1.0], dtype=torch.float32))
    assert means.stacked().tolist() == [[16_777_217.0], [2.0]]


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=5), min_size=1, max_size=6))
def test_any_split_gives_the_mean_of_all(parts: list[list[float]]) -> None:
    means = Means()
    for part in parts:
        means.add("x", torch.tensor(part, dtype=torch.float64))
    values = [value for part in parts for value in part]
    if values:
        assert means.result()["x"] == pytest.approx(math.fsum(values) / len(values), abs=1e-6)
    else:
        assert means.result() == {}

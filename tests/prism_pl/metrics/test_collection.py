"""Means and other metrics over unequal parts and over ranks, by name."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.metrics.collection import StepMetrics, correlations, local, maxima, means
from prism_pl.metrics.intervals import MeanWithInterval, PassAtK, WilsonAccuracy, half_width
from tests.stand_in_ranks import over_ranks


def test_unequal_parts_give_the_true_mean() -> None:
    metrics = StepMetrics(means("loss"))
    metrics.add("loss", torch.tensor([1.0, 2.0, 3.0]))
    metrics.add("loss", torch.tensor([[10.0]]))
    metrics.add("loss", 4.0)
    # (1 + 2 + 3 + 10 + 4) / 5 = 4; the mean of the parts' means would be (2 + 10 + 4) / 3.
    assert metrics.result() == {"loss": 4.0}
    metrics.reset()
    assert metrics.result() == {}


def test_ranks_of_unequal_size_give_the_true_mean() -> None:
    first, second = StepMetrics(means("b", "a")), StepMetrics(means("a", "b"))
    # Declared and added in different orders: the states must be aligned by name.
    first.add("b", torch.tensor([1.0, 2.0, 3.0]))
    first.add("a", 7.0)
    second.add("a", torch.tensor([1.0, 1.0]))
    second.add("b", 10.0)
    # Sums 7 + 2 and 6 + 10, counts 1 + 2 and 3 + 1.
    assert over_ranks([first, second]) == [{"a": 3.0, "b": 4.0}] * 2


def test_the_largest_is_that_of_any_rank() -> None:
    ranks = [StepMetrics(maxima("memory")) for _ in range(3)]
    ranks[0].add("memory", -3.0)
    ranks[0].add("memory", -5.0)
    ranks[2].add("memory", torch.tensor([-4.0, -2.0]))
    # The second rank has none, which is not 0.
    assert over_ranks(ranks) == [{"memory": -2.0}] * 3


def test_a_rank_without_a_single_value_has_the_others_results() -> None:
    names = means("accuracy", "loss", "never")
    first, second = StepMetrics(names), StepMetrics(means("accuracy", "loss", "never"))
    first.add("accuracy", torch.tensor([]))
    first.add("loss", 1.0)
    assert first.result() == {"loss": 1.0}
    # What travels has one size, whatever was added.
    sizes: list[int] = []
    for rank in (first, second):
        rank.result(lambda own_N: (sizes.append(len(own_N)), own_N[None])[1])
    assert sizes[0] == sizes[1]
    assert over_ranks([first, second]) == [{"loss": 1.0}] * 2
    # Nothing stays of the others' values.
    assert second.result() == {}
    second.add("accuracy", 0.5)
    assert over_ranks([first, second]) == [{"accuracy": 0.5, "loss": 1.0}] * 2


def test_a_name_must_be_declared() -> None:
    with pytest.raises(AssertionError, match="the metric loss was not declared"):
        StepMetrics(means("accuracy")).add("loss", 1.0)


def test_no_names() -> None:
    assert StepMetrics({}).result() == {}


def test_values_are_detached_and_of_any_type() -> None:
    metrics = StepMetrics(means("x"))
    metrics.add("x", torch.tensor([1.0, 2.0], requires_grad=True) * 2)
    metrics.add("x", torch.tensor([True, False]))
    metrics.add("x", torch.tensor(3))
    # (2 + 4 + 1 + 0 + 3) / 5 = 2.
    assert metrics.result() == {"x": 2.0}


def test_sums_are_double_precision_also_after_a_move() -> None:
    holder = torch.nn.Module()
    holder.metrics = StepMetrics(means("x"))
    holder.to("cpu")
    # fp32 counts by ones only up to 2^24 = 16,777,216.
    holder.metrics.add("x", torch.tensor([16_777_216.0, 1.0], dtype=torch.float32))
    assert holder.metrics.result() == {"x": 16_777_217 / 2}


def test_a_nan_is_seen() -> None:
    metrics = StepMetrics(means("loss"))
    metrics.add("loss", torch.tensor([1.0, math.nan]))
    assert math.isnan(metrics.result()["loss"])


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=5), min_size=1, max_size=6))
def test_any_split_gives_the_mean_of_all(parts: list[list[float]]) -> None:
    metrics = StepMetrics(means("x"))
    ranks = [StepMetrics(means("x")) for _ in parts]
    for part, rank in zip(parts, ranks, strict=True):
        metrics.add("x", torch.tensor(part, dtype=torch.float64))
        rank.add("x", torch.tensor(part, dtype=torch.float64))
    values = [value for part in parts for value in part]
    expected = {"x": pytest.approx(math.fsum(values) / len(values), abs=1e-6)} if values else {}
    assert metrics.result() == expected
    assert over_ranks(ranks) == [expected] * len(ranks)


def test_a_correlation_is_that_of_all_ranks_pairs() -> None:
    first, second = StepMetrics(correlations("r")), StepMetrics(correlations("r"))
    first.add("r", torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-10.0, 10.0, 0.0]))
    second.add("r", torch.tensor([-2.0, 2.0]), torch.tensor([5.0, -5.0]))
    # Products 10 + 0 + 0 - 10 - 10 = -10; squares 1 + 0 + 1 + 4 + 4 = 10 and 100 + 100 + 0 + 25 + 25 = 250.
    assert over_ranks([first, second]) == [{"r": pytest.approx(-10 / math.sqrt(10 * 250), abs=1e-9)}] * 2


def test_accuracy_with_intervals_and_pass_at_k_over_ranks() -> None:
    declared = [
        {"accuracy": local(WilsonAccuracy), "sampled": local(MeanWithInterval), "pass@": local(PassAtK, 2)}
        for _ in range(2)
    ]
    first, second = map(StepMetrics, declared)
    first.add("accuracy", torch.tensor([1.0, 0.0]))
    second.add("accuracy", torch.tensor([1.0, 1.0]))
    first.add("sampled", torch.tensor([0.5, 0.0]))
    second.add("sampled", torch.tensor([1.0, 0.25]))
    first.add("pass@", torch.tensor([1, 0]))
    second.add("pass@", torch.tensor([2, 0]))
    expected = {
        "accuracy": 0.75,
        # Wilson for 3 of 4: (0.75 + z^2/8 +- z sqrt(0.1875/4 + z^2/64)) / (1 + z^2/4) with z^2 = 3.841459.
        "accuracy_low": pytest.approx(0.300642, abs=1e-6),
        "accuracy_high": pytest.approx(0.954413, abs=1e-6),
        "sampled": 0.4375,
        "sampled_half_width": pytest.approx(half_width([0.5, 0.0, 1.0, 0.25])),
        "pass@2": 0.5,
    }
    assert over_ranks([first, second]) == [expected] * 2
    only = StepMetrics({"sampled": local(MeanWithInterval)})
    only.add("sampled", 0.3)
    assert only.result() == {"sampled": pytest.approx(0.3)}

"""Importance weights between engine and trainer, by hand."""

import math

import pytest
import torch

from prism_pl.algorithms.importance import EngineMismatch, MismatchOptions, importance_weights
from prism_pl.metrics.collection import StepMetrics, local

# Ratios trainer : engine of 1, 1.5, 4 and 0.25; the last two tokens of the second row are padding.
RATIO_BT = torch.tensor([[1.0, 1.5, 4.0], [0.25, 9.0, 9.0]])
MASK_BT = torch.tensor([[True, True, True], [True, False, False]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # min(ratio, 2), and 1 where masked.
        (MismatchOptions(), [[1.0, 1.5, 2.0], [0.25, 1.0, 1.0]]),
        # 0 outside of 0.5 to 2.
        (MismatchOptions(action="mask"), [[1.0, 1.5, 0.0], [0.0, 1.0, 1.0]]),
        # The products are 1 * 1.5 * 4 = 6 and 0.25.
        (MismatchOptions(level="sequence", cap=5.0), [[5.0, 5.0, 5.0], [0.25, 1.0, 1.0]]),
        (MismatchOptions(level="sequence", action="mask", cap=7.0), [[6.0, 6.0, 6.0], [0.0, 1.0, 1.0]]),
        (MismatchOptions(action="off"), [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]),
    ],
)
def test_weights_by_hand(options: MismatchOptions, expected: list[list[float]]) -> None:
    weight_BT = importance_weights(RATIO_BT.log().requires_grad_(), MASK_BT, options)
    torch.testing.assert_close(weight_BT, torch.tensor(expected))
    assert not weight_BT.requires_grad


def test_an_enormous_gap_is_capped_not_infinite() -> None:
    # exp(200) overflows fp32; the weight is the cap all the same, and exp(-200) is 0.
    weight_BT = importance_weights(torch.tensor([[200.0, -200.0]]), torch.ones(1, 2, dtype=torch.bool), MismatchOptions())
    assert weight_BT.tolist() == [[2.0, 0.0]]


def test_metrics_by_hand() -> None:
    # Probabilities 0.2 and 0.5 against 0.1 and 0.5 of the engine: ratios 2 and 1.
    trainer_N, engine_N = torch.tensor([0.2, 0.5]).log(), torch.tensor([0.1, 0.5]).log()
    metric = EngineMismatch(MismatchOptions())
    # One token at a time, as from two micro-batches.
    for n, weight in enumerate((2.0, 1.0)):
        metric.update(trainer_N[n : n + 1], engine_N[n : n + 1], torch.tensor([weight]))
    result = metric.compute()
    assert result["logp_gap_mean"] == pytest.approx(math.log(2) / 2)
    assert result["delta_p_mean"] == pytest.approx(0.05)
    assert result["delta_p_max"] == pytest.approx(0.1)
    # k3 of the engine's samples: (2 - 1 - ln 2) / 2.
    assert result["kl"] == pytest.approx((1 - math.log(2)) / 2)
    # (2 + 1)^2 / (2 (4 + 1)).
    assert result["effective_sample_size"] == pytest.approx(0.9)
    assert result["capped"] == 0.5


def test_metrics_are_of_all_ranks() -> None:
    one_N = torch.zeros(1)
    metrics = StepMetrics({"mismatch/": local(EngineMismatch, MismatchOptions(action="mask"))})
    metrics.add("mismatch/", one_N, one_N, torch.tensor([0.0]))
    for ranks in (1, 3):
        result = metrics.result(lambda own_N, ranks=ranks: torch.stack([own_N] * ranks))
        assert result["mismatch/masked"] == 1.0
        assert result["mismatch/effective_sample_size"] == 0.0
    nothing = StepMetrics({"mismatch/": local(EngineMismatch, MismatchOptions())})
    nothing.add("mismatch/", torch.zeros(0), torch.zeros(0), torch.zeros(0))
    assert nothing.result() == {}

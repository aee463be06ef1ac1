"""Truncated importance weights by hand."""

import math

import pytest
import torch

from prism_pl.importance import importance_weights
from prism_pl.metrics import Means


def test_weights_and_metrics_by_hand() -> None:
    # Ratios trainer : engine of 1, 1.5, 4 and 0.5; the last two tokens of the second row are padding.
    engine_logp_BT = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, 0.0, 0.0]])
    ratio_BT = torch.tensor([[1.0, 1.5, 4.0], [0.5, 9.0, 9.0]])
    mask_BT = torch.tensor([[True, True, True], [True, False, False]])
    old_logp_BT = (engine_logp_BT + ratio_BT.log()).requires_grad_()
    means = Means()
    weight_BT = importance_weights(old_logp_BT, engine_logp_BT, mask_BT, 2.0, means)
    # min(ratio, 2), and 1 where masked.
    torch.testing.assert_close(weight_BT, torch.tensor([[1.0, 1.5, 2.0], [0.5, 1.0, 1.0]]))
    assert not weight_BT.requires_grad
    result = means.result()
    # (0 + log 1.5 + log 4 + log 2) / 4 = log 12 / 4; one of four tokens is capped.
    assert result["rollout/logp_gap_mean"] == pytest.approx(math.log(12) / 4)
    assert result["rollout/capped"] == 0.25


def test_equal_log_probabilities_weigh_one() -> None:
    logp_BT = torch.tensor([[-0.3, -7.0]])
    means = Means()
    weight_BT = importance_weights(logp_BT, logp_BT.clone(), torch.ones(1, 2, dtype=torch.bool), 2.0, means)
    assert weight_BT.tolist() == [[1.0, 1.0]]
    assert means.result() == {"rollout/logp_gap_mean": 0.0, "rollout/capped": 0.0}


def test_an_enormous_gap_is_capped_not_infinite() -> None:
    # exp(200) overflows fp32; the weight is the cap all the same, and exp(-200) is 0.
    old_logp_BT, engine_logp_BT = torch.tensor([[0.0, -200.0]]), torch.tensor([[-200.0, 0.0]])
    weight_BT = importance_weights(old_logp_BT, engine_logp_BT, torch.ones(1, 2, dtype=torch.bool), 2.0, Means())
    assert weight_BT.tolist() == [[2.0, 0.0]]


def test_without_a_cap_there_are_no_weights() -> None:
    old_logp_BT, engine_logp_BT = torch.tensor([[0.0, -2.0]]), torch.tensor([[-1.0, -2.0]])
    means = Means()
    weight_BT = importance_weights(old_logp_BT, engine_logp_BT, torch.ones(1, 2, dtype=torch.bool), None, means)
    assert weight_BT.tolist() == [[1.0, 1.0]]
    # The gap is measured all the same: (1 + 0) / 2.
    assert means.result() == {"rollout/logp_gap_mean": 0.5}

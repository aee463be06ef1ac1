"""The example of all loss tests: two responses of three and two tokens; the sixth token is padding.

A = +2: ratios 1.25, 1.0, 0.5, importance weights 1, 1, 0.5         A = -1: ratios 1.1, 0.5, importance weights 1, 1
"""

import pytest
import torch

from prism_pl.algorithms import Algorithm, LossInputs
from prism_pl.metrics.collection import StepMetrics


def make_inputs(log_ratio_BT: torch.Tensor) -> LossInputs:
    old_logp_BT = torch.full_like(log_ratio_BT, -3.0)
    return LossInputs(
        logp_BT=(old_logp_BT + log_ratio_BT).requires_grad_(),
        old_logp_BT=old_logp_BT,
        weight_BT=torch.tensor([[1.0, 1.0, 0.5], [1.0, 1.0, 1.0]], dtype=torch.float64),
        mask_BT=torch.tensor([[True, True, True], [True, True, False]]),
        advantage_BT=torch.tensor([[2.0], [-1.0]], dtype=torch.float64),
        num_tokens=5,
        num_responses=2,
        max_length=10,
    )


def loss_of(algorithm: Algorithm, inputs: LossInputs) -> torch.Tensor:
    """The loss, its figures left aside."""
    return algorithm.loss(inputs, StepMetrics(algorithm.metrics()))


@pytest.fixture
def token_inputs() -> LossInputs:
    # The padding token has a ratio of 9, which must not be seen.
    return make_inputs(torch.tensor([[1.25, 1.0, 0.5], [1.1, 0.5, 9.0]], dtype=torch.float64).log())

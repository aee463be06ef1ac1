"""Log-ratios that would overflow exp(): no algorithm and no objective gives NaN or an infinite gradient."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_pl.algorithms import (
    CISPO,
    DAPO,
    GRPO,
    GSPO,
    RLOO,
    SAPO,
    Algorithm,
    CappedWeight,
    DrGRPO,
    LossInputs,
    PolicyObjective,
    ReinforcePlusPlus,
    SequenceClip,
    SoftGate,
    TokenClip,
    divergence,
)
from prism_pl.algorithms.divergence import Estimator
from prism_pl.algorithms.importance import EngineMismatch, MismatchOptions, importance_weights
from prism_pl.metrics.collection import StepMetrics, local
from tests.prism_pl.algorithms.conftest import loss_of

OBJECTIVES: list[PolicyObjective] = [
    TokenClip(), TokenClip(dual_clip=3.0), SequenceClip(), SequenceClip(length_normalised=False), CappedWeight(),
    CappedWeight(ratio_cap=1e30), SoftGate(),
]  # fmt: skip
ALGORITHMS: list[Algorithm] = [
    GRPO(), DAPO(), GSPO(), DrGRPO(), RLOO(), ReinforcePlusPlus(), CISPO(), SAPO(),
    *(GRPO(objective=objective) for objective in OBJECTIVES),
    *(GRPO(kl_weight=0.1, kl_estimator=estimator) for estimator in ("k1", "k2", "k3")),
]  # fmt: skip
MISMATCHES = [
    MismatchOptions(), MismatchOptions(action="mask"), MismatchOptions(level="sequence", cap=1e30),
    MismatchOptions(level="sequence", action="mask", cap=1e30, low=0.0), MismatchOptions(action="off"),
]  # fmt: skip
# In fp32, as in training: exp(89) overflows it. B = 2 responses of T = 3 tokens at most.
log_ratios = st.lists(st.floats(-200, 200, width=32), min_size=6, max_size=6).map(lambda v: torch.tensor(v).reshape(2, 3))
masks = st.lists(st.booleans(), min_size=6, max_size=6).map(lambda v: torch.tensor(v).reshape(2, 3))
advantages = st.tuples(st.floats(-5, 5, width=32), st.floats(-5, 5, width=32)).map(torch.tensor)


def make_inputs(log_ratio_BT: torch.Tensor, mask_BT: torch.Tensor, advantage_B: torch.Tensor) -> LossInputs:
    """log pi is -401, so that two log-ratios in a row still lead to probabilities."""
    logp_BT = torch.full((2, 3), -401.0)
    return LossInputs(
        logp_BT=logp_BT.requires_grad_(),
        old_logp_BT=logp_BT.detach() - log_ratio_BT,
        weight_BT=torch.ones(2, 3),
        mask_BT=mask_BT,
        advantage_BT=advantage_B[:, None],
        num_tokens=6,
        num_responses=2,
        max_length=3,
    )


@given(st.sampled_from(ALGORITHMS), st.sampled_from(MISMATCHES), log_ratios, log_ratios, log_ratios, masks, advantages)
@settings(deadline=None, max_examples=200)
def test_loss_gradient_and_figures_are_finite(
    algorithm: Algorithm,
    mismatch: MismatchOptions,
    log_ratio_BT: torch.Tensor,
    engine_gap_BT: torch.Tensor,
    reference_gap_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    advantage_B: torch.Tensor,
) -> None:
    inputs = make_inputs(log_ratio_BT, mask_BT, advantage_B)
    vars(inputs).update(
        weight_BT=importance_weights(engine_gap_BT, mask_BT, mismatch),
        reference_logp_BT=inputs.logp_BT.detach() - reference_gap_BT,
    )
    metrics = StepMetrics(algorithm.metrics() | {"mismatch/": local(EngineMismatch, mismatch)})
    loss = algorithm.loss(inputs, metrics)
    columns = (inputs.old_logp_BT, inputs.old_logp_BT - engine_gap_BT, inputs.weight_BT)
    metrics.add("mismatch/", *(column_BT[mask_BT] for column_BT in columns))
    (gradient_BT,) = torch.autograd.grad(loss, inputs.logp_BT)
    assert loss.isfinite()
    assert gradient_BT.isfinite().all()
    assert (gradient_BT[~mask_BT] == 0).all()
    assert all(math.isfinite(value) for value in metrics.result().values())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_masked_is_not_read_at_all(algorithm: Algorithm) -> None:
    mask_BT = torch.tensor([[True, True, False], [True, False, False]])
    inputs = make_inputs(torch.full((2, 3), 0.1).where(mask_BT, torch.nan), mask_BT, torch.tensor([1.0, -1.0]))
    vars(inputs).update(reference_logp_BT=inputs.logp_BT.detach())
    loss = loss_of(algorithm, inputs)
    (gradient_BT,) = torch.autograd.grad(loss, inputs.logp_BT)
    assert loss.isfinite()
    assert gradient_BT.isfinite().all()


def test_nothing_inside_of_the_bounds_changes() -> None:
    # Tokens: exp(19.9) as it is; exp(20) = 485165195 for 21 and all above, exp(-20) below.
    log_ratio_BT = torch.tensor([[19.9, 21.0, 200.0], [-19.9, -21.0, -200.0]])
    inputs = make_inputs(log_ratio_BT, torch.ones(2, 3, dtype=torch.bool), torch.ones(2))
    largest, smallest = math.exp(20), math.exp(-20)
    expected_BT = torch.tensor([[math.exp(19.9), largest, largest], [math.exp(-19.9), smallest, smallest]])
    # Of a difference of fp32 numbers near 400, which are 3e-5 apart.
    torch.testing.assert_close(inputs.ratio_BT.detach(), expected_BT, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("length_normalised", "log_ratio", "exponent"),
    # Each of three tokens; the mean is bound by 10, the sum by 20.
    [(True, 9.5, 9.5), (True, 11.0, 10.0), (False, 6.5, 19.5), (False, 7.0, 20.0)],
)
def test_the_bounds_of_sequence_ratios(length_normalised: bool, log_ratio: float, exponent: float) -> None:
    inputs = make_inputs(torch.full((2, 3), log_ratio), torch.ones(2, 3, dtype=torch.bool), torch.tensor([-1.0, -1.0]))
    objective = SequenceClip(length_normalised=length_normalised)
    loss_BT = objective(inputs, StepMetrics(objective.metrics()))
    # -min(-s, -clip(s)) = s for A = -1: nothing clips a bad response's large ratio but the bound.
    torch.testing.assert_close(loss_BT.detach(), torch.full((2, 3), math.exp(exponent)), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("estimator", "d", "value", "slope"),
    [
        ("k3", -19.0, math.exp(19) - 20, 1 - math.exp(19)),
        ("k3", -150.0, math.exp(20) - 21, 0.0),
        # Far above 0 nothing overflows, and the pull towards the reference stays.
        ("k3", 150.0, 149.0, 1.0),
        ("k2", -150.0, 11250.0, -150.0),
        ("k1", -150.0, -150.0, 1.0),
    ],
)
def test_the_bound_of_the_divergence(estimator: Estimator, d: float, value: float, slope: float) -> None:
    logp = torch.tensor(d).requires_grad_()
    found = divergence(logp, torch.tensor(0.0), estimator)
    (gradient,) = torch.autograd.grad(found, logp)
    assert found.item() == pytest.approx(value, rel=1e-6)
    assert gradient.item() == pytest.approx(slope, rel=1e-6)


def test_a_product_of_weights_is_bounded_whatever_the_cap() -> None:
    options = MismatchOptions(level="sequence", cap=1e30)
    weight_BT = importance_weights(torch.full((2, 3), 7.0), torch.ones(2, 3, dtype=torch.bool), options)
    torch.testing.assert_close(weight_BT, torch.full((2, 3), math.exp(20)))

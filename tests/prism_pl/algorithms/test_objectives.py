"""Every algorithm's loss and gradient against hand arithmetic on the example of conftest.py."""

import pytest
import torch

from prism_pl.algorithms import CISPO, DAPO, GRPO, GSPO, RLOO, SAPO, DrGRPO, LossInputs, ReinforcePlusPlus
from prism_pl.metrics.collection import StepMetrics
from tests.prism_pl.algorithms.conftest import loss_of, make_inputs


def gradient(loss: torch.Tensor, inputs: LossInputs) -> torch.Tensor:
    (gradient_BT,) = torch.autograd.grad(loss, inputs.logp_BT)
    return gradient_BT


def test_grpo_by_hand(token_inputs: LossInputs) -> None:
    metrics = StepMetrics(GRPO().metrics())
    loss = GRPO().loss(token_inputs, metrics)
    # First response: min(2.5, 1.2 * 2) = 2.4; min(2, 2) = 2; min(1, 0.8 * 2) * 0.5 = 0.5; together 4.9.
    # Second: min(-1.1, -1.1) = -1.1; min(-0.5, 0.8 * -1) = -0.8; together -1.9.
    # -(4.9 - 1.9) / 5 tokens = -0.6.
    assert loss.item() == pytest.approx(-0.6)
    # d(rho A w)/dlogp = rho A w where not clipped: -2 / 5, -(0.5 * 2 * 0.5) / 5, +1.1 / 5; 0 where clipped or padded.
    expected_BT = torch.tensor([[0.0, -0.4, -0.1], [0.22, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient(loss, token_inputs), expected_BT)
    result = metrics.result()
    # (1.25 + 1 + 0.5 + 1.1 + 0.5) / 5 = 0.87.
    assert result["policy/ratio"] == pytest.approx(0.87)
    # Only 0.5 with A = -1 is taken out from below (0.5 with A = +2 keeps its gradient), only 1.25 with A = +2 from above.
    assert result["policy/clipped_low"] == pytest.approx(0.2)
    assert result["policy/clipped_high"] == pytest.approx(0.2)
    assert result["policy/loss"] == pytest.approx(-0.6)


def test_reinforce_plus_plus_has_the_loss_of_grpo(token_inputs: LossInputs) -> None:
    assert loss_of(ReinforcePlusPlus(), token_inputs).item() == pytest.approx(-0.6)


def test_dapo_by_hand(token_inputs: LossInputs) -> None:
    metrics = StepMetrics(DAPO().metrics())
    loss = DAPO().loss(token_inputs, metrics)
    # As GRPO, but 1.25 is below 1.28, so the first token gains 2.5: -(2.5 + 2 + 0.5 - 1.9) / 5 = -0.62.
    assert loss.item() == pytest.approx(-0.62)
    # ... and has a gradient: -2.5 / 5.
    expected_BT = torch.tensor([[-0.5, -0.4, -0.1], [0.22, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient(loss, token_inputs), expected_BT)
    assert metrics.result()["policy/clipped_high"] == 0.0


def test_dr_grpo_by_hand(token_inputs: LossInputs) -> None:
    loss = loss_of(DrGRPO(), token_inputs)
    # GRPO's sum of 3.0 over 2 responses times the limit of 10 tokens: -3 / 20; gradients are those of GRPO times 5 / 20.
    assert loss.item() == pytest.approx(-0.15)
    expected_BT = torch.tensor([[0.0, -0.1, -0.025], [0.055, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient(loss, token_inputs), expected_BT)


def test_gspo_by_hand() -> None:
    inputs = make_inputs(torch.tensor([[6e-4, 3e-4, 0.0], [-8e-4, -4e-4, 2.0]], dtype=torch.float64))
    metrics = StepMetrics(GSPO().metrics())
    loss = GSPO().loss(inputs, metrics)
    # s = exp(mean log rho): exp(3e-4) = 1.000300045, inside 1.0004; exp(-6e-4) = 0.99940018, below 1 - 3e-4.
    # Weights: (1 + 1 + 0.5) / 3 = 0.8333333 and 1.
    # First response: 1.000300045 * 2 * 0.8333333 = 1.667166742. Second: min(-0.99940018, -0.9997) = -0.9997.
    # -(1.667166742 - 0.9997) / 2 responses = -0.333733371.
    assert loss.item() == pytest.approx(-0.333733371, abs=1e-9)
    # ds/dlogp_t = s / 3, so -1.667166742 / 3 / 2 = -0.277861124 for each token of the first, 0 for the clipped second.
    expected_BT = torch.tensor([[-0.277861124] * 3, [0.0] * 3], dtype=torch.float64)
    torch.testing.assert_close(gradient(loss, inputs), expected_BT, atol=1e-9, rtol=0)
    result = metrics.result()
    # Two of five tokens belong to the clipped response.
    assert result["policy/clipped_low"] == pytest.approx(0.4)
    assert result["policy/clipped_high"] == 0.0
    # (3 * 1.000300045 + 2 * 0.99940018) / 5 = 0.999940099.
    assert result["policy/ratio"] == pytest.approx(0.999940099, abs=1e-9)


def test_rloo_by_hand() -> None:
    inputs = make_inputs(torch.tensor([[0.1, 0.05, 0.0], [-0.3, -0.1, 2.0]], dtype=torch.float64))
    loss = loss_of(RLOO(), inputs)
    # The ratio of whole responses: exp(0.15) = 1.161834243, inside 1.2; exp(-0.4) = 0.670320046, below 0.8.
    # First: 2 * 1.161834243 * 0.8333333 (mean weight) = 1.936390405. Second: min(-0.670320046, -0.8) = -0.8.
    # -(1.936390405 - 0.8) / 2 = -0.568195202.
    assert loss.item() == pytest.approx(-0.568195202, abs=1e-9)
    # ds/dlogp_t = s for every token: -1.936390405 / 2 = -0.968195202; 0 for the clipped second.
    expected_BT = torch.tensor([[-0.968195202] * 3, [0.0] * 3], dtype=torch.float64)
    torch.testing.assert_close(gradient(loss, inputs), expected_BT, atol=1e-9, rtol=0)


def test_cispo_by_hand(token_inputs: LossInputs) -> None:
    metrics = StepMetrics(CISPO(ratio_cap=1.2).metrics())
    loss = CISPO(ratio_cap=1.2).loss(token_inputs, metrics)
    # Weights 1.2 (capped), 1, 0.5; 1.1, 0.5. Times A and importance weight: 2.4, 2, 0.5; -1.1, -0.5.
    # log pi = -3 + ln rho: -2.7768564487, -3, -3.6931471806; -2.9046898202, -3.6931471806.
    # Products: -6.6644554769 - 6 - 1.8465735903 + 3.1951588022 + 1.8465735903 = -9.4692966747; / -5 = 1.8938593349.
    assert loss.item() == pytest.approx(1.8938593349, abs=1e-9)
    # The gradient is the weight: the capped token keeps one, unlike under a clip.
    expected_BT = torch.tensor([[-0.48, -0.4, -0.1], [0.22, 0.1, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient(loss, token_inputs), expected_BT)
    assert metrics.result()["policy/clipped_high"] == pytest.approx(0.2)


def test_sapo_by_hand(token_inputs: LossInputs) -> None:
    loss = loss_of(SAPO(), token_inputs)
    # f with tau = 1: 4 sigma(0.25) = 2.2487060035, 4 sigma(0) = 2, 4 sigma(-0.5) = 1.5101626752;
    # with tau = 1.05: 4 / 1.05 sigma(0.105) = 2.0046701309, 4 / 1.05 sigma(-0.525) = 1.4159383303.
    # First: (2 * 2.2487060035 + 2 * 2 + 2 * 1.5101626752 * 0.5) / 3 = 3.3358582274; second: -3.4206084612 / 2.
    # -(3.3358582274 - 1.7103042306) / 2 = -0.8127769984.
    assert loss.item() == pytest.approx(-0.8127769984, abs=1e-9)
    # -4 p (1 - p) rho A w / 3 / 2 and / 2 / 2: with p = sigma(0.25) it is -2 * 0.9845363 * 1.25 / 6, and so on.
    expected_BT = torch.tensor(
        [[-0.4102234712, -0.3333333333, -0.0783345707], [0.2742434218, 0.1167674779, 0.0]], dtype=torch.float64
    )
    torch.testing.assert_close(gradient(loss, token_inputs), expected_BT, atol=1e-9, rtol=0)


def test_dual_clip_bounds_what_a_bad_token_costs() -> None:
    inputs = make_inputs(torch.tensor([[1.0, 1.0, 1.0], [1.0, 4.0, 1.0]], dtype=torch.float64).log())
    # min(-4, -1.2) = -4 without it, 3 * -1 with it: the sum is 2 + 2 + 1 - 1 - 4 = 0, or 1.
    assert loss_of(GRPO(), inputs).item() == pytest.approx(0.0)
    loss = loss_of(GRPO(dual_clip=3.0), inputs)
    assert loss.item() == pytest.approx(-0.2)
    assert gradient(loss, inputs)[1, 1] == 0

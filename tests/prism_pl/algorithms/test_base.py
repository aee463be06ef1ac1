"""What holds for every algorithm, and what swaps alone."""

import math
from dataclasses import fields, replace

import pytest
import torch

from prism_pl.algorithms import (
    CISPO,
    DAPO,
    GRPO,
    GSPO,
    RLOO,
    SAPO,
    Algorithm,
    DrGRPO,
    GroupCentred,
    GroupNormalised,
    LeaveOneOut,
    LossInputs,
    Outcomes,
    ReinforcePlusPlus,
    SequenceClip,
    TokenClip,
)
from prism_pl.errors import UserError
from prism_pl.metrics.collection import StepMetrics
from tests.prism_pl.algorithms.conftest import loss_of, make_inputs

ALGORITHMS = [GRPO(), DAPO(), GSPO(), DrGRPO(), RLOO(), ReinforcePlusPlus(), CISPO(), SAPO()]


def gradient(algorithm: Algorithm, inputs: LossInputs) -> torch.Tensor:
    (gradient_BT,) = torch.autograd.grad(loss_of(algorithm, inputs), inputs.logp_BT)
    return gradient_BT


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_on_policy_step_has_the_plain_gradient_and_clips_nothing(algorithm: Algorithm) -> None:
    inputs = make_inputs(torch.zeros(2, 3, dtype=torch.float64))
    metrics = StepMetrics(algorithm.metrics())
    algorithm.loss(inputs, metrics)
    result = metrics.result()
    assert result["policy/ratio"] == 1.0
    assert result.get("policy/clipped_low", 0.0) == result.get("policy/clipped_high", 0.0) == 0.0
    # -A w log pi, weighted by the aggregation: over 5 tokens; over 2 responses and their 3 and 2 tokens; over 2 * 10.
    plain_BT = torch.tensor([[-2.0, -2.0, -1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    scale_B1 = {
        "token_mean": torch.tensor([[1 / 5], [1 / 5]]),
        "sequence_mean": torch.tensor([[1 / 6], [1 / 4]]),
        "length_limit": torch.tensor([[1 / 20], [1 / 20]]),
    }[algorithm.aggregation]
    expected_BT = plain_BT * scale_B1
    if isinstance(algorithm, GSPO):
        # One weight a response: the mean of its tokens'.
        expected_BT[0] = expected_BT[0].mean()
    if isinstance(algorithm, RLOO):
        # The response is one action, whose log-probability is the sum: nothing divides by its length.
        expected_BT = torch.tensor([[-5 / 6] * 3, [0.5, 0.5, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient(algorithm, inputs), expected_BT.double(), atol=1e-7, rtol=0)


@pytest.mark.parametrize("parts", [1, 2, 7])
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, GRPO(kl_weight=0.1, entropy_weight=0.01)])
def test_any_number_of_micro_batches_gives_the_same_gradient(algorithm: Algorithm, parts: int) -> None:
    generator = torch.Generator().manual_seed(0)
    # GSPO's range is a thousand times narrower; the spread puts some ratios inside and some outside of each range.
    spread = 1e-3 if isinstance(algorithm, GSPO) else 0.5
    logp_BT = spread * torch.randn(7, 5, generator=generator, dtype=torch.float64)
    lengths_B1 = torch.tensor([5, 1, 3, 2, 5, 4, 1])[:, None]
    whole = LossInputs(
        logp_BT=logp_BT.requires_grad_(),
        old_logp_BT=torch.zeros_like(logp_BT),
        weight_BT=torch.rand(7, 5, generator=generator, dtype=torch.float64),
        mask_BT=torch.arange(5) < lengths_B1,
        advantage_BT=torch.randn(7, 1, generator=generator, dtype=torch.float64),
        num_tokens=21,
        num_responses=7,
        max_length=8,
        entropy_BT=torch.rand(7, 5, generator=generator, dtype=torch.float64),
        reference_logp_BT=torch.randn(7, 5, generator=generator, dtype=torch.float64) if algorithm.kl_weight else None,
    )
    metrics, split_metrics = StepMetrics(algorithm.metrics()), StepMetrics(algorithm.metrics())
    loss = algorithm.loss(whole, metrics)
    (gradient_BT,) = torch.autograd.grad(loss, logp_BT)

    def part(rows: torch.Tensor) -> torch.Tensor:
        tensors = {key: value[rows] for key, value in vars(whole).items() if isinstance(value, torch.Tensor)}
        return algorithm.loss(replace(whole, **tensors), split_metrics)

    order = torch.randperm(7, generator=generator)
    split_loss = torch.stack([part(rows) for rows in order.tensor_split(parts)]).sum()
    (split_gradient_BT,) = torch.autograd.grad(split_loss, logp_BT)
    assert split_loss.item() == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(split_gradient_BT, gradient_BT, rtol=1e-12, atol=1e-14)
    assert split_metrics.result() == pytest.approx(metrics.result())
    assert gradient_BT.abs().max() > 0


def test_overlong_shaping_golden_values() -> None:
    # Limit 8192, share 0.5: the buffer is 4096 and starts at 4096. 6144 is half of it, 7168 three quarters.
    length_PG = torch.tensor([[1, 4096, 6144], [7168, 8192, 9000]])
    shaped_PG = DAPO(overlong_share=0.5).shape(torch.zeros(2, 3), length_PG, 8192)
    assert shaped_PG.tolist() == [[0.0, 0.0, -0.5], [-0.75, -1.0, -1.0]]
    # It is added to the reward, and scaled by the penalty: 1 - 2 * 0.5 = 0. Any algorithm can have it.
    shaped_PG = GSPO(overlong_share=0.5, overlong_penalty=2.0).shape(torch.ones(1, 1), torch.tensor([[6144]]), 8192)
    assert shaped_PG.tolist() == [[0.0]]


def test_overlong_shaping_of_the_paper() -> None:
    # 20,480 tokens with the default share of 0.2: a buffer of 4096 from 16,384; 18,432 is half of it.
    shaped_PG = DAPO().shape(torch.zeros(1, 3), torch.tensor([[16384, 18432, 20480]]), 20480)
    torch.testing.assert_close(shaped_PG, torch.tensor([[0.0, -0.5, -1.0]]))


@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if not isinstance(a, DAPO)])
def test_only_dapo_shapes_and_filters_by_default(algorithm: Algorithm) -> None:
    assert algorithm.shape(torch.ones(1, 2), torch.tensor([[5, 8192]]), 8192).tolist() == [[1.0, 1.0]]
    flat_PG = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert algorithm.keeps(flat_PG).tolist() == [True, True]
    assert replace(algorithm, max_resampling=1).keeps(flat_PG).tolist() == [False, True]
    assert DAPO().keeps(flat_PG).tolist() == [False, True]


def test_divergence_and_entropy_in_the_loss_by_hand(token_inputs: LossInputs) -> None:
    reference_BT = token_inputs.logp_BT.detach() + 1.0
    inputs = replace(token_inputs, reference_logp_BT=reference_BT, entropy_BT=torch.full((2, 3), 0.7, dtype=torch.float64))
    # k3 with d = -1 is e - 2 on each of the five tokens; GRPO's loss is -0.6.
    algorithm = GRPO(kl_weight=0.5, entropy_weight=0.1)
    loss = algorithm.loss(inputs, metrics := StepMetrics(algorithm.metrics()))
    assert loss.item() == pytest.approx(-0.6 + 0.5 * (math.e - 2) - 0.1 * 0.7)
    assert metrics.result()["policy/kl_reference"] == pytest.approx(math.e - 2)
    # In the reward it is not in the loss a second time.
    assert loss_of(GRPO(kl_weight=0.5, kl_in="reward"), inputs).item() == pytest.approx(-0.6)


def test_divergence_in_the_reward_by_hand() -> None:
    logp, reference = {0: torch.tensor([-1.0, -2.0]), 1: torch.tensor([-1.0])}, {0: torch.zeros(2), 1: torch.tensor([-3.0])}
    # k1 sums: -1 - 2 = -3, and 2; times RLOO's 0.03.
    torch.testing.assert_close(RLOO().reward_divergence(logp, reference), torch.tensor([-0.09, 0.06]))


def test_estimator_and_objective_swap_alone(token_inputs: LossInputs) -> None:
    mixed = GSPO(advantage=LeaveOneOut(), objective=TokenClip(clip_high=0.28), aggregation="token_mean")
    given = Outcomes(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2), lambda sums: sums)
    assert mixed.advantages(given).tolist() == [[1.0, -1.0]]
    # DAPO's loss, by hand above.
    assert loss_of(mixed, token_inputs).item() == pytest.approx(-0.62)


def test_a_clip_range_that_nothing_reads_is_refused() -> None:
    with pytest.raises(UserError, match=r"algorithm.clip_high: GRPO does not use it when `objective` is set"):
        GRPO(clip_high=0.3, objective=SequenceClip())


def test_each_algorithm_brings_the_defaults_of_its_paper() -> None:
    def clip(algorithm: Algorithm) -> list[float]:
        return [getattr(algorithm, f.name) for f in fields(algorithm) if f.name in ("clip_low", "clip_high", "ratio_cap")]

    assert [clip(algorithm) for algorithm in ALGORITHMS] == [
        [0.2, 0.2], [0.2, 0.28], [3e-4, 4e-4], [0.2, 0.2], [0.2, 0.2], [0.2, 0.2], [5.0], [],
    ]  # fmt: skip
    assert [a.max_resampling for a in ALGORITHMS] == [0, 10, 0, 0, 0, 0, 0, 0]
    assert [a.kl_weight for a in ALGORITHMS] == [0, 0, 0, 0, 0.03, 0, 0, 0]
    assert (SAPO().temperature_positive, SAPO().temperature_negative) == (1.0, 1.05)
    assert isinstance(DrGRPO().own_advantage(), GroupCentred)
    assert isinstance(CISPO().own_advantage(), GroupNormalised)


def test_rows_without_advantage_are_needed_by_divergence_and_entropy_alone() -> None:
    assert not GRPO().needs_all_rows
    assert GRPO(kl_weight=0.1).needs_all_rows
    assert GRPO(entropy_weight=0.1).needs_all_rows
    assert not RLOO().needs_all_rows  # its divergence is in the reward

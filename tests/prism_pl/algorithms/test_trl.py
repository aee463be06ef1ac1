"""The same losses and gradients as TRL's GRPOTrainer on random tensors (an implementation that we share no line with)."""

from collections import defaultdict
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from trl import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

from prism_pl.algorithms import CISPO, DAPO, GRPO, GSPO, RLOO, SAPO, Algorithm, DrGRPO, LossInputs
from tests.prism_pl.algorithms.conftest import loss_of

MAX_LENGTH = 12
# TRL's own names for what our classes bundle.
GRPO_STYLE = [
    (GRPO(aggregation="sequence_mean"), {"loss_type": "grpo", "epsilon_low": 0.2, "epsilon_high": 0.2}),
    (GRPO(aggregation="sequence_mean", kl_weight=0.04), {"loss_type": "grpo", "beta": 0.04}),
    (DAPO(), {"loss_type": "dapo", "epsilon_high": 0.28}),
    (DrGRPO(), {"loss_type": "dr_grpo"}),
    (
        GSPO(clip_low=0.1, clip_high=0.15),
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.1, "epsilon_high": 0.15},
    ),
    (CISPO(ratio_cap=1.3), {"loss_type": "cispo", "epsilon_high": 1.3}),
    (SAPO(), {"loss_type": "sapo"}),
]


def make_inputs(seed: int) -> LossInputs:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mask_BT = torch.arange(8) < torch.tensor([[8], [1], [5], [3], [8], [2]])
    return LossInputs(
        logp_BT=(-2 + random(6, 8)).requires_grad_(),
        old_logp_BT=-2 + random(6, 8) * 0.6,
        weight_BT=torch.rand(6, 8, generator=generator, dtype=torch.float64) * 2,
        mask_BT=mask_BT,
        advantage_BT=random(6, 1),
        num_tokens=float(mask_BT.sum()),
        num_responses=6,
        max_length=MAX_LENGTH,
        reference_logp_BT=-2 + random(6, 8),
    )


def trl_loss(inputs: LossInputs, trainer: type, **options: object) -> torch.Tensor:
    """Their ``_compute_loss`` on our tensors, with stand-ins for the model and the accelerator alone."""
    accelerator = MagicMock(num_processes=1)
    accelerator.gather = accelerator.gather_for_metrics = lambda tensor: tensor
    own = {"epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.0, "importance_sampling_level": "token"} | options
    args = SimpleNamespace(
        delta=None,
        use_bias_correction_kl=False,
        steps_per_generation=1,
        sapo_temperature_pos=1.0,
        sapo_temperature_neg=1.05,
    )
    this = SimpleNamespace(
        **own, args=args, accelerator=accelerator, model=SimpleNamespace(training=True), aux_loss_enabled=False,
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=True, vllm_importance_sampling_correction=True,
        current_gradient_accumulation_steps=1, max_completion_length=MAX_LENGTH, _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (inputs.logp_BT, torch.zeros_like(inputs.logp_BT), None),
    )  # fmt: skip
    size = inputs.logp_BT.shape
    theirs = {
        "prompt_ids": torch.zeros(size[0], 1),
        "prompt_mask": torch.ones(size[0], 1),
        "completion_ids": torch.zeros(size),
        "completion_mask": inputs.mask_BT.long(),
        "advantages": inputs.advantage_BT[:, 0],
        "old_per_token_logps": inputs.old_logp_BT,
        "old_logps": (inputs.old_logp_BT * inputs.mask_BT).sum(-1),
        "ref_per_token_logps": inputs.reference_logp_BT,
        "importance_sampling_ratio": inputs.weight_BT,
        "num_items_in_batch": inputs.mask_BT.sum(),
    }
    return trainer._compute_loss(this, this.model, theirs)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("algorithm", "options"), GRPO_STYLE)
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_and_gradient_are_those_of_trl(algorithm: Algorithm, options: dict[str, object], seed: int) -> None:
    inputs = make_inputs(seed)
    ours, theirs = loss_of(algorithm, inputs), trl_loss(inputs, GRPOTrainer, **options)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    own_BT, other_BT = (torch.autograd.grad(loss, inputs.logp_BT)[0] for loss in (ours, theirs))
    torch.testing.assert_close(own_BT, other_BT, rtol=1e-6, atol=1e-9)
    assert own_BT.abs().max() > 0


def test_rloo_is_that_of_trl() -> None:
    inputs = make_inputs(2)
    # TRL's has no importance weights.
    inputs = LossInputs(**{**vars(inputs), "weight_BT": torch.ones_like(inputs.weight_BT)})
    ours, theirs = loss_of(RLOO(), inputs), trl_loss(inputs, RLOOTrainer)
    torch.testing.assert_close(ours, theirs)
    own_BT, other_BT = (torch.autograd.grad(loss, inputs.logp_BT)[0] for loss in (ours, theirs))
    torch.testing.assert_close(own_BT, other_BT)

"""What an RL algorithm decides: shaping, which groups count, advantages, and the loss of a micro-batch.

loss = aggregate( weight . objective + kl_weight . KL(pi || pi_ref) - entropy_weight . H(pi) )
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torchmetrics import Metric

from prism_pl.algorithms.advantages import AdvantageEstimator
from prism_pl.algorithms.divergence import Estimator, divergence
from prism_pl.algorithms.inputs import LossInputs, Outcomes, has_signal
from prism_pl.algorithms.objectives import PolicyObjective
from prism_pl.errors import UserError
from prism_pl.metrics.collection import StepMetrics, means
from prism_pl.ranges import NonNegativeFloat, NonNegativeInt, Share

Aggregation = Literal["token_mean", "sequence_mean", "length_limit"]


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """Base of all algorithms: the leaves set the defaults of their papers and add their own fields."""

    advantage: AdvantageEstimator | None = None
    """Another advantage estimator; null is the algorithm's own."""
    objective: PolicyObjective | None = None
    """Another policy objective; null is the algorithm's own."""
    aggregation: Aggregation = "token_mean"
    """From tokens to one loss: mean over all tokens; mean over responses of their token means; sum over all tokens divided
    by responses times the length limit. The denominators are those of the whole update."""
    kl_weight: NonNegativeFloat = 0.0
    """Weight of the divergence from the reference model; 0 builds none."""
    kl_estimator: Estimator = "k3"
    """``k1``, ``k2`` or ``k3``."""
    kl_in: Literal["loss", "reward"] = "loss"
    """``reward`` takes the sum over a response's tokens off its reward."""
    entropy_weight: NonNegativeFloat = 0.0
    """Bonus for the entropy of each token's distribution."""
    overlong_share: Share = 0.0
    """Soft overlong punishment (DAPO, eq. 13): the buffer before the length limit, as a share of it."""
    overlong_penalty: NonNegativeFloat = 1.0
    """What a response of the full length loses."""
    max_resampling: NonNegativeInt = 0
    """Dynamic sampling (DAPO, eq. 11): rounds of further prompts that replace groups without signal; 0 keeps all groups."""

    def __post_init__(self) -> None:
        if self.objective is None:
            return
        general = {field.name for field in fields(Algorithm)}
        for field in fields(self):
            if field.name not in general and getattr(self, field.name) != field.default:
                raise UserError(
                    f"model.algorithm.{field.name}: {type(self).__name__} does not use it when `objective` is set; give it "
                    f"to the objective, {type(self.objective).__name__}."
                )

    @abstractmethod
    def own_advantage(self) -> AdvantageEstimator:
        """The estimator of the paper."""

    @abstractmethod
    def own_objective(self) -> PolicyObjective:
        """The objective of the paper, with this instance's clip range."""

    @property
    def uses_reference(self) -> bool:
        """Whether a reference model is needed at all."""
        return self.kl_weight > 0

    @property
    def needs_all_rows(self) -> bool:
        """Whether a response without advantage still has a gradient, from the divergence or the entropy."""
        return self.entropy_weight > 0 or (self.uses_reference and self.kl_in == "loss")

    def shape(self, reward_PG: torch.Tensor, length_PG: torch.Tensor, max_length: int) -> torch.Tensor:
        """r - penalty . clip((length - (L - buffer)) / buffer, 0, 1), lengths in tokens."""
        buffer = self.overlong_share * max_length
        if buffer == 0:
            return reward_PG
        over_PG = (length_PG - (max_length - buffer)).clamp(0, buffer)
        return reward_PG - self.overlong_penalty * over_PG / buffer

    def keeps(self, reward_PG: torch.Tensor) -> torch.Tensor:
        """True for each group (P,) that the update should use; the reward is the unshaped one."""
        if not self.max_resampling:
            return torch.ones(len(reward_PG), dtype=torch.bool)
        return has_signal(reward_PG)

    def reward_divergence(self, logp: Mapping[int, torch.Tensor], reference: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """What each of the B responses loses: kl_weight times the sum of its tokens' divergence."""
        sums = [divergence(logp[b], reference[b], self.kl_estimator).sum().cpu() for b in range(len(logp))]
        return self.kl_weight * torch.stack(sums)

    def advantages(self, outcomes: Outcomes) -> torch.Tensor:
        """The advantage (P, G) of each response."""
        return (self.advantage or self.own_advantage())(outcomes)

    def metrics(self) -> dict[str, Metric]:
        """What ``loss`` adds to."""
        reference = ["policy/kl_reference"] if self.uses_reference else []
        return means("policy/loss", *reference) | (self.objective or self.own_objective()).metrics()

    def loss(self, inputs: LossInputs, metrics: StepMetrics) -> torch.Tensor:
        """The micro-batch's share of the loss; adds its figures to ``metrics``."""
        loss_BT = (self.objective or self.own_objective())(inputs, metrics) * inputs.weight_BT
        metrics.add("policy/loss", loss_BT[inputs.mask_BT])
        if self.uses_reference and inputs.reference_logp_BT is not None:
            kl_BT = divergence(inputs.logp_BT, inputs.reference_logp_BT, self.kl_estimator)
            metrics.add("policy/kl_reference", kl_BT[inputs.mask_BT])
            if self.kl_in == "loss":
                loss_BT = loss_BT + self.kl_weight * kl_BT
        if self.entropy_weight:
            assert inputs.entropy_BT is not None
            loss_BT = loss_BT - self.entropy_weight * inputs.entropy_BT
        return self._aggregate(torch.where(inputs.mask_BT, loss_BT, 0.0), inputs)

    def _aggregate(self, loss_BT: torch.Tensor, inputs: LossInputs) -> torch.Tensor:
        if self.aggregation == "token_mean":
            return loss_BT.sum() / inputs.num_tokens
        if self.aggregation == "sequence_mean":
            return (loss_BT.sum(-1) / inputs.mask_BT.sum(-1).clamp_min(1)).sum() / inputs.num_responses
        return loss_BT.sum() / (inputs.num_responses * inputs.max_length)

"""Advantage estimators: from the rewards of a batch to what each response, and so each of its tokens, is worth."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch

from prism_pl.algorithms.inputs import Outcomes

_EPSILON = 1e-6


class AdvantageEstimator(ABC):
    """Base of all estimators; the leaves are frozen dataclasses."""

    @abstractmethod
    def __call__(self, outcomes: Outcomes) -> torch.Tensor:
        """The advantage (P, G) of each response; exactly 0 where a response teaches nothing."""


@dataclass(frozen=True, kw_only=True)
class GroupNormalised(AdvantageEstimator):
    """A_i = (r_i - mean(r)) / std(r) in each group, with the unbiased std (GRPO, arXiv 2402.03300, section 4.1.2)."""

    def __call__(self, outcomes: Outcomes) -> torch.Tensor:
        reward_PG = outcomes.reward_PG
        if reward_PG.shape[1] == 1:
            return torch.zeros_like(reward_PG)
        return GroupCentred()(outcomes) / reward_PG.std(dim=1, keepdim=True).clamp_min(_EPSILON)


@dataclass(frozen=True, kw_only=True)
class GroupCentred(AdvantageEstimator):
    """A_i = r_i - mean(r) in each group: dividing by std favours prompts that are nearly solved or nearly hopeless
    (Dr. GRPO, arXiv 2503.20783, section 3.1)."""

    def __call__(self, outcomes: Outcomes) -> torch.Tensor:
        reward_PG = outcomes.reward_PG
        return (reward_PG - reward_PG.mean(dim=1, keepdim=True)) * outcomes.signal_P1


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(AdvantageEstimator):
    """A_i = r_i - mean of the other G - 1 rewards = G / (G - 1) (r_i - mean(r)) (RLOO, arXiv 2402.14740, eq. 8)."""

    def __call__(self, outcomes: Outcomes) -> torch.Tensor:
        group_size = outcomes.reward_PG.shape[1]
        if group_size == 1:
            return torch.zeros_like(outcomes.reward_PG)
        return GroupCentred()(outcomes) * group_size / (group_size - 1)


@dataclass(frozen=True, kw_only=True)
class BatchWhitened(AdvantageEstimator):
    """A = (R - mean) / std over all response tokens of the batch, on all ranks (REINFORCE++, arXiv 2501.03262, section 3).

    With a reward at the end and no discount every token of a response has the return R = r, so the mean over tokens weighs
    each response by its length.
    """

    group_baseline: bool = False
    """First subtract the mean of each group (the paper's variant for several responses a prompt)."""

    def __call__(self, outcomes: Outcomes) -> torch.Tensor:
        value_PG = outcomes.reward_PG.double()
        if self.group_baseline:
            value_PG = GroupCentred()(outcomes).double()
        weight_PG = outcomes.length_PG.double()
        sums = torch.stack([weight_PG.sum(), (weight_PG * value_PG).sum(), (weight_PG * value_PG.square()).sum()])
        count, first, second = outcomes.total(sums).to(value_PG).unbind()
        mean = first / count
        variance = second / count - mean.square()
        if variance <= _EPSILON**2:
            return torch.zeros_like(outcomes.reward_PG)
        return ((value_PG - mean) / variance.sqrt()).to(outcomes.reward_PG.dtype)


@dataclass(frozen=True, kw_only=True)
class DecoupledNormalised(AdvantageEstimator):
    """A_i = S_i / std(S) over all responses of the batch, on all ranks;   S_i = sum_n w_n (r_ni - mean(r_n)) / std(r_n)
    with the mean and the std of each reward n in each group (GDPO, arXiv 2601.05242, section 3).

    Responses whose rewards differ but add up to the same keep different advantages, and no reward counts for more because
    it varies more: its weight alone decides. An overlong punishment and a divergence in the reward are rewards like the
    others. Both std are the unbiased ones. The paper also subtracts the mean of S, which is 0, as it is in every group.
    """

    def __call__(self, outcomes: Outcomes) -> torch.Tensor:
        assert outcomes.terms, "this estimator needs the terms of the reward"
        sum_PG = torch.zeros_like(outcomes.reward_PG, dtype=torch.float64)
        for term in outcomes.terms:
            own = replace(outcomes, reward_PG=term.value_PG.double())
            # The value holds the weight, and so its sign: the size is what normalising has taken away.
            sum_PG += abs(term.weight) * GroupNormalised()(own)
        sums = torch.stack([torch.tensor(float(sum_PG.numel())), sum_PG.square().sum()])
        count, square = outcomes.total(sums).to(sum_PG).unbind()
        std = (square / (count - 1).clamp_min(1)).sqrt()
        return (sum_PG / std.clamp_min(_EPSILON)).to(outcomes.reward_PG.dtype)

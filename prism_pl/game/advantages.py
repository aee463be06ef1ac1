"""From scores to advantages: the forms under discussion, each a class.

All but the released one keep malformed responses out of every mean and std, so they shift nobody. After the normalisation
a malformed response is ``format_penalty`` below the worst valid one of its group, whatever the scale of the scores: else a
disliked response would gain by losing its format. ``alpha`` weighs perception, ``1 - alpha`` reasoning. A group with fewer
than two valid responses, or whose scores are equal, carries no preference.

Who is credited with what: the caption comes first, so nothing after it can change the perception score. Its tokens have
both aspects' advantage, those after it the reasoning's alone (reward-to-go):

    A_t = alpha A_v + (1 - alpha) A_r  up to the caption's end        A_t = (1 - alpha) A_r  after it

The expected gradient is that of one number for all tokens; its noise is not: else a step is praised for a good caption.

A response whose score is not finite takes 0, and is kept out of every mean and std, too: the others have the advantages of
a group without it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from prism_pl.game.scoring_batch import Scores
from prism_pl.ranges import NonNegativeFloat, Share
from prism_pl.types import ASPECTS

# Scores of a group closer than this carry no preference; dividing by their spread would only amplify noise.
_SPREAD_FLOOR = 1e-4
# Added to the std by the released code.
_RELEASED_EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class AdversarialAdvantage(ABC):
    """Base of the forms."""

    alpha: Share = 0.5
    """Weight of the perception score."""
    format_penalty: NonNegativeFloat = 1.5
    """How far a malformed response's advantage is below the group's worst."""
    reward_to_go: bool = True
    """Tokens after the caption are credited with the reasoning score alone; off: every token with both."""

    def __call__(self, scores: Scores) -> torch.Tensor:
        """The advantage (P, G) of each response with both its aspects."""
        return self._credited(scores, lambda part_PGK: part_PGK.sum(-1))

    def after_caption(self, scores: Scores) -> torch.Tensor:
        """The advantage (P, G) of each response's tokens after the caption; of a malformed one the same as before."""
        if not self.reward_to_go:
            return self(scores)
        return self._credited(scores, lambda part_PGK: part_PGK[..., ASPECTS.index("reasoning")])

    def _credited(self, scores: Scores, own: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """``own`` picks what valid responses are credited with; malformed and lost ones have their place."""
        kept_PG = scores.valid_PG & ~scores.lost_PG
        kept = Scores(scores.teacher_PK, scores.policy_PGK.masked_fill(~kept_PG[..., None], 0.0), kept_PG)
        part_PGK = self.preference(kept)
        # Of centred values the least is not above 0; without a valid response it is 0.
        worst_P1 = part_PGK.sum(-1).masked_fill(~kept_PG, 0.0).amin(1, keepdim=True)
        advantage_PG = torch.where(scores.valid_PG, own(part_PGK), worst_P1 - self.format_penalty)
        return advantage_PG.masked_fill(scores.lost_PG, 0.0)

    @abstractmethod
    def preference(self, scores: Scores) -> torch.Tensor:
        """Each aspect's part (P, G, K) of the advantage; what it says of malformed responses is not used."""

    def weighed(self, value_PGK: torch.Tensor) -> torch.Tensor:
        return value_PGK * torch.tensor([self.alpha, 1 - self.alpha], dtype=value_PGK.dtype)


@dataclass(frozen=True, kw_only=True)
class NormaliseThenMix(AdversarialAdvantage):
    """A = sum_k alpha_k (D_k - mean D_k) / std D_k: the released code's form, its contamination by malformed ones repaired.

    Both aspects have the same say, whatever the spread of their scores (as GDPO, arXiv 2601.05242, without its batch step).
    """

    def preference(self, scores: Scores) -> torch.Tensor:
        return self.weighed(_normalised(scores.policy_PGK, scores.valid_PG))


@dataclass(frozen=True, kw_only=True)
class MixThenNormalise(AdversarialAdvantage):
    """r = alpha D_v + (1 - alpha) D_r, A = (r - mean r) / std r: the paper's equations 1 and 3 (arXiv 2604.28123).

    The aspect with the larger spread has the larger say.
    """

    def preference(self, scores: Scores) -> torch.Tensor:
        part_PGK = _centred(self.weighed(scores.policy_PGK), scores.valid_PG)[0]
        std_P11 = _spread(part_PGK.sum(-1, keepdim=True), scores.valid_PG)[1]
        return torch.where(std_P11 > _SPREAD_FLOOR, part_PGK / std_P11.clamp_min(_SPREAD_FLOOR), 0.0)


@dataclass(frozen=True, kw_only=True)
class MixCentred(AdversarialAdvantage):
    """r = alpha D_v + (1 - alpha) D_r, A = r - mean r: no division by the std (Dr. GRPO, arXiv 2503.20783)."""

    def preference(self, scores: Scores) -> torch.Tensor:
        part_PGK = _centred(self.weighed(scores.policy_PGK), scores.valid_PG)[0]
        return torch.where(part_PGK.abs().amax(1, keepdim=True) > _SPREAD_FLOOR, part_PGK, 0.0)


@dataclass(frozen=True, kw_only=True)
class ReleasedAdvantage(AdversarialAdvantage):
    """The released code's form as it is: the ``reference`` preset, for comparisons.

    A malformed response's score is the worst valid one of its group minus 1 (-1 without a valid one), and takes part in
    mean and std; A = sum_k alpha_k (D_k - mean) / (std + 1e-6) - format_penalty [malformed].
    """

    reward_to_go: bool = False

    def __post_init__(self) -> None:
        if self.reward_to_go:
            raise ValueError("the released form credits every token with both aspects: leave reward_to_go off")

    def __call__(self, scores: Scores) -> torch.Tensor:
        advantage_PG = self.preference(scores).sum(-1) - self.format_penalty * ~scores.valid_PG
        return advantage_PG.masked_fill(scores.lost_PG, 0.0)

    def preference(self, scores: Scores) -> torch.Tensor:
        kept_PG = ~scores.lost_PG
        valid_PG1 = (scores.valid_PG & kept_PG)[..., None]
        worst_P1K = scores.policy_PGK.masked_fill(~valid_PG1, torch.inf).amin(1, keepdim=True)
        worst_P1K = torch.where(worst_P1K.isinf(), 0.0, worst_P1K)
        score_PGK = torch.where(valid_PG1, scores.policy_PGK, worst_P1K - 1)
        if score_PGK.shape[1] == 1:
            return self.weighed(score_PGK / (1 + _RELEASED_EPSILON))
        centred_PGK, std_P1K = _spread(score_PGK, kept_PG)
        return self.weighed(centred_PGK / (std_P1K + _RELEASED_EPSILON))


def _centred(value_PGK: torch.Tensor, valid_PG: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values minus their group's mean over the valid ones, 0 where invalid, and the number of valid ones (P, 1, 1)."""
    valid_PG1 = valid_PG[..., None]
    count_P11 = valid_PG1.sum(dim=1, keepdim=True)
    mean_P1K = (value_PGK * valid_PG1).sum(dim=1, keepdim=True) / count_P11.clamp_min(1)
    return (value_PGK - mean_P1K) * valid_PG1, count_P11


def _spread(value_PGK: torch.Tensor, valid_PG: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centred values, and the unbiased std (P, 1, K) over the group's valid responses."""
    centred_PGK, count_P11 = _centred(value_PGK, valid_PG)
    return centred_PGK, (centred_PGK.square().sum(dim=1, keepdim=True) / (count_P11 - 1).clamp_min(1)).sqrt()


def _normalised(value_PGK: torch.Tensor, valid_PG: torch.Tensor) -> torch.Tensor:
    """Centred and divided by the std; 0 where there is hardly any."""
    centred_PGK, std_P1K = _spread(value_PGK, valid_PG)
    return torch.where(std_P1K > _SPREAD_FLOOR, centred_PGK / std_P1K.clamp_min(_SPREAD_FLOOR), 0.0)

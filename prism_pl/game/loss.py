"""What the discriminator is trained on.

    L_D = -sum_k mean_M log sigma(D_k(teacher) - D_k(policy))                        Bradley-Terry (arXiv 2604.28123, eq. 2)
          + score_penalty . mean of all D^2 over the pairs                           the released code's regulariser
          + in_batch_weight . pairs of teachers alone                                prism_pl/game/in_batch.py
          + balance_weight . balance + r1_weight . R1

M are all valid pairs of the update, over all ranks and micro-batches: how they are packed or sharded changes nothing. With
perfectly separable data the gap g of L_D's first two terms is stationary where sigma(-g) = score_penalty . g / 4: 6.43 at
0.001 and 4.48 at 0.01 (tested).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from prism_pl.game.scoring_batch import Scores
from prism_pl.ranges import NonNegativeFloat, PositiveInt
from prism_pl.types import ASPECTS


@dataclass(frozen=True, kw_only=True)
class DiscriminatorLossOptions:
    """Weights of the discriminator's loss."""

    score_penalty: NonNegativeFloat = 0.001
    """Of the mean squared score."""
    balance_weight: NonNegativeFloat = 0.01
    """Of the router's load-balancing loss; nothing to a dense discriminator."""
    policy_weight: NonNegativeFloat = 1.0
    """Of the pairs with the policy."""
    in_batch_weight: NonNegativeFloat = 0.0
    """Of pairs whose negative is another prompt's teacher response: only who looks at image and question can tell."""
    in_batch_negatives: PositiveInt = 2
    """Such negatives of each prompt, while ``in_batch_weight`` is not 0."""
    r1_weight: NonNegativeFloat = 0.0
    """Of the gradient penalty on teacher segments, in its approximate form |D(x) - D(x + noise)|^2 (arXiv 2501.08316)."""
    r1_noise: NonNegativeFloat = 0.1
    """Its noise, in standard deviations of the embeddings."""

    @property
    def num_in_batch(self) -> int:
        """0 where they have no weight: they are then not even scored."""
        return self.in_batch_negatives if self.in_batch_weight else 0


def preference_loss(scores: Scores, num_pairs: float, score_penalty: float) -> torch.Tensor:
    """This rank's share of Bradley-Terry and the score penalty; ``num_pairs`` are the valid pairs of the whole update."""
    margin_MK = scores.margin_MK
    teacher_MK = scores.teacher_PK[:, None].expand_as(scores.policy_PGK)[scores.valid_PG]
    squares = teacher_MK.square().sum() + scores.policy_PGK[scores.valid_PG].square().sum()
    total = -F.logsigmoid(margin_MK).sum() + score_penalty * squares / (2 * len(ASPECTS))
    return total / max(num_pairs, 1.0)

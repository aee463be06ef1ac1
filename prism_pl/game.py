"""The adversarial game on one batch: who is judged, advantages from scores, and the discriminator's loss.

    A_pg = sum_k alpha_k (D_k(p, g) - mean_g D_k) / std_g D_k     over the well-formed responses of the group
    A_pg = -format_penalty                                        for a malformed one
    L_D  = -sum_k mean_pg log sigma(D_k(teacher_p) - D_k(policy_pg)) + c mean D^2      (arXiv 2604.28123, eq. 2)

A malformed response has no segments, so it has no scores; it takes its penalty after the normalisation and shifts nobody
else's advantage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerBase

from prism_pl.errors import UserError
from prism_pl.packing import Group, make_groups
from prism_pl.segments import parse_response, segment_ids
from prism_pl.types import EXPERTS, Prompt

# Scores of a group closer than this carry no preference; dividing by their spread would only amplify noise.
_SPREAD_FLOOR = 1e-4


@dataclass(frozen=True)
class Trial:
    """Everything the discriminator reads of a batch, N segments in prompt-major order: teacher first, then the policy."""

    groups: list[Group]
    expert_N: torch.Tensor
    """Which expert judges each segment."""
    teacher_PK: torch.Tensor
    """Index in N of the teacher's segments."""
    policy_PGK: torch.Tensor
    """Index in N of each response's segments, 0 where malformed."""
    valid_PG: torch.Tensor
    """False for malformed responses."""


@dataclass(frozen=True)
class Scores:
    """Scores of a trial; ``policy_PGK`` is 0 where ``valid_PG`` is False."""

    teacher_PK: torch.Tensor
    policy_PGK: torch.Tensor
    valid_PG: torch.Tensor

    @property
    def margin_MK(self) -> torch.Tensor:
        """Teacher minus policy for the M pairs with a well-formed response: the reward gap is its mean."""
        return (self.teacher_PK[:, None] - self.policy_PGK)[self.valid_PG]


def make_trial(prompts: Sequence[Prompt], responses: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase) -> Trial:
    """Segments of the teacher and of all well-formed responses of each prompt (P lists of G texts)."""
    segments: list[list[tuple[int, ...]]] = []
    teacher, policy, valid = [], [], []
    count = 0
    for prompt, texts in zip(prompts, responses, strict=True):
        reference = parse_response(prompt.teacher or "")
        if reference is None:
            raise UserError(
                f"{prompt.source}: the teacher's response is missing or malformed. Alignment needs a `teacher` with the "
                f"sections caption, think and answer, once each and in this order."
            )
        own = [*segment_ids(reference, tokenizer)]
        teacher.append([count, count + 1])
        indices, flags = [], []
        for text in texts:
            sections = parse_response(text)
            flags.append(sections is not None)
            indices.append([count + len(own), count + len(own) + 1] if sections else [0, 0])
            if sections:
                own += segment_ids(sections, tokenizer)
        segments.append(own)
        policy.append(indices)
        valid.append(flags)
        count += len(own)
    return Trial(
        groups=make_groups(prompts, segments),
        expert_N=torch.arange(count) % len(EXPERTS),
        teacher_PK=torch.tensor(teacher),
        policy_PGK=torch.tensor(policy),
        valid_PG=torch.tensor(valid),
    )


def arrange(score_N: torch.Tensor, trial: Trial) -> Scores:
    """Scores by role."""
    policy_PGK = score_N[trial.policy_PGK] * trial.valid_PG[:, :, None]
    return Scores(score_N[trial.teacher_PK], policy_PGK, trial.valid_PG)


def adversarial_advantages(scores: Scores, alpha: float, format_penalty: float) -> torch.Tensor:
    """(P, G): each expert's scores normalised over the group's valid responses (unbiased std), then mixed by alpha.

    ``alpha`` weighs perception, ``1 - alpha`` reasoning. A group with fewer than two valid responses carries no preference.
    """
    valid_PG1 = scores.valid_PG[:, :, None]
    count_P11 = valid_PG1.sum(dim=1, keepdim=True)
    mean_P1K = scores.policy_PGK.sum(dim=1, keepdim=True) / count_P11.clamp_min(1)
    centred_PGK = (scores.policy_PGK - mean_P1K) * valid_PG1
    std_P1K = (centred_PGK.square().sum(dim=1, keepdim=True) / (count_P11 - 1).clamp_min(1)).sqrt()
    normal_PGK = torch.where(std_P1K > _SPREAD_FLOOR, centred_PGK / std_P1K.clamp_min(_SPREAD_FLOOR), 0.0)
    mixed_PG = normal_PGK @ torch.tensor([alpha, 1 - alpha], dtype=normal_PGK.dtype)
    return torch.where(scores.valid_PG, mixed_PG, -format_penalty)


def discriminator_loss(scores: Scores, num_pairs: float, num_segments: float, score_penalty: float) -> torch.Tensor:
    """This rank's share of Bradley-Terry over all valid pairs, plus ``score_penalty`` times the mean squared score.

    ``num_pairs`` counts valid pairs and ``num_segments`` scored segments of the whole update, over all ranks.
    """
    preference = -F.logsigmoid(scores.margin_MK).sum() / max(num_pairs, 1.0)
    squares = scores.teacher_PK.square().sum() + scores.policy_PGK.square().sum()
    return preference + score_penalty * squares / max(num_segments, 1.0)

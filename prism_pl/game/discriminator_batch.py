"""All that one update of the discriminator looks at: fresh responses, other prompts' teachers, past responses.

    rows     the batch's P prompts, then the replayed ones
    columns  a prompt's G responses, then (for the batch's prompts) other prompts' teachers

One scoring batch holds everything, so everything is scored once, and each prompt's image is encoded once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from prism_pl.discriminators.reading import Reading
from prism_pl.game.in_batch import across_loss
from prism_pl.game.loss import DiscriminatorLossOptions, preference_loss
from prism_pl.game.scoring_batch import Scores, ScoringBatch, arrange, make_scoring_batch
from prism_pl.types import Prompt


@dataclass(frozen=True)
class DiscriminatorBatch:
    """A scoring batch, and who is who in it."""

    scoring: ScoringBatch
    num_prompts: int
    num_responses: int
    negative_PJ: torch.Tensor
    """Whose teachers the in-batch columns are: indices in the whole batch, over all ranks; -1 where there is none."""
    places: tuple[int, ...] | None = None
    """Each prompt's place in the whole batch, as in ``Rollouts``."""

    def fresh(self, score_N: torch.Tensor) -> Scores:
        """The batch's own responses."""
        return arrange(score_N, self.scoring).part(slice(self.num_prompts), slice(self.num_responses))

    def in_batch(self, score_N: torch.Tensor) -> Scores:
        """Other prompts' teachers under each of the batch's prompts."""
        columns = slice(self.num_responses, self.num_responses + self.negative_PJ.shape[1])
        return arrange(score_N, self.scoring).part(slice(self.num_prompts), columns)

    def replay(self, score_N: torch.Tensor) -> Scores:
        """Past responses."""
        return arrange(score_N, self.scoring).part(slice(self.num_prompts, None), slice(None))

    def num_pairs(self) -> torch.Tensor:
        """(2,): valid pairs with the policy, fresh and replayed; valid pairs with another prompt's teacher."""
        in_batch = (self.negative_PJ >= 0).sum()
        return torch.stack([self.scoring.valid_PG.sum() - in_batch, in_batch]).double()

    def loss(
        self,
        score_N: torch.Tensor,
        num_pairs: torch.Tensor,
        options: DiscriminatorLossOptions,
        whole_rows: Callable[[torch.Tensor, tuple[int, ...] | None], torch.Tensor] = lambda own, places: own,
    ) -> torch.Tensor:
        """A loss whose gradient at this rank's scores is the objective's; ``num_pairs`` are summed over ranks.

        ``whole_rows`` collects the rows of all ranks in their places, with gradients for this rank's own.
        """
        policy, in_batch = num_pairs.tolist()
        parts = (self.fresh(score_N), self.replay(score_N))
        loss = (
            options.policy_weight
            * torch.stack([preference_loss(part, policy, options.score_penalty) for part in parts]).sum()
        )
        if not in_batch:
            return loss
        wrong = self.in_batch(score_N)
        # Halved with the other direction; the penalty is not.
        within = preference_loss(wrong, in_batch, 2 * options.score_penalty)
        parts_QK = (wrong.teacher_PK, wrong.policy_PGK, self.negative_PJ)
        across = across_loss(*(whole_rows(part, self.places) for part in parts_QK))
        return loss + options.in_batch_weight * (within + across) / 2


def make_discriminator_batch(
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    reading: Reading,
    *,
    in_batch: Sequence[Sequence[tuple[int, str]]] = (),
    past: Sequence[tuple[Prompt, Sequence[str]]] = (),
    places: tuple[int, ...] | None = None,
) -> DiscriminatorBatch:
    """P prompts with G responses each; ``past``: prompts, past responses.

    ``in_batch``: for each prompt, equally many other prompts' indices in the whole batch and teachers, -1 and "" where
    there is none. ``places``: those of the prompts in the whole batch.
    """
    num_responses = max(len(texts) for texts in responses)
    negatives = list(in_batch) or [[] for _ in prompts]
    # A prompt with fewer responses than others keeps its places: the columns after them are other prompts' teachers.
    columns = [
        [*texts, *[""] * (num_responses - len(texts)), *(text for _, text in others)]
        for texts, others in zip(responses, negatives, strict=True)
    ]
    everyone = [*prompts, *(prompt for prompt, _ in past)]
    scoring = make_scoring_batch(everyone, [*columns, *(texts for _, texts in past)], tokenizer, reading)
    negative_PJ = torch.tensor([[q for q, _ in others] for others in negatives], dtype=torch.long)
    return DiscriminatorBatch(scoring, len(prompts), num_responses, negative_PJ, places)

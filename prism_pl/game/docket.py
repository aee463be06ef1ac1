"""All that one update of the discriminator looks at: fresh responses, mismatched teachers, past responses.

    rows     the batch's P prompts, then the replayed ones
    columns  a prompt's G responses, then (for the batch's prompts) other prompts' teachers

One trial holds everything, so everything is scored once, and each prompt's image is encoded once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from prism_pl.discriminators.reading import Reading
from prism_pl.game.mismatch import across_loss
from prism_pl.game.objective import ObjectiveOptions, preference_loss
from prism_pl.game.trial import Scores, Trial, arrange, make_trial
from prism_pl.types import Prompt


@dataclass(frozen=True)
class Docket:
    """A trial and who is who in it."""

    trial: Trial
    num_prompts: int
    num_responses: int
    lender_PJ: torch.Tensor
    """Whose teachers the mismatched columns are: indices in the whole batch, over all ranks; -1 where there is none."""

    def fresh(self, score_N: torch.Tensor) -> Scores:
        """The batch's own responses."""
        return arrange(score_N, self.trial).part(slice(self.num_prompts), slice(self.num_responses))

    def mismatched(self, score_N: torch.Tensor) -> Scores:
        """Other prompts' teachers under each of the batch's prompts."""
        columns = slice(self.num_responses, self.num_responses + self.lender_PJ.shape[1])
        return arrange(score_N, self.trial).part(slice(self.num_prompts), columns)

    def replayed(self, score_N: torch.Tensor) -> Scores:
        """Past responses."""
        return arrange(score_N, self.trial).part(slice(self.num_prompts, None), slice(None))

    def num_pairs(self) -> torch.Tensor:
        """(2,): valid pairs with the policy, fresh and replayed; valid pairs with a mismatched teacher."""
        mismatched = (self.lender_PJ >= 0).sum()
        return torch.stack([self.trial.valid_PG.sum() - mismatched, mismatched]).double()

    def loss(
        self,
        score_N: torch.Tensor,
        num_pairs: torch.Tensor,
        options: ObjectiveOptions,
        whole_rows: Callable[[torch.Tensor], torch.Tensor] = lambda own: own,
    ) -> torch.Tensor:
        """A loss whose gradient at this rank's scores is the objective's; ``num_pairs`` are summed over ranks.

        ``whole_rows`` collects the rows of all ranks, with gradients for this rank's own.
        """
        policy, mismatched = num_pairs.tolist()
        parts = (self.fresh(score_N), self.replayed(score_N))
        loss = (
            options.policy_weight
            * torch.stack([preference_loss(part, policy, options.score_penalty) for part in parts]).sum()
        )
        if not mismatched:
            return loss
        wrong = self.mismatched(score_N)
        # Halved with the other direction; the penalty is not.
        within = preference_loss(wrong, mismatched, 2 * options.score_penalty)
        across = across_loss(*(whole_rows(part) for part in (wrong.teacher_PK, wrong.policy_PGK, self.lender_PJ)))
        return loss + options.mismatch_weight * (within + across) / 2


def make_docket(
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    reading: Reading,
    *,
    mismatched: Sequence[Sequence[tuple[int, str]]] = (),
    past: Sequence[tuple[Prompt, Sequence[str]]] = (),
) -> Docket:
    """P prompts with G responses each; ``past``: prompts, past responses.

    ``mismatched``: for each prompt, equally many other prompts' indices in the whole batch and teachers, -1 and "" where
    there is none.
    """
    num_responses = max(len(texts) for texts in responses)
    lent = list(mismatched) or [[] for _ in prompts]
    # A prompt with fewer responses than others keeps its places: the columns after them are the mismatched ones.
    columns = [
        [*texts, *[""] * (num_responses - len(texts)), *(text for _, text in others)]
        for texts, others in zip(responses, lent, strict=True)
    ]
    everyone = [*prompts, *(prompt for prompt, _ in past)]
    trial = make_trial(everyone, [*columns, *(texts for _, texts in past)], tokenizer, reading)
    lender_PJ = torch.tensor([[q for q, _ in others] for others in lent], dtype=torch.long)
    return Docket(trial, len(prompts), num_responses, lender_PJ)

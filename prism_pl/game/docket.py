"""All that one update of the discriminator looks at: fresh responses, mismatched teachers, past responses.

    rows     the batch's P prompts, then the replayed ones
    columns  a prompt's G responses, then (for the batch's prompts) other prompts' teachers

One trial holds everything, so everything is scored once, and each prompt's image is encoded once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from prism_pl.discriminators.reading import Reading
from prism_pl.game.objective import ObjectiveOptions, preference_loss
from prism_pl.game.trial import Scores, Trial, arrange, make_trial
from prism_pl.types import Prompt


@dataclass(frozen=True)
class Docket:
    """A trial and who is who in it."""

    trial: Trial
    num_prompts: int
    num_responses: int

    def fresh(self, score_N: torch.Tensor) -> Scores:
        """The batch's own responses."""
        return arrange(score_N, self.trial).part(slice(self.num_prompts), slice(self.num_responses))

    def mismatched(self, score_N: torch.Tensor) -> Scores:
        """Other prompts' teachers under each of the batch's prompts."""
        return arrange(score_N, self.trial).part(slice(self.num_prompts), slice(self.num_responses, None))

    def replayed(self, score_N: torch.Tensor) -> Scores:
        """Past responses."""
        return arrange(score_N, self.trial).part(slice(self.num_prompts, None), slice(None))

    def num_pairs(self) -> torch.Tensor:
        """(2,): valid pairs with the policy, fresh and replayed; valid pairs with a mismatched teacher."""
        mismatched = self.trial.valid_PG[: self.num_prompts, self.num_responses :].sum()
        return torch.stack([self.trial.valid_PG.sum() - mismatched, mismatched]).double()

    def loss(self, score_N: torch.Tensor, num_pairs: torch.Tensor, options: ObjectiveOptions) -> torch.Tensor:
        """This rank's share of the objective's terms in scores; ``num_pairs`` are summed over ranks."""
        policy, mismatched = num_pairs.tolist()
        parts = (self.fresh(score_N), self.replayed(score_N))
        loss = torch.stack([preference_loss(part, policy, options.score_penalty) for part in parts]).sum()
        wrong = preference_loss(self.mismatched(score_N), mismatched, options.score_penalty)
        return options.policy_weight * loss + options.mismatch_weight * wrong


def make_docket(
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    reading: Reading,
    *,
    mismatched: Sequence[Sequence[str]] = (),
    past: Sequence[tuple[Prompt, Sequence[str]]] = (),
) -> Docket:
    """P prompts with G responses each; ``mismatched``: other prompts' teachers; ``past``: prompts, past responses."""
    num_responses = max(len(texts) for texts in responses)
    columns = [list(texts) for texts in responses]
    for texts, wrong in zip(columns, mismatched, strict=False):
        # A prompt with fewer responses than others keeps its places: the columns after them are the mismatched ones.
        texts += [""] * (num_responses - len(texts)) + list(wrong)
    everyone = [*prompts, *(prompt for prompt, _ in past)]
    trial = make_trial(everyone, [*columns, *(texts for _, texts in past)], tokenizer, reading)
    return Docket(trial, len(prompts), num_responses)

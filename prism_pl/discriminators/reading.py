"""What a discriminator is shown of a prompt and of a response, and where its score is read."""

from dataclasses import dataclass, replace

import torch

from prism_pl.types import Prompt


@dataclass(frozen=True)
class Reading:
    """The same for teacher and policy, in warm-up, reward and update."""

    reasoning_sees_caption: bool = False
    """The reasoning segment starts with the response's caption."""
    readout: str = "mean"
    """The head reads the ``mean`` of a segment's hidden states, or the ``last`` one."""
    removed_ids: frozenset[int] = frozenset()
    """Vision tokens that are taken out of the prompt together with its images; empty if images are shown."""

    def show(self, prompt: Prompt) -> Prompt:
        """The prompt as the discriminator reads it."""
        if not self.removed_ids or prompt.pixel_values is None:
            return prompt
        ids = tuple(token for token in prompt.input_ids if token not in self.removed_ids)
        positions_3T = torch.arange(len(ids)).expand(3, -1)
        return replace(prompt, input_ids=ids, positions_3T=positions_3T, pixel_values=None, image_grid=None)

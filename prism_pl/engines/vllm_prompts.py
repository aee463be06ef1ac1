"""What is asked of vLLM about every prompt, whether it runs in this process or behind a server."""

from collections.abc import Sequence

from transformers import AutoConfig

from prism_pl.errors import UserError
from prism_pl.model.policy import suppressed_tokens
from prism_pl.types import Prompt

_LARGEST_BIAS = 100.0
"""That vLLM takes; what it leaves of a probability is e^-100."""


def placeholder_bias(folder: str) -> dict[int, float]:
    """``logit_bias`` of requests to the policy in ``folder``: no placeholder is sampled, for an image that is not there."""
    return dict.fromkeys(suppressed_tokens(AutoConfig.from_pretrained(folder)), -_LARGEST_BIAS)


def check_read(prompt: Prompt, read: Sequence[int], engine: str) -> None:
    """Raises UserError unless the token ids that ``engine`` has ``read`` are the trainer's, image placeholders included."""
    if tuple(read) != prompt.input_ids:
        raise UserError(
            f"{prompt.source}: trainer and engine read the prompt differently ({len(prompt.input_ids)} tokens against "
            f"{len(read)}). The image processor of the policy's folder is not the one that {engine} used; save the folder "
            f"anew with this version of transformers."
        )

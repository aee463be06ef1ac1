"""Log-probabilities and entropies of chosen tokens without ever holding a (tokens x vocabulary) matrix.

    logp_t = (h_t W^T / tau)[y_t] - logsumexp(h_t W^T / tau)          H_t = logsumexp(z) - sum_v softmax(z)_v z_v

Logits are formed for a chunk of tokens at a time, in fp32, and recomputed in the backward pass.
"""

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

# At a vocabulary of 151,936 a chunk of 256 tokens holds 156 MB of fp32 logits, and the backward pass a few times that.
CHUNK_TOKENS = 256


def token_logprobs(
    hidden_NH: torch.Tensor,
    target_N: torch.Tensor,
    head: Callable[[torch.Tensor], torch.Tensor],
    temperature: float = 1.0,
    chunk_tokens: int = CHUNK_TOKENS,
    *,
    entropy_gradient: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability (N,) and entropy in nats (N,) of each target under softmax(head(hidden) / temperature).

    ``hidden_NH`` are the hidden states that predict the N targets. The entropy carries a gradient on request only.
    """

    def chunk(hidden_CH: torch.Tensor, target_C: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits_CV = head(hidden_CH).float()
        if temperature != 1:
            logits_CV = logits_CV / temperature
        normaliser_C = torch.logsumexp(logits_CV, dim=-1)
        logp_C = logits_CV.gather(-1, target_C[:, None]).squeeze(-1) - normaliser_C
        if entropy_gradient and torch.is_grad_enabled():
            entropy_C = normaliser_C - (torch.softmax(logits_CV, dim=-1) * logits_CV).sum(-1)
        else:
            with torch.no_grad():
                entropy_C = normaliser_C - torch.softmax(logits_CV, dim=-1).mul_(logits_CV).sum(-1)
        return logp_C, entropy_C

    pieces = [
        checkpoint(chunk, hidden, target, use_reentrant=False) if torch.is_grad_enabled() else chunk(hidden, target)
        for hidden, target in zip(hidden_NH.split(chunk_tokens), target_N.split(chunk_tokens), strict=True)
    ]
    logp, entropy = zip(*pieces, strict=True)
    return torch.cat(logp), torch.cat(entropy)

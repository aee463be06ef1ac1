"""Which experts a token may reach, how evenly they are used, and the loss that keeps them so.

    kinds of token: prompt, perception, reasoning (C)      reach_CE: True where a kind may reach an expert

A prompt is computed once for all its segments, so its tokens belong to no expert and may reach all. The balance loss of
Switch Transformer (arXiv 2101.03961, eq. 4-6), for each kind over the experts it can reach and for each layer:

    balance = sum_lc n_c / (N L) |reach_c| sum_e f_lce P_lce,    f: share of assignments, P: mean probability

It is ``top_k`` when a kind's experts are evenly used. f carries no gradient, so with f of the whole batch known the loss is
a sum over tokens: it does not depend on how they were packed or sharded (but a prompt whose segments do not fit in one
micro-batch is computed, and counts, once in each).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextTopKRouter

KINDS = ("prompt", "perception", "reasoning")
"""The C kinds of token."""


@dataclass(frozen=True)
class Usage:
    """Sums over tokens, so usages of parts add up. L layers, C kinds, E experts."""

    tokens_C: torch.Tensor
    count_LCE: torch.Tensor
    """Assignments, top_k a token."""
    probability_LCE: torch.Tensor
    """Router probabilities; carries the gradient."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.tokens_C + other.tokens_C,
            self.count_LCE + other.count_LCE,
            self.probability_LCE + other.probability_LCE,
        )

    def load_CE(self) -> torch.Tensor:
        """Mean router probability of each expert for each kind of token, over all layers: what it is given to do."""
        layers = len(self.probability_LCE)
        return self.probability_LCE.detach().sum(0) / (layers * self.tokens_C[:, None]).clamp_min(1)


def balance_loss(part: Usage, whole: Usage, reach_CE: torch.Tensor) -> torch.Tensor:
    """The share of ``part`` in the balance loss of ``whole``, the usage of all tokens on all ranks."""
    share_LCE = whole.count_LCE / whole.tokens_C.clamp_min(1)[:, None]
    weighted = share_LCE * reach_CE.sum(-1, keepdim=True) * part.probability_LCE
    return weighted.sum() / (whole.tokens_C.sum() * len(part.count_LCE))


class Routing:
    """What the routers of one model share during a forward pass: the tokens' kinds, and what they decided."""

    def __init__(self, reach_CE: torch.Tensor) -> None:
        self.reach_CE = reach_CE
        self._kind_N = torch.empty(0, dtype=torch.long)
        self._recording = False
        self._decided: list[tuple[torch.Tensor, torch.Tensor]] = []

    def begin(self, kind_N: torch.Tensor) -> None:
        """``kind_N`` indexes KINDS for every token of the pass, -1 where padded.

        Records until ``usage``: what checkpointing computes again in the backward pass is not kept.
        """
        self._kind_N = kind_N
        self._decided = []
        self._recording = True

    def allowed_NE(self) -> torch.Tensor:
        return self.reach_CE.to(self._kind_N.device)[self._kind_N.clamp_min(0)]

    def record(self, probability_NE: torch.Tensor, chosen_NK: torch.Tensor) -> None:
        if self._recording:
            self._decided.append((probability_NE, chosen_NK))

    def usage(self) -> Usage:
        """Of the pass since ``begin``, padding left out."""
        member_CN = torch.stack([self._kind_N == kind for kind in range(len(KINDS))]).float()
        num_experts = self.reach_CE.shape[-1]
        counts, probabilities = [], []
        for probability_NE, chosen_NK in self._decided:
            counts.append(member_CN @ F.one_hot(chosen_NK, num_experts).sum(1).float())
            probabilities.append(member_CN @ probability_NE)
        self._decided, self._recording = [], False
        return Usage(member_CN.sum(1), torch.stack(counts), torch.stack(probabilities))


class KindRouter(Qwen3VLMoeTextTopKRouter):
    """The stock top-k router, restricted to the experts that a token's kind may reach."""

    routing: Routing

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``(logits_NE, weight_NK, chosen_NK)``; the weights of a token's experts sum to one."""
        logits_NE = F.linear(hidden_states.reshape(-1, self.hidden_dim), self.weight)
        logits_NE = logits_NE.masked_fill(~self.routing.allowed_NE(), -torch.inf)
        probability_NE = logits_NE.softmax(-1, dtype=torch.float32)
        top_NK, chosen_NK = probability_NE.topk(self.top_k, dim=-1)
        self.routing.record(probability_NE, chosen_NK)
        return logits_NE, (top_NK / top_NK.sum(-1, keepdim=True)).to(logits_NE.dtype), chosen_NK

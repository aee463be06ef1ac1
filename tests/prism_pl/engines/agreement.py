"""Whether an engine and the trainer give a response the same probability."""

import random
from collections.abc import Sequence

import numpy as np
import torch

from prism_pl.engines import SamplingOptions
from prism_pl.model.packing import by_index, make_groups, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt, Response

SAMPLING = SamplingOptions(max_new_tokens=10, group_size=3, temperature=1.0)


@torch.no_grad()
def trainer_logp(
    policy: Policy, prompts: Sequence[Prompt], responses: Sequence[Sequence[Response]], temperature: float = 1.0
) -> list[torch.Tensor]:
    packed = pack(make_groups(prompts, [[response.token_ids for response in group] for group in responses]))
    logp_BT, _ = policy(packed, temperature)
    rows = by_index(logp_BT, packed)
    return [rows[index] for index in range(len(rows))]


def largest_gap(
    policy: Policy, prompts: Sequence[Prompt], responses: Sequence[Sequence[Response]], temperature: float = 1.0
) -> float:
    """max |log p (engine) - log p (trainer)| over all response tokens."""
    rows = trainer_logp(policy, prompts, responses, temperature)
    flat = [response for group in responses for response in group]
    assert len(rows) == len(flat)
    return max(
        float((row - torch.tensor(response.engine_logp)).abs().max()) for row, response in zip(rows, flat, strict=True)
    )


def ids(responses: Sequence[Sequence[Response]]) -> list[list[tuple[int, ...]]]:
    return [[response.token_ids for response in group] for group in responses]


def random_states() -> tuple[object, list[int], list[int]]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()

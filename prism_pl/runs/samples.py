"""Sampled responses as the sample log keeps them."""

import torch

from prism_pl.types import Rollouts, Sample


def make_samples(rollouts: Rollouts, advantage_PG: torch.Tensor, columns: dict[str, torch.Tensor]) -> list[list[Sample]]:
    """P lists of G records; further (P, G) ``columns`` by field name, NaN where there is no value."""
    samples: list[list[Sample]] = []
    for p, (prompt, group) in enumerate(zip(rollouts.prompts, rollouts.responses, strict=True)):
        samples.append([])
        for g, response in enumerate(group):
            values = {name: float(value_PG[p, g]) for name, value_PG in columns.items()}
            samples[p].append(
                Sample(
                    source=prompt.source,
                    question=prompt.question,
                    image=prompt.image_paths[0] if prompt.image_paths else None,
                    response=response.text,
                    tokens=len(response.token_ids),
                    truncated=response.truncated,
                    advantage=float(advantage_PG[p, g]),
                    **{name: value for name, value in values.items() if value == value},
                )
            )
    return samples

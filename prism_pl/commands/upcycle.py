"""``upcycle``: turns a dense Qwen3-VL into a discriminator that is a mixture of experts, shard by shard."""

from pathlib import Path
from typing import Any, Literal

import torch

from prism_pl.discriminators import (
    DedicatedExpertsDiscriminator,
    Discriminator,
    SharedMixtureDiscriminator,
    write_upcycled,
)
from prism_pl.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt


def upcycle(
    model: str,
    out: str,
    experts: PositiveInt = 4,
    top_k: PositiveInt = 2,
    noise: NonNegativeFloat = 0.01,
    seed: NonNegativeInt = 0,
    dtype: Literal["float32", "bfloat16"] = "float32",
    shared_router: bool = False,
) -> None:
    """Writes the discriminator that the warm-up starts from, one shard in memory at a time.

    Args:
        model: folder or hub name of the dense model.
        out: folder to write; must not exist.
        experts: experts a layer; dedicated ones are shared out evenly.
        top_k: experts a token is sent to.
        noise: relative noise on the copies.
        seed: of noise, router and heads.
        dtype: of the written weights.
        shared_router: one router and head, as PRISM's released code.
    """
    options: dict[str, Any] = {"top_k": top_k, "noise": noise, "seed": seed}
    if shared_router:
        mixture: Discriminator = SharedMixtureDiscriminator(num_experts=experts, **options)
    else:
        half, rest = divmod(experts, 2)
        mixture = DedicatedExpertsDiscriminator(num_perception=half, num_reasoning=half, num_shared=rest, **options)
    parameters = write_upcycled(mixture, model, Path(out), getattr(torch, dtype))
    print(f"{out}: {type(mixture).__name__} of {parameters / 1e6:,.1f} M parameters, {dtype}")

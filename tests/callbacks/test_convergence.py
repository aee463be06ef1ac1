"""What the convergence probe refuses before a run starts."""

from types import SimpleNamespace

import pytest

from callbacks import ConvergenceProbe
from prism_pl.discriminators import DenseDiscriminator
from prism_pl.errors import UserError
from tests.callbacks.test_rollout import Module


def test_fewer_than_two_prompts_a_rank_are_refused() -> None:
    """One half of a rank's prompts trains the fresh discriminator, the other tests it."""
    callback = ConvergenceProbe(
        "embedded/digits/heldout.jsonl", 1, discriminator=DenseDiscriminator(), max_new_tokens=8, num_prompts=5
    )
    policy = Module(set(), 0)
    policy.policy_path = "embedded/digits"
    refused = "ConvergenceProbe.num_prompts: 5 held-out prompts are too few for 3 devices, of which each needs 2"
    with pytest.raises(UserError, match=refused):
        callback.setup(SimpleNamespace(world_size=3, callbacks=[]), policy, "fit")
    # Two ranks have enough; then the rollouts are missed.
    with pytest.raises(UserError, match="RolloutCallback"):
        callback.setup(SimpleNamespace(world_size=2, callbacks=[]), policy, "fit")

"""What engines share."""

import contextlib
import random

import numpy as np
import torch

from prism_pl.engines.base import preserved_random_state
from tests.prism_pl.engines.agreement import random_states


def test_preserved_random_state_restores_all_three_generators() -> None:
    before = random_states()
    with preserved_random_state():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        assert random_states() != before
    assert random_states() == before
    with contextlib.suppress(ValueError), preserved_random_state():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        raise ValueError
    assert random_states() == before

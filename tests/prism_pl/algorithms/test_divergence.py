"""Divergence by hand."""

import torch

from prism_pl.algorithms import divergence


def test_divergence_by_hand() -> None:
    logp, reference = torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.0])
    # d = 0.5, -1: k1 = d; k2 = 0.125, 0.5; k3 = exp(-0.5) - 0.5 = 0.1065307 and e - 2 = 0.7182818.
    assert divergence(logp, reference, "k1").tolist() == [0.5, -1.0]
    assert divergence(logp, reference, "k2").tolist() == [0.125, 0.5]
    torch.testing.assert_close(divergence(logp, reference, "k3"), torch.tensor([0.1065307, 0.7182818]))

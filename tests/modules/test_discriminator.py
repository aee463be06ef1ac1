"""Warm-up of the discriminator on the embedded task."""

from pathlib import Path

from prism_pl.discriminators import load_scorer
from tests.modules.fits import finished_updates, logged


def test_warmup_counts_its_updates_and_saves_heads(warmup: Path) -> None:
    assert finished_updates(warmup) == 3
    discriminator = load_scorer(str(warmup / "model"), "test")
    assert discriminator.head.weight.shape == (2, 128)
    assert [line["step"] for line in logged(warmup, "discriminator/gradient_norm")] == [1, 2, 3]

"""The nearest name of those that are known."""

from prism_pl.errors import nearest


def test_the_nearest_name() -> None:
    assert nearest("clip_lo", ["kl_weight", "clip_low", "clip_high"]) == " Did you mean clip_low?"
    assert nearest("grpo", ["GSPO", "GRPO"]) == " Did you mean GRPO?"
    assert nearest("Dens", ["SharedMixtureDiscriminator", "DenseDiscriminator"]) == " Did you mean DenseDiscriminator?"
    assert nearest("xyz", ["clip_low"]) == ""

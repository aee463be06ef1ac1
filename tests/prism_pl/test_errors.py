"""The nearest name of those that are known."""

from prism_pl.errors import UserError, nearest, wrapped_mistake


def test_the_nearest_name() -> None:
    assert nearest("clip_lo", ["kl_weight", "clip_low", "clip_high"]) == " Did you mean clip_low?"
    assert nearest("grpo", ["GSPO", "GRPO"]) == " Did you mean GRPO?"
    assert nearest("Dens", ["SharedMixtureDiscriminator", "DenseDiscriminator"]) == " Did you mean DenseDiscriminator?"
    assert nearest("xyz", ["clip_low"]) == ""


def test_a_mistake_is_found_in_what_a_library_wraps_it_in() -> None:
    mistake, inner, outer = UserError("key: fix"), ValueError("while handling it"), TypeError("because of it")
    inner.__context__, outer.__cause__ = mistake, inner
    assert wrapped_mistake(outer) is wrapped_mistake(inner) is wrapped_mistake(mistake) is mistake
    assert wrapped_mistake(ValueError("no more")) is None
    assert wrapped_mistake(None) is None

"""Distributions against figures worked out by hand."""

from pathlib import Path

import pytest

from prism_pl.report.collect import collect
from prism_pl.report.distribution import Proxy, make_proxies
from tests.prism_pl.report.fake_run import fake_run


def test_bins_of_several_values() -> None:
    proxy = Proxy("Length", "tokens", {"teacher": (0, 3, 4, 8), "sft": (4, 5, 6, 7)}, num_bins=2)
    # Two bins up to the teacher's 8.
    assert proxy.width == 4
    assert proxy.shares("teacher") == {0: 0.5, 4: 0.25, 8: 0.25}
    assert proxy.distance("sft") == pytest.approx((0.5 + 0.75 + 0.25) / 2)
    # Without a teacher the bins are those of all values: 9 in two.
    alone = Proxy("Length", "tokens", {"sft": (4, 5), "rlvr": (9,)}, num_bins=2)
    assert alone.width == 5
    assert alone.floor is None


def test_the_floor_is_the_teachers_own_halves() -> None:
    # Halves of (1, 1, 2, 2): {1, 2} against {1, 2} in 4 of 6 choices, {1, 1} against {2, 2} in 2.
    floor = Proxy("Items", "items", {"teacher": (1, 1, 2, 2)}).floor
    assert floor is not None
    assert (floor.low, floor.high) == (0.0, 1.0)
    assert floor.mean == pytest.approx(1 / 3, abs=0.1)


def test_shape_proxies_of_the_fake_run(tmp_path: Path) -> None:
    captions, steps, tokens = make_proxies(collect(fake_run(tmp_path)), ())
    # Nine well-formed SFT captions of one item, all teacher's of three; alignment has eight of three and two of one.
    assert captions.values["sft"] == (1,) * 9
    assert captions.distance("sft") == 1
    assert captions.distance("align") == pytest.approx(0.2)
    assert steps.distance("rlvr") == 0
    assert tokens.distance("sft") is None, "the teacher has no tokens without a tokenizer"

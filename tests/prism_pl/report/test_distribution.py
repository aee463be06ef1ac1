"""Distributions against figures worked out by hand."""

from pathlib import Path

import pytest

from prism_pl.report.collect import collect
from prism_pl.report.distribution import Proxy, make_proxies
from tests.prism_pl.report.fake_run import fake_run


def test_bins_of_several_values() -> None:
    proxy = Proxy("Length", "tokens", {"teacher": (0, 3, 4, 9), "sft": (4, 5, 6, 7)}, width=4)
    assert proxy.shares("teacher") == {0: 0.5, 4: 0.25, 8: 0.25}
    assert proxy.distance("sft") == pytest.approx((0.5 + 0.75 + 0.25) / 2)


def test_shape_proxies_of_the_fake_run(tmp_path: Path) -> None:
    captions, steps, tokens = make_proxies(collect(fake_run(tmp_path)), ())
    # Nine well-formed SFT captions of one item, all teacher's of three; alignment has eight of three and two of one.
    assert captions.values["sft"] == (1,) * 9
    assert captions.distance("sft") == 1
    assert captions.distance("align") == pytest.approx(0.2)
    assert steps.distance("rlvr") == 0
    assert tokens.distance("sft") is None, "the teacher has no tokens without a tokenizer"

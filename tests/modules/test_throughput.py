"""Figures a second, by hand."""

from pathlib import Path

import pytest
import torch

from modules.throughput import FLOPS, TOKENS, PassSizes, pass_flops, rates
from prism_pl.model.packing import Group
from prism_pl.planning import Architecture
from prism_pl.types import Prompt
from tests.modules.fits import fit, logged, with_engine


def test_the_sizes_of_a_micro_batch_by_hand() -> None:
    grid = torch.tensor([[1, 4, 6], [1, 2, 2]])
    prompt = Prompt("row", "", (1,) * 4, (1,) * 4, torch.arange(4).expand(3, 4), image_grid=grid)
    groups = [Group(prompt, ((5,) * 2, (5,) * 3), (0, 1)), Group(prompt, ((5,),), (2,))]
    # A prompt sees 1 + 2 + 3 + 4, segments of 2 and 3 tokens 5 + 6 and 5 + 6 + 7, the lone one 5.
    assert PassSizes.of(groups) == PassSizes(tokens=9 + 5, context=(10 + 11 + 18 + 10 + 5) / 14, patches=56, targets=6)


def test_learning_is_three_times_a_forward_pass() -> None:
    architecture = Architecture(
        vocabulary=10, hidden=4, inner=8, layers=2, heads=2, kv_heads=1, head_dim=2, tied=True, vision_hidden=4,
        vision_inner=8, vision_layers=1, patch_inputs=12, positions=16, merge=2, deepstack=0,
    )  # fmt: skip
    sizes = PassSizes(tokens=5, context=3.0, patches=0, targets=2)
    # Without images: 2 x 2 layers x (q and o 4 x 4 each, k and v 4 x 2 each, 3 x 4 x 8) and 4 x 2 x 4 x 3 a token, and the
    # head 2 x 10 x 4 a target.
    once = 5 * (2 * 2 * (32 + 16 + 96) + 4 * 2 * 4 * 3) + 2 * 80
    assert pass_flops(architecture, sizes, learns=False) == once
    assert pass_flops(architecture, sizes, learns=True) == 3 * once


def test_rates_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {TOKENS: 1200.0, FLOPS: 3e12, "loss": 1.0}
    assert rates(values, 2.0, 3, torch.device("cpu")) == {"loss": 1.0, "throughput/tokens_per_second_per_device": 200.0}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")
    found = rates(values, 2.0, 3, torch.device("cuda"))
    assert found["throughput/flops_share"] == pytest.approx(3e12 / 2 / 3 / 989e12)
    # A step that has not learnt has no rate, and no stand-in for it.
    assert rates({"loss": 1.0}, 2.0, 1, torch.device("cpu")) == {"loss": 1.0}


def test_a_stage_logs_the_tokens_that_it_learns_from(tmp_path: Path) -> None:
    config = with_engine("sft.yaml", tmp_path)
    fit(config, tmp_path / "run", "--data.batch_size=8", "--data.num_workers=0", "--trainer.max_steps=2")
    lines = logged(tmp_path / "run", "throughput/tokens_per_second_per_device")
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        tokens = line["throughput/tokens_per_second_per_device"] * line["seconds/update"]
        assert tokens == pytest.approx(round(tokens))
        # Prompts count, too: they are computed; what is learnt are responses alone.
        assert tokens > line["sft/tokens_per_second"] * line["seconds/update"] > 0

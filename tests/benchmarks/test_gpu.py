"""``make gpu`` on a CPU: its arithmetic, its sections on tiny shapes, and what it does with one that fails."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_sections
from benchmarks.gpu_measure import step_flops
from benchmarks.synthetic import make_model
from prism_pl.model import shared_prefix


def test_the_work_of_a_step_by_hand() -> None:
    """Prompt of 2, responses of 1 and 3, three layers of width 128 with 4 heads of 32 (2 of keys) and 256 inside."""
    model = make_model("tiny", device="meta").model
    layer = 2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256
    # The prompt's pairs are 1 + 2; a response sees the prompt and itself: 2 + 1, and (2 + 1) + (2 + 2) + (2 + 3).
    pairs = 3 + 3 + 12
    forward = 2 * 3 * layer * 6 + 4 * 128 * 3 * pairs + 2 * 640 * 128 * 4
    assert step_flops(model, 2, [1, 3], 640, training=False) == forward
    assert step_flops(model, 2, [1, 3], 640, training=True) == 3 * forward


def test_every_attention_agrees_and_a_wrong_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {row["case"]: row for row in gpu_sections.equality("cpu")}
    assert list(cases) == ["float32, plain", "float32, shared_prefix", "bfloat16, plain", "bfloat16, shared_prefix"]
    assert all(row["agrees"] for row in cases.values())
    right = shared_prefix.attend

    def half_scaled(*values: torch.Tensor, scale: float, causal: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return right(*values, scale=0.5 * scale, causal=causal)

    monkeypatch.setattr(shared_prefix, "attend", half_scaled)
    wrong = {row["case"]: row["agrees"] for row in gpu_sections.equality("cpu")}
    assert wrong == {name: name.endswith("plain") for name in cases}


@pytest.mark.parametrize("name", ["policy_step", "scoring", "attention", "head"])
def test_a_section_gives_a_figure_a_case(name: str) -> None:
    rows = list(gpu_sections.SECTIONS[name]("cpu"))
    assert len({row["case"] for row in rows}) == len(rows) > 0
    for row in rows:
        assert all(value > 0 for key, value in row.items() if key != "case")
    errors = {row["case"]: row["gradient_error"] for row in rows if "gradient_error" in row}
    # Against full logits in bf16, which are rounded once more.
    assert all(error < 0.01 for error in errors.values())


def test_the_command_goes_on_after_a_section_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that takes too long, one that does not exist, and fsdp2, which needs a process of its own."""
    monkeypatch.setattr(gpu, "LIMITS", {"head": 0.1, "missing": 100, "fsdp2": 300})
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--json", str(tmp_path / "gpu.json")])
    gpu.main()
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["torch"] == torch.__version__
    errors = {row["section"]: row.get("error") for row in written["rows"] if row["case"] == "whole section"}
    assert errors == {"head": "not done after 0 s", "missing": "KeyError: 'missing'", "fsdp2": None}
    (row,) = [row for row in written["rows"] if row["section"] == "fsdp2" and row["case"] != "whole section"]
    # Gathered in bf16, the weights are what they are when they are rounded as a whole.
    assert row["largest_difference_to_bf16_weights"] == 0
    table = capsys.readouterr().out
    assert "| missing | whole section | seconds" in table
    assert "error KeyError: 'missing'" in table


def test_the_sections_take_nine_minutes_at_most() -> None:
    assert gpu.LIMITS.keys() == gpu_sections.SECTIONS.keys()
    assert sum(gpu.LIMITS.values()) <= 9 * 60

"""Exports: the precision of what is written, and what config.json says of it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.model.exporting import export_dtype, stored_dtype
from prism_pl.model.policy import Policy


@pytest.fixture(scope="module")
def half(embedded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model in bf16, as published models are."""
    folder = tmp_path_factory.mktemp("half")
    Qwen3VLForConditionalGeneration.from_pretrained(embedded / "model", dtype=torch.bfloat16).save_pretrained(folder)
    AutoProcessor.from_pretrained(embedded / "model").save_pretrained(folder)
    return folder


def test_auto_is_the_precision_of_the_model_at_the_start(half: Path, embedded: Path) -> None:
    assert export_dtype("auto", str(half)) == torch.bfloat16
    assert export_dtype("auto", EMBEDDED_NAME) == torch.float32
    assert export_dtype("bfloat16", EMBEDDED_NAME) == torch.bfloat16
    assert export_dtype("float32", str(half)) == torch.float32


def test_a_folder_in_bf16_says_so_and_the_policy_stays_fp32(lively_policy: Policy, tmp_path: Path) -> None:
    weights = {name: tensor.bfloat16() for name, tensor in lively_policy.weights()}
    lively_policy.save(tmp_path / "model", EMBEDDED_NAME, weights)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert [part["dtype"] for part in (config, config["text_config"], config["vision_config"])] == ["bfloat16"] * 3
    assert stored_dtype(str(tmp_path / "model")) == torch.bfloat16
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in stored.items())
    assert lively_policy.vlm.dtype == torch.float32
    assert lively_policy.vlm.config.dtype != torch.bfloat16


def test_a_shell_writes_weights_that_come_from_elsewhere(lively_policy: Policy, tmp_path: Path) -> None:
    """As ``export`` does, tensor by tensor from a checkpoint: no model is loaded for it."""
    state = lively_policy.state_dict()
    shell = Policy.shell(EMBEDDED_NAME, "test")
    assert all(parameter.is_meta for parameter in shell.parameters())
    lively_policy.save(tmp_path / "live", EMBEDDED_NAME, dict(lively_policy.weights()))
    shell.save(tmp_path / "shell", EMBEDDED_NAME, dict(shell.weights(state.__getitem__)))
    one, other = (load_file(tmp_path / folder / "model.safetensors") for folder in ("live", "shell"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    for file in ("config.json", "generation_config.json"):
        assert (tmp_path / "live" / file).read_text() == (tmp_path / "shell" / file).read_text()

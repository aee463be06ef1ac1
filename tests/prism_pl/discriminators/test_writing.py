"""Upcycling to disk: any shard size gives what the build in memory gives, and a mistake leaves nothing behind."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from prism_pl.discriminators import (
    DedicatedExpertsDiscriminator,
    Discriminator,
    SharedMixtureDiscriminator,
    load_scorer,
    write_upcycled,
)
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from tests.command_line import run

MIB = 1024**2


@pytest.mark.parametrize(("dtype", "shard_bytes"), [(torch.float32, MIB), (torch.bfloat16, MIB // 2), (torch.float32, 1)])
def test_any_number_of_shards_equals_the_build_in_memory(
    leaf: Discriminator, tmp_path: Path, dtype: torch.dtype, shard_bytes: int
) -> None:
    out = tmp_path / "deep" / "d"
    parameters = write_upcycled(leaf, EMBEDDED_NAME, out, dtype, shard_bytes)
    expected = leaf.build(EMBEDDED_NAME, "test", dtype)
    loaded = replace(leaf, path=str(out)).build(EMBEDDED_NAME, "test", dtype)
    assert loaded.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in expected.state_dict().items())
    assert all(tensor.dtype is dtype for tensor in loaded.parameters())
    assert parameters == sum(tensor.numel() for tensor in expected.parameters())
    assert loaded.reading == expected.reading
    # No shard is over the limit, but for one of a single tensor; the index names every tensor where it is.
    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = {path.name: load_file(path) for path in out.glob("*.safetensors")}
    assert len(files) > 4
    assert sorted(files) == [f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in range(1, len(files) + 1)]
    assert {name: file for file, held in files.items() for name in held} == index["weight_map"]
    sizes = {file: sum(tensor.nbytes for tensor in held.values()) for file, held in files.items()}
    assert all(size <= shard_bytes or len(files[file]) == 1 for file, size in sizes.items())
    assert index["metadata"]["total_size"] == sum(sizes.values()) == parameters * dtype.itemsize
    assert json.loads((out / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    assert AutoProcessor.from_pretrained(out).tokenizer.eos_token == "<|im_end|>"
    assert list(out.parent.iterdir()) == [out]


def test_one_shard_where_all_fits(tmp_path: Path) -> None:
    write_upcycled(DedicatedExpertsDiscriminator(), EMBEDDED_NAME, tmp_path / "d", torch.float32)
    assert [path.name for path in (tmp_path / "d").glob("*.safetensors")] == ["model-00001-of-00001.safetensors"]


@pytest.mark.parametrize("width", [128, 64])
def test_square_expert_matrices_are_not_turned_round(embedded: Path, tmp_path: Path, width: int) -> None:
    """With a width of 128 down_proj is 128 x 128, with 64 gate_up_proj is: their shape does not tell how they lie."""
    config = AutoConfig.from_pretrained(embedded / "model").to_dict()
    config["text_config"]["intermediate_size"] = width
    dense = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**config))
    dense.save_pretrained(tmp_path / "dense")
    AutoProcessor.from_pretrained(embedded / "model").save_pretrained(tmp_path / "dense")
    leaf = DedicatedExpertsDiscriminator()
    expected = leaf.build(str(tmp_path / "dense"), "test")
    write_upcycled(leaf, str(tmp_path / "dense"), tmp_path / "written", torch.float32)
    expected.save(tmp_path / "saved", EMBEDDED_NAME, dict(expected.weights()))
    for folder in ("saved", "written"):
        loaded = load_scorer(str(tmp_path / folder), "test").state_dict()
        assert all(torch.equal(tensor, loaded[name]) for name, tensor in expected.state_dict().items()), folder


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"^--out: .*/d exists already"):
        write_upcycled(DedicatedExpertsDiscriminator(), EMBEDDED_NAME, tmp_path / "d", torch.float32)
    assert [path.name for path in tmp_path.rglob("*")] == ["d", "mine.txt"]


def test_only_a_dense_model_can_be_upcycled(tmp_path: Path) -> None:
    write_upcycled(SharedMixtureDiscriminator(), EMBEDDED_NAME, tmp_path / "mixture", torch.float32)
    with pytest.raises(UserError, match=r"^--model: .*/mixture is a qwen3_vl_moe model; only a dense qwen3_vl"):
        write_upcycled(DedicatedExpertsDiscriminator(), str(tmp_path / "mixture"), tmp_path / "d", torch.float32)
    with pytest.raises(UserError, match=r"^--model: the model folder .*/none does not exist"):
        write_upcycled(DedicatedExpertsDiscriminator(), str(tmp_path / "none"), tmp_path / "d", torch.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["mixture"]


def test_an_error_half_way_leaves_nothing_behind(embedded: Path, tmp_path: Path) -> None:
    """The last layer lacks a matrix: it is missed after several shards are written."""
    source = tmp_path / "source"
    AutoConfig.from_pretrained(embedded / "model").save_pretrained(source)
    weights = load_file(embedded / "model" / "model.safetensors")
    del weights["model.language_model.layers.2.mlp.up_proj.weight"]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KeyError, match="up_proj"):
        write_upcycled(DedicatedExpertsDiscriminator(), str(source), tmp_path / "d", torch.float32, 100_000)
    assert list(tmp_path.iterdir()) == [source]


def test_the_command_writes_dedicated_experts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d"
    options = ["--experts", "5", "--top_k", "3", "--noise", "0.1", "--seed", "7", "--dtype", "bfloat16"]
    assert run("upcycle", "--model", EMBEDDED_NAME, "--out", str(out), *options) == 0
    # Five experts: two of each kind and one that is shared.
    leaf = DedicatedExpertsDiscriminator(num_perception=2, num_reasoning=2, num_shared=1, top_k=3, noise=0.1, seed=7)
    expected = leaf.build(EMBEDDED_NAME, "test", torch.bfloat16)
    loaded = replace(leaf, path=str(out)).build(EMBEDDED_NAME, "test", torch.bfloat16)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in expected.state_dict().items())
    millions = sum(tensor.numel() for tensor in expected.parameters()) / 1e6
    assert f"{out}: DedicatedExpertsDiscriminator of {millions:.1f} M parameters, bfloat16" in capsys.readouterr().out


def test_the_command_writes_a_shared_mixture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d"
    assert run("upcycle", "--model", EMBEDDED_NAME, "--out", str(out), "--shared_router", "true", "--experts", "3") == 0
    assert "SharedMixtureDiscriminator of" in capsys.readouterr().out
    leaf = SharedMixtureDiscriminator(num_experts=3)
    expected = leaf.build(EMBEDDED_NAME, "test").state_dict()
    loaded = replace(leaf, path=str(out)).build(EMBEDDED_NAME, "test").state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--experts", "2"], "perception tokens reach only 1 experts"),
        (["--dtype", "float16"], "float16"),
        (["--heads", "4"], "heads"),
    ],
)
def test_the_commands_mistakes_are_named(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("upcycle", "--model", EMBEDDED_NAME, "--out", str(tmp_path / "d"), *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

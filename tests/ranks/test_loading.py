"""A model is held once a machine, not once a rank: memory of the processes' own while a network is loaded and sharded."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from prism_pl.discriminators import DenseDiscriminator, write_upcycled
from tests import launchers

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def model(embedded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with 88 M random parameters, stored in bf16 as published models are."""
    source, folder = embedded / "model", tmp_path_factory.mktemp("model")
    config = json.loads((source / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    text |= {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 10, "num_attention_heads": 12}
    text |= {"num_key_value_heads": 4, "head_dim": 64}
    text["rope_parameters"]["mrope_section"] = [11, 11, 10]
    vision["out_hidden_size"] = 768
    kept = {key: value for key, value in config.items() if key.endswith(("_config", "token_id", "embeddings"))}
    Qwen3VLForConditionalGeneration(Qwen3VLConfig(**kept)).to(torch.bfloat16).save_pretrained(folder)
    AutoProcessor.from_pretrained(source).save_pretrained(folder)
    return folder


def peak(kind: str, model: Path, folder: Path, count: int) -> tuple[int, int]:
    """Memory of all ranks together at its peak, and of the fp32 weights."""
    # What is freed goes back to the system at once: glibc would keep up to 30 MiB a process, which nobody uses.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536"}
    program = [sys.executable, "-m", "tests.ranks.loading", kind, str(model), str(folder / f"store{count}")]
    commands = [([*program, str(rank), str(count)], allocator) for rank in range(count)]
    run = launchers.Processes(commands, folder / f"of{count}")
    run.finish()
    found = [re.search(r"peak (\d+) weights (\d+)", log.read_text()) for log in run.logs]
    return sum(int(match[1]) for match in found if match), int(found[0][2]) if found[0] else 0


@pytest.fixture(scope="module")
def discriminator(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One in a folder of its own, in bf16."""
    folder = tmp_path_factory.mktemp("discriminator") / "model"
    write_upcycled(DenseDiscriminator(noise=0.0), str(model), folder, torch.bfloat16)
    return folder


@pytest.mark.parametrize("kind", ["policy", "adapted", "built", "stored"])
def test_further_ranks_take_hardly_more_memory_than_one(
    kind: str, model: Path, discriminator: Path, tmp_path: Path
) -> None:
    source = discriminator if kind == "stored" else model
    one, weights = peak(kind, source, tmp_path, 1)
    four, _ = peak(kind, source, tmp_path, 4)
    print(f"{kind}: weights {weights / 2**20:.0f} MiB, 1 rank {one / 2**20:.0f} MiB, 4 ranks {four / 2**20:.0f} MiB")
    assert weights > 80e6 * 4
    assert (four - one) / 3 < 0.1 * weights

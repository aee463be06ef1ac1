"""Upcycling straight to disk, shard by shard: neither model is ever in memory as a whole."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoProcessor

from prism_pl.discriminators.base import Discriminator
from prism_pl.discriminators.upcycling import DenseWeights
from prism_pl.errors import UserError
from prism_pl.hub import model_folder
from prism_pl.runs.folders import atomic_folder

_SHARD_BYTES = 4 * 1024**3


def write_upcycled(
    discriminator: Discriminator, model: str, out: Path, dtype: torch.dtype, shard_bytes: int = _SHARD_BYTES
) -> int:
    """Writes the discriminator built from the dense ``model`` as a Hugging Face folder; returns its parameters.

    Raises UserError if ``out`` exists or ``model`` is no dense Qwen3-VL. Memory: one shard and one tensor.
    """
    if out.exists():
        raise UserError(f"--out: {out} exists already. Remove it or name another folder.")
    source = model_folder(model, "--model")
    dense = AutoConfig.from_pretrained(source)
    if dense.model_type != "qwen3_vl":
        raise UserError(f"--model: {model} is a {dense.model_type} model; only a dense qwen3_vl can be upcycled.")
    config = discriminator.fresh_config(dense)
    config.dtype = dtype
    with atomic_folder(out) as folder:
        placed: dict[str, int] = {}
        shard: dict[str, torch.Tensor] = {}
        sizes = [0]
        parameters = 0

        def flush() -> None:
            save_file(shard, folder / f"shard-{len(sizes)}", metadata={"format": "pt"})
            shard.clear()
            sizes.append(0)

        for name, tensor in discriminator.tensors(DenseWeights(source), config):
            kept = tensor.to(dtype).contiguous()
            if shard and sizes[-1] + kept.nbytes > shard_bytes:
                flush()
            shard[name] = kept
            sizes[-1] += kept.nbytes
            placed[name] = len(sizes)
            parameters += kept.numel()
        flush()
        total = len(sizes) - 1
        files = {number: f"model-{number:05d}-of-{total:05d}.safetensors" for number in range(1, total + 1)}
        for number, file in files.items():
            (folder / f"shard-{number}").rename(folder / file)
        index = {
            "metadata": {"total_size": sum(sizes)},
            "weight_map": {name: files[number] for name, number in placed.items()},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
        config.save_pretrained(folder)
        AutoProcessor.from_pretrained(source).save_pretrained(folder)
    return parameters

"""Sparse upcycling (arXiv 2212.05055): a dense Qwen3-VL becomes a mixture of experts that starts as the same function.

Every expert is a copy of the dense feed-forward layer plus noise; the router starts random. Its top-k weights are
renormalised to one, so with noise 0 the mixture's hidden states equal the dense model's (tested). ``noise`` is relative to
the standard deviation of the dense tensor, so the same figure means the same disturbance at every width (the released
code's 0.01 was absolute, about half the size of a typical weight). Tensors come one at a time, each from a random stream of
its own: the dense model is never in memory as a whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from transformers import Qwen3VLConfig, Qwen3VLMoeConfig

from prism_pl.errors import UserError
from prism_pl.seeds import derive_seed

_ROUTER_STD = 0.02
_TOKEN_IDS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id", "tie_word_embeddings")


class DenseWeights:
    """The tensors of a checkpoint's safetensors files, read one by one."""

    def __init__(self, name: str) -> None:
        folder = Path(name) if Path(name).is_dir() else Path(snapshot_download(name))
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise UserError(f"{name}: no .safetensors file to read weights from.")
        self._files = {}
        for file in files:
            with safe_open(file, "pt") as opened:
                self._files.update(dict.fromkeys(opened.keys(), file))

    def names(self) -> list[str]:
        """The backbone's tensors; a discriminator has no language-model head."""
        return [name for name in self._files if name.startswith("model.")]

    def read(self, name: str) -> torch.Tensor:
        """One tensor in fp32."""
        with safe_open(self._files[name], "pt") as opened:
            return opened.get_tensor(name).float()


def mixture_config(dense: dict[str, Any], num_experts: int, top_k: int) -> Qwen3VLMoeConfig:
    """Every layer a mixture, each expert as wide as the dense layer."""
    text, vision = _parts(dense)
    text.update(
        num_experts=num_experts,
        num_experts_per_tok=top_k,
        moe_intermediate_size=text["intermediate_size"],
        decoder_sparse_step=1,
        mlp_only_layers=[],
    )
    return Qwen3VLMoeConfig(text_config=text, vision_config=vision, **{key: dense[key] for key in _TOKEN_IDS})


def dense_config(dense: dict[str, Any], width: int) -> Qwen3VLConfig:
    """The same model with ``width`` times as wide feed-forward layers."""
    text, vision = _parts(dense)
    text["intermediate_size"] *= width
    return Qwen3VLConfig(text_config=text, vision_config=vision, **{key: dense[key] for key in _TOKEN_IDS})


def _parts(dense: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    text, vision = dict(dense["text_config"]), dict(dense["vision_config"])
    text.pop("model_type")
    vision.pop("model_type")
    return text, vision


def mixture_tensors(
    dense: DenseWeights, config: Any, num_heads: int, noise: float, seed: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of the mixture with fresh routers and heads."""
    text = config.text_config
    for name in dense.names():
        prefix, _, ending = name.rpartition("mlp.")
        if not prefix.startswith("model.language_model.layers."):
            yield name, dense.read(name)
        elif ending == "gate_proj.weight":
            parts = (name, f"{prefix}mlp.up_proj.weight")
            experts = f"{prefix}mlp.experts.gate_up_proj"
            # Nothing that large stays behind in a variable.
            yield _copies(experts, torch.cat([dense.read(part) for part in parts]), text.num_experts, noise, seed)
            yield _drawn(f"{prefix}mlp.gate.weight", (text.num_experts, text.hidden_size), _ROUTER_STD, seed)
        elif ending == "down_proj.weight":
            yield _copies(f"{prefix}mlp.experts.down_proj", dense.read(name), text.num_experts, noise, seed)
    yield _head(num_heads, text.hidden_size, seed)


def dense_tensors(
    dense: DenseWeights, config: Any, num_heads: int, width: int, noise: float, seed: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of the widened model with fresh heads: noisy copies side by side, their outputs averaged."""
    for name in dense.names():
        prefix, _, ending = name.rpartition("mlp.")
        if not prefix.startswith("model.language_model.layers."):
            yield name, dense.read(name)
            continue
        yield name, _widened(name, dense.read(name), width, noise if width > 1 else 0.0, seed, ending == "down_proj.weight")
    yield _head(num_heads, config.text_config.hidden_size, seed)


def _widened(name: str, weight: torch.Tensor, width: int, noise: float, seed: int, is_output: bool) -> torch.Tensor:
    _, copies = _copies(name, weight, width, noise, seed)
    return torch.cat(list(copies.div_(width)), dim=1) if is_output else copies.flatten(0, 1)


def _copies(name: str, weight: torch.Tensor, count: int, noise: float, seed: int) -> tuple[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(derive_seed(seed, name))
    # In place: it is the largest tensor of a build, and every rank makes it.
    copies = torch.randn((count, *weight.shape), generator=generator).mul_(noise * weight.std()).add_(weight)
    return name, copies


def _head(num_heads: int, width: int, seed: int) -> tuple[str, torch.Tensor]:
    # Scores of unit size for a normalised state of any width: a smaller head holds back what lies below it, which learns to
    # look only as fast as the head lets a gradient through (docs/alignment.md).
    return _drawn("head.weight", (num_heads, width), width**-0.5, seed)


def _drawn(name: str, shape: tuple[int, ...], std: float, seed: int) -> tuple[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(derive_seed(seed, name))
    return name, std * torch.randn(shape, generator=generator)

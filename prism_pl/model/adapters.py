"""LoRA: low-rank adapters on the language model's linear layers (arXiv 2106.09685), by peft.

y = W x + (alpha / r) B A x,   A: (r, in), B: (out, r), only A and B are trained
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import nn

from prism_pl.errors import UserError
from prism_pl.model.sharding import whole
from prism_pl.ranges import PositiveFloat, PositiveInt
from prism_pl.seeds import derive_seed, run_seed

_NAME = "default"
_BASE = ".base_layer."

Read = Callable[[str], torch.Tensor]
"""The whole tensor of a name in a model's state dict."""


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """Train adapters instead of weights."""

    rank: PositiveInt
    """r."""
    alpha: PositiveFloat
    """The adapters' product is scaled by alpha / r."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Linear layers of the language model, by the last part of their names. A mixture's experts are no linear layers."""


def add_adapters(model: nn.Module, options: LoraOptions) -> None:
    """Wraps the linear layers in place; all other parameters are frozen. Raises UserError if no layer has such a name.

    Adapters are fp32 whatever the weights beside them, and each A has a random stream of its own: it does not depend on the
    precision or the order in which a model is loaded.
    """
    pattern = rf".*language_model\..*\.({'|'.join(map(re.escape, options.targets))})"
    if not any(isinstance(module, nn.Linear) and re.fullmatch(pattern, name) for name, module in model.named_modules()):
        raise UserError(f"lora.targets: no linear layer of the language model ends in {', '.join(options.targets)}.")
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=pattern)  # type: ignore[arg-type]
    inject_adapter_in_model(config, model, _NAME)
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            _draw(module, name)


def _draw(layer: Any, name: str) -> None:
    first, second = layer.lora_A[_NAME], layer.lora_B[_NAME]
    if first.weight.is_meta:
        return
    # Kaiming's bound, as peft draws it.
    bound = first.in_features**-0.5
    generator = torch.Generator().manual_seed(derive_seed(run_seed(), "lora", name))
    drawn = torch.empty(first.weight.shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
    first.weight = nn.Parameter(drawn.to(first.weight.device))
    second.weight = nn.Parameter(second.weight.detach().float())


def merged_weights(model: nn.Module, read: Read | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """Whole tensors under the names of a model without adapters. All ranks of a sharded model must exhaust it.

    ``read`` takes them from elsewhere than the model.
    """
    adapted = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    names, read = _reading(model, read)
    for name in names:
        layer, base, last = name.rpartition(_BASE)
        if base and last == "weight":
            first, second = (read(f"{layer}.lora_{part}.{_NAME}.weight") for part in "AB")
            product = adapted[layer].scaling[_NAME] * (second @ first)
            tensor = read(name)
            yield f"{layer}.{last}", tensor + product.to(tensor)
        elif ".lora_" not in name:
            yield name.replace(_BASE, "."), read(name)


def linear_weight(layer: nn.Module) -> torch.Tensor:
    """(out, in) of a linear layer without a bias, its adapters' product added, with the gradient of all of them."""
    base: nn.Module = layer.base_layer if isinstance(layer, LoraLayer) else layer
    assert isinstance(base, nn.Linear)
    assert base.bias is None
    if not isinstance(layer, LoraLayer):
        return base.weight
    first, second = (part[_NAME].weight for part in (layer.lora_A, layer.lora_B))
    return base.weight + (layer.scaling[_NAME] * (second @ first)).to(base.weight)


def adapter_weights(model: nn.Module, read: Read | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """The adapters alone, under peft's names in a file; empty without adapters. Nothing else is gathered."""
    names, read = _reading(model, read)
    for name in names:
        if ".lora_" in name:
            yield f"base_model.model.{name.replace(f'.{_NAME}.', '.')}", read(name)


def save_adapters(model: nn.Module, folder: Path, base: str, weights: dict[str, torch.Tensor]) -> None:
    """Writes a folder that ``PeftModel.from_pretrained`` puts on the model ``base``."""
    folder.mkdir()
    config: LoraConfig = model.peft_config[_NAME]  # type: ignore[assignment,index]
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(str(folder))
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(contiguous, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _reading(model: nn.Module, read: Read | None) -> tuple[list[str], Read]:
    state = model.state_dict(keep_vars=True)
    return list(state), read or (lambda name: whole(state[name]))

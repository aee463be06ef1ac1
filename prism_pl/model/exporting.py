"""Networks as complete Hugging Face folders, in the precision that their reader expects."""

import copy
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from transformers import AutoProcessor

from prism_pl.hub import model_folder

ExportDtype = Literal["auto", "float32", "bfloat16"]
"""``auto`` is the precision of the model that a run starts from: published models are bf16, and readers expect it."""


def stored_dtype(folder: str) -> torch.dtype:
    """The precision of a folder's weights, by the files themselves; fp32 if they have several."""
    found = set()
    for file in Path(folder).glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            found |= {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118 (no mapping)
    return torch.bfloat16 if found == {"BF16"} else torch.float16 if found == {"F16"} else torch.float32


def export_dtype(choice: ExportDtype, source: str) -> torch.dtype:
    """The precision of what is exported. ``source`` is the folder or name of the model that the run starts from."""
    return stored_dtype(model_folder(source, "model.policy.path")) if choice == "auto" else getattr(torch, choice)


def write_network(network: Any, folder: Path, source: str, weights: dict[str, torch.Tensor], **options: Any) -> None:
    """Writes whole ``weights`` of a transformers network, its configuration and the processor of ``source``.

    The network itself is only asked for its kind: it may be sharded, on the meta device, or in training meanwhile.
    """
    config, dtype = copy.deepcopy(network.config), next(iter(weights.values())).dtype
    # config.json says what the file holds, of language model and vision tower alike.
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        part.dtype = dtype
    with torch.device("meta"):
        shell = type(network)(config)
    shell.to(dtype)
    if network.can_generate():
        shell.generation_config = network.generation_config
    shell.save_pretrained(folder, state_dict=weights, **options)
    AutoProcessor.from_pretrained(model_folder(source, "the processor")).save_pretrained(folder)

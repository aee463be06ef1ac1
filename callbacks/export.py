"""The models of a run as complete Hugging Face folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from prism_pl.contracts import Stage
from prism_pl.heartbeat import within
from prism_pl.model.exporting import export_dtype
from prism_pl.runs.folders import atomic_folder


def write_models(trainer: Any, stage: Stage, folder: Path) -> None:
    """Each model of the stage under its own name in ``folder``. All ranks must call it; the first one writes."""
    with within("export"):
        dtype = export_dtype(stage.export_dtype, stage.policy_path)
        for name, model in stage.exports().items():
            weights = _gathered(model.weights(), trainer, dtype)
            adapters = _gathered(model.adapters(), trainer, torch.float32)
            if trainer.is_global_zero:
                with atomic_folder(folder / name) as partial:
                    model.save(partial, stage.policy_path, weights, adapters)


def _gathered(tensors: Iterator[tuple[str, torch.Tensor]], trainer: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """One whole tensor at a time on the device, and all of them on the first process's CPU only."""
    kept = {}
    for name, tensor in tensors:
        if trainer.is_global_zero:
            kept[name] = tensor.to(dtype).cpu()
    return kept

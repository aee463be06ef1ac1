"""The models of a run as complete Hugging Face folders."""

from pathlib import Path
from typing import Any

from prism_pl.folders import atomic_folder


def write_models(trainer: Any, pl_module: Any, folder: Path) -> None:
    """Each model of the module under its own name in ``folder``. All ranks must call it; the first one writes."""
    for name, model in pl_module.exports().items():
        # One whole tensor at a time on the device, and all of them on the first process's CPU only.
        weights = {}
        for key, tensor in model.weights():
            if trainer.is_global_zero:
                weights[key] = tensor.cpu()
        if trainer.is_global_zero:
            with atomic_folder(folder / name) as partial:
                model.save(partial, pl_module.policy_name, weights)

"""``export``: the models of a checkpoint as complete Hugging Face folders, without the trainer.

step=N.ckpt -> OUT/model, in alignment also OUT/discriminator
"""

import importlib
from pathlib import Path
from typing import Any

import torch
import yaml

from prism_pl.discriminators import Discriminator
from prism_pl.errors import UserError
from prism_pl.model.adapters import LoraOptions
from prism_pl.model.policy import Policy
from prism_pl.runs.folders import atomic_folder


def export(run_dir: str, out: str, checkpoint: str | None = None) -> list[Path]:
    """Writes every model of a checkpoint and returns their folders.

    Args:
        run_dir: folder of the run; its ``config.yaml`` says what was trained.
        out: folder to write; what it holds under the same names is replaced.
        checkpoint: a ``.ckpt`` file; null is the newest of the run.
    """
    run = Path(run_dir)
    if not (run / "config.yaml").is_file():
        raise UserError(f"--run_dir: {run} holds no config.yaml, so it is no run's folder.")
    file = Path(checkpoint) if checkpoint else newest_checkpoint(run)
    if file is None or not file.is_file():
        finished = " It is finished: its models are there as they are." if (run / "finished.json").exists() else ""
        raise UserError(f"--checkpoint: {file or run / 'checkpoints'} holds no checkpoint to export.{finished}")
    model = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["model"]
    options = model["init_args"]
    source = options["policy"]["path"]
    # Mapped: only the tensors that are looked at are read.
    state = torch.load(file, weights_only=True, mmap=True, map_location="cpu")["state_dict"]
    trained: dict[str, Any] = {}
    if any(name.startswith("policy.") for name in state):
        trained["policy"] = Policy.load(source, "model.policy.path")
        if options["policy"].get("lora"):
            trained["policy"].add_lora(LoraOptions(**options["policy"]["lora"]))
    if any(name.startswith("discriminator.") for name in state):
        trained["discriminator"] = _discriminator(options["discriminator"]).build(source, "model.discriminator")
    folders: list[Path] = []
    for attribute, module in trained.items():
        own = {n.removeprefix(f"{attribute}."): t for n, t in state.items() if n.startswith(f"{attribute}.")}
        module.load_state_dict(own)
        # The first model of a stage is its result, as in the folders that a run writes.
        folders.append(Path(out) / ("model" if not folders else attribute))
        with atomic_folder(folders[-1]) as partial:
            module.save(partial, source, dict(module.weights()), dict(module.adapters()))
        print(folders[-1])
    return folders


def newest_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint of the most updates under ``run_dir/checkpoints``."""
    found = sorted((run_dir / "checkpoints").glob("step=*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    return found[-1] if found else None


def _discriminator(config: dict[str, Any]) -> Discriminator:
    module, _, name = config["class_path"].rpartition(".")
    options = config.get("init_args", {})
    if options.get("lora"):
        options["lora"] = LoraOptions(**options["lora"])
    built = getattr(importlib.import_module(module), name)(**options)
    assert isinstance(built, Discriminator)
    return built

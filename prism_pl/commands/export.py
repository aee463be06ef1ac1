"""``export``: the models of a checkpoint as complete Hugging Face folders, without the trainer.

step=N.ckpt -> OUT/model, in alignment also OUT/discriminator
"""

import importlib
from pathlib import Path
from typing import Any

import yaml

from prism_pl.discriminators import Discriminator
from prism_pl.errors import UserError
from prism_pl.model.adapters import LoraOptions
from prism_pl.model.exporting import ExportDtype, export_dtype
from prism_pl.model.policy import Policy
from prism_pl.runs.checkpoint import Checkpoint, newest_checkpoint
from prism_pl.runs.folders import atomic_folder


def export(run_dir: str, out: str, checkpoint: str | None = None, dtype: ExportDtype | None = None) -> list[Path]:
    """Writes every model of a checkpoint and returns their folders.

    Args:
        run_dir: folder of the run; its ``config.yaml`` says what was trained.
        out: folder to write; what it holds under the same names is replaced.
        checkpoint: a ``step=N.ckpt`` folder; null is the newest of the run.
        dtype: precision of the written weights; null is the run's ``model.export_dtype``.
    """
    run = Path(run_dir)
    if not (run / "config.yaml").is_file():
        raise UserError(f"--run_dir: {run} holds no config.yaml, so it is no run's folder.")
    folder = Path(checkpoint) if checkpoint else newest_checkpoint(run)
    if folder is None or not folder.exists():
        finished = " It is finished: its models are there as they are." if (run / "finished.json").exists() else ""
        raise UserError(f"--checkpoint: {folder or run / 'checkpoints'} holds no checkpoint to export.{finished}")
    written = write_exports(run, Checkpoint(folder), Path(out), dtype)
    for path in written:
        print(path)
    return written


def write_exports(run: Path, checkpoint: Checkpoint, out: Path, dtype: ExportDtype | None = None) -> list[Path]:
    """The models of a checkpoint of the run, each in a folder of ``out``; one network in memory at a time."""
    model = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["model"]
    options = model["init_args"]
    source = options["policy"]["path"]
    precision = export_dtype(dtype or options.get("export_dtype", "auto"), source)
    trained: dict[str, Any] = {}
    names = checkpoint.names()
    if any(name.startswith("state_dict/policy.") for name in names):
        trained["policy"] = Policy.shell(source, "model.policy.path")
        if options["policy"].get("lora"):
            trained["policy"].add_lora(LoraOptions(**options["policy"]["lora"]))
    if any(name.startswith("state_dict/discriminator.") for name in names):
        trained["discriminator"] = _discriminator(options["discriminator"]).shell(source, "model.discriminator")
    folders: list[Path] = []
    for attribute, network in trained.items():

        def read(name: str, attribute: str = attribute) -> Any:
            return checkpoint.read(f"state_dict/{attribute}.{name}")

        weights = {name: tensor.to(precision) for name, tensor in network.weights(read)}
        # The first model of a stage is its result, as in the folders that a run writes.
        folders.append(out / ("model" if not folders else attribute))
        with atomic_folder(folders[-1]) as partial:
            network.save(partial, source, weights, dict(network.adapters(read)))
    return folders


def _discriminator(config: dict[str, Any]) -> Discriminator:
    module, _, name = config["class_path"].rpartition(".")
    options = config.get("init_args", {})
    if options.get("lora"):
        options["lora"] = LoraOptions(**options["lora"])
    built = getattr(importlib.import_module(module), name)(**options)
    assert isinstance(built, Discriminator)
    return built

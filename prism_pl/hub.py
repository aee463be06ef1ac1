"""Names of models: a folder, the embedded default, or a name on the hub."""

import json
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.errors import UserError

DISCRIMINATOR_RECORD = "prism_discriminator"
"""Key of a discriminator's config.json that holds the class and its options."""
_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]


def model_folder(name: str, purpose: str) -> str:
    """A model's folder; ``embedded/digits`` is built on first use, ``org/name`` or ``org/name@revision`` from the hub.

    Everything after this reads local files: no remote code, and safetensors only, which hold no pickle. ``purpose`` is the
    configuration key that holds the name. Raises UserError if a local folder is missing or incomplete, with the command
    that makes it, and if the hub has no such model.
    """
    if name == EMBEDDED_NAME:
        return str(embedded_folder() / "model")
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").exists():
            raise UserError(f"{purpose}: the folder {name} holds no config.json, so it is no Hugging Face model folder.")
        return name
    looks_local = path.is_absolute() or name.count("/") != 1 or name.startswith(("runs/", "./", "../"))
    if looks_local:
        raise UserError(f"{purpose}: the model folder {name} does not exist. {_how_to_make(path)}")
    return _fetched(name, purpose)


def policy_folder(name: str, purpose: str) -> str:
    """``model_folder`` of a model that answers. Raises UserError for a discriminator, too: it has heads that score in the
    place of the one that gives tokens, which would be filled with random numbers."""
    folder = model_folder(name, purpose)
    if holds_discriminator(Path(folder)):
        raise UserError(
            f"{purpose}: {name} is a discriminator, which scores responses and gives none. Give a policy's folder."
        )
    return folder


def holds_discriminator(folder: Path) -> bool:
    """Whether the model in a folder is a discriminator."""
    return DISCRIMINATOR_RECORD in json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _fetched(name: str, purpose: str) -> str:
    repository, _, revision = name.partition("@")
    try:
        return snapshot_download(repository, revision=revision or None, allow_patterns=_FETCHED)
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{purpose}: {name} is neither a local folder nor to be had from the hub: {first}") from None


def _how_to_make(path: Path) -> str:
    stage = path.parent.name
    if stage in ("sft", "warmup", "align", "rlvr"):
        return (
            f"Make it with `python -m prism_pl fit --config {stage}.yaml --run_dir {path.parent}`, "
            f"or all stages with `python -m prism_pl pipeline --config demo.yaml --run_dir {path.parent.parent}`."
        )
    return "Give a Hugging Face folder or the name of a model on the hub."

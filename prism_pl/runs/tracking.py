"""Weights & Biases: online or not, the id of a run that resumes, and a page as an artifact."""

import netrc
import os
import secrets
from pathlib import Path
from typing import Any

from prism_pl.runs.files import write_atomically

GROUP = "WANDB_RUN_GROUP"
"""Variable of wandb with the group of the runs of a process."""
_ID_FILE = "wandb_id.txt"


def mode() -> str:
    """``WANDB_MODE`` if it is set, else ``online`` if a login is found, else ``offline``."""
    return os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")


def kept_id(folder: Path) -> str:
    """Of the W&B run that this folder's run logs to; a new one in a new folder."""
    file = folder / _ID_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, secrets.token_hex(4) + "\n")
    return file.read_text(encoding="utf-8").strip()


def group_of(run_dir: Path) -> str:
    """The stages of a run's folder are shown together."""
    return os.environ.get(GROUP, str(run_dir))


def log_page(page: Path, run_dir: Path, project: str) -> None:
    """The page as an artifact of type ``report``, in a run of its own beside those of the stages."""
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    own: dict[str, Any] = {"name": page.stem, "job_type": "report", "dir": run_dir, "mode": mode()}
    with wandb.init(project=project, group=group_of(run_dir), **own) as run:
        artifact = wandb.Artifact(page.stem, type="report")
        artifact.add_file(str(page))
        run.log_artifact(artifact)


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False

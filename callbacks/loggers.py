"""``metrics.jsonl`` always, Weights & Biases as the user's login allows."""

import json
import logging
import netrc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from prism_pl.runs.files import append_lines

_log = logging.getLogger(__name__)


class JsonlLogger(Logger):
    """One line of JSON a step, on disk as it happens.

    Args:
        save_dir: the run's folder.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self._folder = Path(save_dir)

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._folder)

    @property
    def file(self) -> Path:
        return self._folder / "metrics.jsonl"

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The configuration is in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        append_lines(self.file, [json.dumps({"step": step, **metrics})])


class WandbLogger(LightningWandbLogger):
    """Lightning's logger, offline unless the user is logged in or asks for it.

    A run does not end for it. If W&B cannot be reached at the start the run is logged offline, and if it fails later
    nothing is sent any more; both are said. ``metrics.jsonl`` and ``samples.jsonl`` have everything.

    Args:
        project: W&B project.
        mode: ``auto`` is ``online`` if a login is found, else ``offline``.
        name: of the run.
        save_dir: folder of the offline run; the run's folder if left out.
    """

    def __init__(
        self, project: str = "prism_pl", mode: str = "auto", name: str | None = None, save_dir: str | None = None
    ) -> None:
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
        os.environ.setdefault("WANDB_SILENT", "true")
        folder = Path(save_dir or ".")
        super().__init__(project=project, name=name, save_dir=folder, offline=mode == "offline")
        # Lightning passes an option that wandb answers with a warning at every start.
        self._wandb_init.pop("anonymous", None)
        self._lost = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        from wandb.errors import CommError

        try:
            return super().experiment
        except CommError as error:
            _log.warning("W&B cannot be reached (%s). This run is logged offline; send it later with `wandb sync`.", error)
            self._wandb_init["mode"] = "offline"
            self._offline = True
            return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        Path(self.save_dir or ".").mkdir(parents=True, exist_ok=True)
        log = super().log_metrics
        self.send(lambda: log(metrics, step))

    def send(self, work: Callable[[], None]) -> None:
        """Does what W&B is needed for, until it fails for the first time: its own process may be killed, say."""
        if self._lost:
            return
        try:
            work()
        except Exception as error:
            self._lost = True
            _log.warning(
                "W&B has failed (%s: %s). The run goes on, and sends nothing more to it.", type(error).__name__, error
            )


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False

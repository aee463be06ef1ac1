"""``metrics.jsonl`` always, Weights & Biases as the user's login allows."""

import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from prism_pl.runs import tracking
from prism_pl.runs.files import append_lines

_log = logging.getLogger(__name__)
_SUMMED_UP = ("heldout/", "convergence/")
"""Prefixes of the figures whose least and greatest values are of interest."""


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

    A run that resumes goes on with its W&B run. Beside the last value the summary has the least and the greatest of every
    held-out and convergence figure.

    Args:
        project: W&B project.
        mode: ``auto`` is ``online`` if a login is found, else ``offline``.
        name: of the run.
        group: of the run; a pipeline and a study give theirs by ``WANDB_RUN_GROUP``.
        save_dir: folder of the offline run; the run's folder if left out.
        run_dir: where the id of the W&B run is kept; the command line gives the run's folder.
    """

    def __init__(
        self,
        project: str = "prism_pl",
        mode: str = "auto",
        name: str | None = None,
        group: str | None = None,
        save_dir: str | None = None,
        run_dir: str | None = None,
    ) -> None:
        if mode == "auto":
            mode = tracking.mode()
        os.environ.setdefault("WANDB_SILENT", "true")
        folder = Path(save_dir or ".")
        super().__init__(project=project, name=name, group=group, save_dir=folder, offline=mode == "offline")
        # Lightning passes an option that wandb answers with a warning at every start.
        self._wandb_init.pop("anonymous", None)
        self._lost = False
        self._summed_up: set[str] = set()
        self._run_dir = None if run_dir is None else Path(run_dir)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._start()
        return super().experiment

    def _start(self) -> None:
        import wandb
        from wandb.errors import CommError

        # Now and not before: the folder of a finished run is set aside with its id when the next one begins.
        if self._run_dir is not None:
            self._wandb_init["id"] = tracking.kept_id(self._run_dir)
        try:
            _ = super().experiment
        except CommError as error:
            _log.warning("W&B cannot be reached (%s). This run is logged offline; send it later with `wandb sync`.", error)
            self._wandb_init["mode"] = "offline"
            self._offline = True
            # W&B's own process still holds the run's id, and would refuse it as in use.
            wandb.teardown()
            _ = super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        Path(self.save_dir or ".").mkdir(parents=True, exist_ok=True)
        log = super().log_metrics
        self.send(lambda: self._sum_up(metrics))
        self.send(lambda: log(metrics, step))

    def _sum_up(self, names: Iterable[str]) -> None:
        # Name by name: to wandb Lightning's pattern for all metrics comes before any other pattern.
        new = {name for name in names if name.startswith(_SUMMED_UP)} - self._summed_up
        for name in new:
            self.experiment.define_metric(name, step_metric="trainer/global_step", summary="last,min,max")
        self._summed_up |= new

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

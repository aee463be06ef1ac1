"""A progress bar that counts policy updates and shows the figures a person watches."""

import math
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class UpdateProgress(TQDMProgressBar):
    """On by itself in every run: ``updates 12/60``, the rate, and the module's ``watched`` metrics."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1)

    def init_train_tqdm(self) -> Tqdm:
        bar = super().init_train_tqdm()
        bar.set_description("updates")
        return bar

    def init_validation_tqdm(self) -> Tqdm:
        bar = super().init_validation_tqdm()
        bar.disable = True
        return bar

    def on_train_start(self, trainer: L.Trainer, *others: Any) -> None:
        super().on_train_start(trainer, *others)
        bar = self.train_progress_bar
        # The rate is that of this process, which may have resumed.
        bar.initial = bar.n = trainer.global_step
        total = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
        bar.total = int(total) if math.isfinite(total) else None

    def on_train_epoch_start(self, *_: Any) -> None:
        """One bar for the whole run: an epoch means nothing to a run that is measured in updates."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        bar = self.train_progress_bar
        bar.n = trainer.global_step
        bar.set_postfix({name: f"{value:.4g}" for name, value in trainer.progress_bar_metrics.items()})

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

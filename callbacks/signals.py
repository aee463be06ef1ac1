"""SIGTERM and SIGUSR1, by which a cluster takes its machines away: a checkpoint and the end, after the present batch."""

import logging
import signal
import threading
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class _Noted(_SignalConnector):
    """Only notes the signals. Lightning's own handlers talk to other ranks out of whatever these are doing, and under SLURM
    save a checkpoint that would be resumed from ever after."""

    asked: str | None = None
    """The signal that has come."""

    def register_signal_handlers(self) -> None:
        self.received_sigterm = False
        if threading.current_thread() is threading.main_thread():
            self._original_handlers = {number: signal.getsignal(number) for number in _SIGNALS}
            for number in _SIGNALS:
                signal.signal(number, self._note)

    def _note(self, number: int, _: Any) -> None:
        self.asked = signal.Signals(number).name


class EndWhenAsked(L.Callback):
    """On by itself in every run. One rank that has heard the signal is enough: all save and end together.

    The same command goes on from the next batch. The end is ``SIGTERMException``, which the command line turns into its
    exit code.
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._noted = trainer._signal_connector = _Noted(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self._heard(trainer):
            return
        # It is the last of all callbacks. Lightning ends the run after it.
        trainer.checkpoint_callback._every_n_train_steps = 1
        self._noted.received_sigterm = True
        if trainer.is_global_zero:
            _log.warning(
                "%s: the run saves update %d and ends; the same command goes on.",
                self._noted.asked or "a signal to another rank", trainer.global_step,
            )  # fmt: skip

    def _heard(self, trainer: Any) -> bool:
        heard = self._noted.asked is not None
        if trainer.world_size > 1:
            told = torch.tensor(float(heard), device=trainer.strategy.root_device)
            heard = bool(trainer.strategy.reduce(told, reduce_op="max"))
        return heard

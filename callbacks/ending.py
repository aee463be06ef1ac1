"""What a stage does last with its models: evaluate and export them."""

from typing import Any

import lightning as L


class LastWork(L.Callback):
    """Calls ``finish`` once, when the updates are done and the models are still where they were trained.

    Lightning's teardown frees GPU memory that an engine's captured graphs hold, and takes the models off a single GPU. So
    the last work is done before it, in ``on_train_end``. Lightning leaves that hook out when a resumed run has no update
    left to do; then ``on_fit_end`` serves, after the teardown, with an engine that nobody has started yet.
    """

    _finished = False

    def finish(self, trainer: Any, pl_module: Any) -> None:
        """The last work. All ranks call it."""
        raise NotImplementedError

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._finished = True
        self.finish(trainer, pl_module)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if not self._finished:
            trainer.strategy.model_to_device()
            self.on_train_end(trainer, pl_module)

"""What strategies have in common that use Lightning's DDP for its processes, and exchange gradients in their own way."""

from datetime import timedelta
from typing import Any

from lightning.pytorch.strategies import DDPStrategy

from prism_pl.ranges import PositiveFloat
from prism_pl.ranks import check_collectives


class PlainStrategy(DDPStrategy):
    """Starts the processes and counts the steps, under fp32.

    Args:
        time_limit: seconds that a rank waits for another one; ten rounds of resampling must fit in.
    """

    holds_stages, computes_in_bf16 = True, False
    """What the command line asks of a strategy."""

    def __init__(self, time_limit: PositiveFloat = 7200.0, **kwargs: Any) -> None:
        super().__init__(timeout=timedelta(seconds=time_limit), **kwargs)
        self.time_limit = time_limit
        self._is_set_up = False

    def setup_environment(self) -> None:
        # The command line asks for it before the trainer does: the ranks have to agree on a checkpoint.
        if not self._is_set_up:
            check_collectives()
            super().setup_environment()
            self._is_set_up = True

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        # All ranks: writing is a collective.
        self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options=storage_options)

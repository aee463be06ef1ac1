"""What other libraries say at every start, and who hears it: nobody."""

import logging
import sys
import warnings

# Lines that other libraries print at every start and that no user can act on.
_NOISE = (
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*reduce_op.*",
    ".*does not have many workers.*",
    ".*module\\(s\\) in eval mode.*",
    ".*overridden `transfer_batch_to_device`.*",
    ".*pin_memory.*",
    ".*ModelCheckpoint with manual optimization.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    # True of other loaders; ours goes on at the right row (datamodules/order.py).
    ".*resuming from a checkpoint that ended before the epoch.*",
)
_LOGGED_NOISE = (
    ("lightning.pytorch.utilities.rank_zero", "Tip"),
    # fsdp2 computes in bf16 without autocast, and nothing else may.
    ("lightning.pytorch.utilities.rank_zero", "Automatic Mixed Precision"),
    ("DeepSpeed", "Setting accelerator to CPU"),
)


def quieten() -> None:
    """Our own warnings as plain lines, and none of these."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for pattern in _NOISE:
        warnings.filterwarnings("ignore", message=pattern)
    for logger, line in _LOGGED_NOISE:
        logging.getLogger(logger).addFilter(_Without(line))
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()


class _Without(logging.Filter):
    """Drops the records that contain a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def filter(self, record: logging.LogRecord) -> bool:
        return self.text not in record.getMessage()

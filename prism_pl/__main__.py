"""``python -m prism_pl``: the one place that knows all packages; it hands their classes to the command line by import."""

import callbacks
import datamodules  # noqa: F401 (imported so that class_path accepts short names)
import modules  # noqa: F401
from prism_pl.cli import main
from prism_pl.model.allocator import keep_freed_memory

if __name__ == "__main__":
    keep_freed_memory()
    main(always_on=[callbacks.RunFolder, callbacks.UpdateProgress], metrics_logger=callbacks.JsonlLogger)

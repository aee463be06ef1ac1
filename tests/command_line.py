"""The command line, in the process of the test."""

import sys

import callbacks
import datamodules  # noqa: F401 (imported so that class_path accepts short names)
import modules  # noqa: F401
from prism_pl.cli import main


def run(*arguments: str) -> int:
    """``python -m prism_pl`` with these arguments; the exit code."""
    saved = sys.argv
    sys.argv = ["prism_pl", *arguments]
    try:
        main(always_on=[callbacks.RunFolder], metrics_logger=callbacks.JsonlLogger)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = saved
    return 0

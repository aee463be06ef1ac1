"""``python -m prism_pl``: the one place that knows all packages; it hands their classes to the command line by import."""

import sys

from prism_pl.command_line.front import run


def _stage_command(name: str, arguments: list[str]) -> None:
    """``fit``, ``plan`` or ``check-data``. Only these wait for the trainer and its packages."""
    import callbacks
    import datamodules  # noqa: F401 (imported so that class_path accepts short names)
    import modules  # noqa: F401
    from prism_pl.cli import stage_command
    from prism_pl.model.allocator import keep_freed_memory

    keep_freed_memory()
    always_on = [callbacks.RunFolder, callbacks.EndWhenAsked, callbacks.UpdateProgress]
    stage_command(name, arguments, always_on, callbacks.JsonlLogger)


if __name__ == "__main__":
    run(sys.argv[1:], _stage_command)

"""``fit``, ``plan`` and ``check-data`` through LightningCLI. The only Lightning imports of the package."""

from prism_pl.cli.commands import main, stage_command, with_own_defaults
from prism_pl.cli.fit import PrismCLI

__all__ = ["PrismCLI", "main", "stage_command", "with_own_defaults"]

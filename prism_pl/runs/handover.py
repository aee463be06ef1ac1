"""What a finished stage gives to later ones, by the folder that it left."""

import json
from pathlib import Path

FILTER_SETTINGS = "filter.json"
"""Written by ``filter``; ``written`` among the settings holds the further keys of the data source."""
KEPT = "kept.parquet"
"""The prompts that it kept."""


def handed_over(folder: Path) -> str:
    """The value of a later stage's key, as the command line takes it.

    A ``filter`` gives its kept prompts as a data source, with the folder of their images; any other stage its ``model/``.
    """
    settings = folder / FILTER_SETTINGS
    if not settings.exists():
        return str(folder / "model")
    return json.dumps({"path": str(folder / KEPT), **json.loads(settings.read_text(encoding="utf-8"))["written"]})

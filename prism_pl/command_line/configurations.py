"""The configurations of ``configs/``: found by bare names, and read without knowing any class."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from prism_pl.errors import UserError, nearest

FOLDER = Path(__file__).parents[2] / "configs"
_FLAGS = ("--config", "-c")


def with_config_folder(arguments: list[str]) -> list[str]:
    """A bare configuration name is looked up in the current folder, then in ``configs/``.

    Raises UserError if it is in neither.
    """
    result = list(arguments)
    for index, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in _FLAGS and equals:
            result[index] = f"{flag}={_find(value)}"
        elif index and arguments[index - 1] in _FLAGS:
            result[index] = _find(argument)
    return result


def given_configs(arguments: list[str]) -> list[Path]:
    """The configuration files of a command line that went through ``with_config_folder``."""
    joined = [argument.partition("=")[2] for argument in arguments if argument.partition("=")[0] in _FLAGS]
    return [
        Path(name) for name in [*filter(None, joined), *(after for flag, after in pairwise(arguments) if flag in _FLAGS)]
    ]


def known_configs() -> list[str]:
    """Names in ``configs/``."""
    return sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.yaml"))


def stage_configs() -> list[str]:
    """Of these the ones that ``fit`` takes."""
    return [name for name in known_configs() if "trainer" in read_config(FOLDER / name)]


def read_config(file: Path) -> dict[str, Any]:
    """Raises UserError for a file that is no mapping in YAML."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"--config: {file} is no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise UserError(f"--config: {file} holds no keys.")
    return content


def settings(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key as the command line spells it, and its value.

    >>> dict(settings({"model": {"class_path": "A", "init_args": {"size": 1}}}))
    {'model': 'A', 'model.size': 1}
    """
    for key, value in content.items():
        if isinstance(value, dict) and "class_path" in value:
            yield f"{prefix}{key}", value["class_path"]
            value = value.get("init_args") or {}
        if isinstance(value, dict):
            yield from settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _find(name: str) -> str:
    for path in (Path(name), FOLDER / name):
        if path.is_file():
            return str(path)
    known = known_configs()
    raise UserError(
        f"--config: {name} is neither in the current folder nor in configs/, which holds {', '.join(known)}."
        f"{nearest(name, known)}"
    )

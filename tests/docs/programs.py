"""The program's own parsers, for command lines and keys that pages name. Nothing is built or run."""

import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

import callbacks
import datamodules  # noqa: F401 (imported so that class_path accepts short names)
import modules  # noqa: F401
from prism_pl import algorithms, rewards
from prism_pl.cli.commands import PlanCLI, _check_options, _parse, with_own_defaults
from prism_pl.command_line.catalogue import find_command
from prism_pl.command_line.configurations import with_config_folder
from prism_pl.command_line.front import parse
from prism_pl.command_line.outline import options
from prism_pl.commands.plan import plan_arguments, preset_configs
from prism_pl.errors import UserError


def check(arguments: list[str]) -> None:
    """Raises UserError for what ``python -m prism_pl`` with these arguments would not understand."""
    if arguments in ([], ["--help"]):
        return
    name, *rest = arguments
    command = find_command(name)
    if "--help" in rest:
        return
    if command.function is not None:
        parse(command, with_config_folder(rest))
        return
    if name == "plan":
        _, table, _, rest = plan_arguments(rest)
        if table is not None:
            assert preset_configs(table)
            return
    if name == "check-data":
        _, rest = _check_options(rest)
    parse_stage(rest)


def parse_stage(arguments: list[str]) -> Namespace:
    """The complete configuration of a ``fit``. Raises UserError for a mistake."""
    # Found first: in another folder the same name is another file.
    return _parsed(*with_config_folder(arguments))


@cache
def _parsed(*arguments: str) -> Namespace:
    # Pages name the same stage for ``fit`` and ``plan``.
    try:
        return stage_parser().parse_args(with_own_defaults([*arguments]))
    except ArgumentError as error:
        raise UserError(" ".join(str(error).split())) from error


@cache
def stage_parser() -> ArgumentParser:
    """``fit``'s, made once: that takes longer than parsing with it."""
    saved = sys.argv
    try:
        return _parse(PlanCLI, with_config_folder(["--config", "sft.yaml"]), [], callbacks.JsonlLogger)._parser("fit")
    finally:
        sys.argv = saved


@cache
def keys(owner: str) -> frozenset[str]:
    """Every key of a command, or of the stage that a configuration starts, as the command line spells it.

    What a list of the configuration holds stands under its class: ``RolloutCallback.sampling.group_size``.
    """
    if not owner.endswith(".yaml"):
        function = find_command(owner).function
        assert function is not None
        return frozenset(option.name for option in options(function))
    # Groups that are null, or a single text, if nothing is said.
    spelt_out = ["--data.path", "{path: mine.parquet}"]
    spelt_out += [] if owner == "warmup.yaml" else ["--model.policy.lora", "{rank: 16, alpha: 32}"]
    config = parse_stage(["--config", owner, *spelt_out])
    found = set(_keys(yaml.safe_load(stage_parser().dump(config, skip_none=False)), ""))
    for package in (algorithms, rewards):
        for name in package.__all__:
            found |= {f"{name}.{field}" for field in getattr(getattr(package, name), "__dataclass_fields__", {})}
    return frozenset(found)


def _keys(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in (value.get("init_args") or {} if "class_path" in value else value).items():
            yield f"{prefix}{key}"
            yield from _keys(inner, f"{prefix}{key}.")
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and "class_path" in item:
                name = item["class_path"].rsplit(".", 1)[-1]
                yield name
                yield from _keys(item, f"{name}.")

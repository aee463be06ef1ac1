"""The way of a command line: help at once, else the command's function, and every mistake as one paragraph."""

import importlib
import json
import sys
from collections.abc import Callable
from itertools import takewhile
from typing import Any, get_type_hints

from prism_pl.command_line.catalogue import Command, find_command
from prism_pl.command_line.configurations import with_config_folder
from prism_pl.command_line.pages import overview, page
from prism_pl.errors import UserError, wrapped_mistake

StageCommand = Callable[[str, list[str]], None]
"""``fit``, ``plan`` or ``check-data`` with its arguments: those that know the trainer."""
_HELP = ("-h", "--help")


def run(arguments: list[str], stage_command: StageCommand) -> None:
    """Exits with 2 after a mistake that the user can mend."""
    try:
        _run(arguments, stage_command)
    except UserError as error:
        # An error of a data worker arrives as its traceback; its last paragraph is the message.
        message = str(error).rsplit("UserError: ", 1)[-1].strip()
        print(f"\nerror: {message}", file=sys.stderr)
        raise SystemExit(2) from None


def _run(arguments: list[str], stage_command: StageCommand) -> None:
    if not arguments or arguments[0] in _HELP:
        print(overview())
        return
    command, options = find_command(arguments[0]), with_config_folder(arguments[1:])
    if any(option in _HELP for option in options):
        print(page(command, options))
        return
    options = ["--help" if option == "--help-all" else option for option in options]
    if command.function is None:
        stage_command(command.name, options)
    else:
        _call(command, options)


def _call(command: Command, arguments: list[str]) -> None:
    """A command whose options are a function's parameters."""
    from prism_pl.command_line.noise import quieten
    from prism_pl.model.allocator import keep_freed_memory

    keep_freed_memory()
    quieten()
    load(command)(**parse(command, arguments))


def parse(command: Command, arguments: list[str]) -> dict[str, Any]:
    """The values of its function's parameters. Raises UserError for a mistake in the arguments."""
    from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

    from prism_pl.command_line.kinds import class_bases
    from prism_pl.command_line.mistakes import explain
    from prism_pl.command_line.swapping import with_own_defaults

    # Field docstrings are the help text of dataclass options.
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    function = load(command)
    parser = ArgumentParser(prog=f"python -m prism_pl {command.name}", exit_on_error=False, description=command.about)
    if command.configurable:
        parser.add_argument("--config", action="config", help="A YAML file with the keys below.")
    parser.add_function_arguments(function, fail_untyped=False)
    arguments = _with_flag(command, arguments)
    bases = [base for hint in get_type_hints(function).values() for base in class_bases(hint) if base.__subclasses__()]
    try:
        config = parser.instantiate(parser.parse_args(with_own_defaults(arguments, bases)))
    except ArgumentError as error:
        raise UserError(explain(parser, arguments, error)) from error
    except ValueError as error:
        if (mistake := wrapped_mistake(error)) is not None:
            raise mistake from error
        raise
    return {key: value for key, value in config.items() if key != "config"}


def _with_flag(command: Command, arguments: list[str]) -> list[str]:
    """The words before the first flag as the value of the option that takes them."""
    words = list(takewhile(lambda word: not word.startswith("-"), arguments)) if command.positional else []
    return [f"--{command.positional}={json.dumps(words)}", *arguments[len(words) :]] if words else arguments


def load(command: Command) -> Callable[..., Any]:
    """The function of a command that has one, imported now."""
    assert command.function is not None
    module, _, name = command.function.partition(":")
    return getattr(importlib.import_module(module), name)

"""Why a command line does not parse, in one paragraph: the key, what is wrong with it, and what would be right.

jsonargparse names the innermost problem inside the problems of every class and union around it. Here the settings, in the
files and on the command line, are merged without types and then compared with the parser's, from the outside to the inside;
the first that does not fit is the mistake. Nothing is refused here: it is asked only after jsonargparse has refused.
"""

import importlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, get_origin

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from prism_pl.command_line.configurations import given_configs, read_config
from prism_pl.command_line.kinds import class_bases, in_words, is_plain, item_hints, known_classes
from prism_pl.errors import nearest

_Hints = dict[str, Any]


def explain(parser: ArgumentParser, arguments: Sequence[str], error: Exception) -> str:
    """The mistake in one paragraph; jsonargparse's own words where the comparison finds none."""
    if any(argument.partition("=")[0].endswith(".help") for argument in arguments):
        return _own_words(error)
    merged: dict[str, Any] = {}
    for file in given_configs(list(arguments)):
        _merge(merged, read_config(file))
    for key, value in _settings_of(arguments):
        _set(merged, key.split("."), value)
    mistake = _in_group(_hints(parser), merged, "", "the command") or _missing(parser, merged)
    return mistake or _own_words(error)


def _own_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    if found := re.search(r"class_path '([\w.]+)': the following arguments are required: (\w+)", text):
        return f"{found[2]}: {found[1]} requires it, and neither the command line nor a configuration gives it."
    return text


def _missing(parser: ArgumentParser, values: dict[str, Any], name: str = "", key: str = "") -> str | None:
    """The first required key that is not given; of a class called ``name``, with the lines that would be right."""
    required = {action.dest: _given(values, action.dest) for action in parser._actions if action.required}
    first = next((dest for dest, value in required.items() if value is None), None)
    if first is None:
        return None
    text = f"{key and f'{key}.'}{first}: it is required, and given neither on the command line nor in a configuration."
    if not name:
        return text
    lines: dict[str, Any] = {}
    for dest, value in required.items():
        _set(lines, dest.split("."), dest.rpartition(".")[2].upper() if value is None else value)
    shown = yaml.safe_dump(
        {"class_path": name, "init_args": lines}, default_flow_style=True, sort_keys=False, width=math.inf
    )
    return f"{text} {name} takes at least `{shown.strip()}`."


def _given(values: Any, dest: str) -> Any:
    for name in dest.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _settings_of(arguments: Sequence[str]) -> list[tuple[str, Any]]:
    """Keys and values of a command line, flags and configurations left out."""
    found = []
    for argument, after in zip(arguments, [*arguments, "--"][1:], strict=True):
        key, equals, value = argument.partition("=")
        if key.startswith("--") and key != "--config" and (equals or after[:2] != "--"):
            found.append((key[2:], _value(value if equals else after)))
    return found


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _merge(into: dict[str, Any], content: dict[str, Any]) -> None:
    for key, value in content.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _set(into: dict[str, Any], path: list[str], value: Any) -> None:
    """Sets a key as the command line spells it: a class's options follow its name without ``init_args``."""
    name, *rest = path
    if name not in into and name not in ("class_path", "init_args") and "class_path" in into:
        into["init_args"] = into.get("init_args") or {}
        _set(into["init_args"], path, value)
    elif name.endswith("+"):
        before = into.get(name[:-1])
        into[name[:-1]] = [*(before if isinstance(before, list) else []), value]
    elif not rest:
        into[name] = value
    else:
        # Options after a list are its last item's.
        listed = isinstance(into.get(name), list) and into[name]
        inner = into[name][-1] if listed else into.get(name)
        inner = inner if isinstance(inner, dict) else {"class_path": inner} if isinstance(inner, str) else {}
        _set(inner, rest, value)
        into[name] = [*into[name][:-1], inner] if listed else inner


def _hints(parser: ArgumentParser) -> _Hints:
    """What each option takes; those that only print something take nothing."""
    hints = {action.dest: getattr(action, "_typehint", action.type) for action in parser._actions}
    return {name: hint for name, hint in hints.items() if hint is not None and not name.endswith(".help")}


def _in_group(hints: _Hints, values: dict[str, Any], prefix: str, owner: str) -> str | None:
    for key, value in values.items():
        inner = {name.removeprefix(f"{key}."): hint for name, hint in hints.items() if name.startswith(f"{key}.")}
        if key not in hints and not inner:
            known = sorted({name.split(".")[0] for name in hints})
            return f"{prefix}{key}: {owner} has no such key.{nearest(str(key), known)} It takes {', '.join(known)}."
        if inner and not isinstance(value, (dict, type(None))) and "class_path" not in inner and key not in hints:
            names = sorted({name.split(".")[0] for name in inner})
            return f"{prefix}{key}: it is {value!r}, but it is a group of keys: {', '.join(names)}."
        if inner and isinstance(value, dict):
            mistake = _in_group(inner, value, f"{prefix}{key}.", f"{prefix}{key}")
        else:
            mistake = _in_value(hints.get(key), value, f"{prefix}{key}")
        if mistake:
            return mistake
    return None


def _in_value(hint: Any, value: Any, key: str) -> str | None:
    if hint is None or _fits(hint, value):
        return None
    if isinstance(value, list):
        for item in item_hints(hint):
            mistakes = (_in_value(item, part, f"{key}[{index}]") for index, part in enumerate(value))
            if found := next(filter(None, mistakes), None):
                return found
    for base in class_bases(hint):
        if isinstance(value, str) or (isinstance(value, dict) and ("class_path" in value or is_plain(base))):
            return _in_class(hint, base, value, key)
        if isinstance(value, dict):
            return f"{key}: options are given, but no class. Name it first; known are {', '.join(known_classes(base))}."
    if isinstance(value, dict):
        return f"{key}: it has no keys of its own, and must be {in_words(hint)}."
    return f"{key}: it is {value!r}, and must be {in_words(hint)}."


def _in_class(hint: Any, base: type, value: str | dict[str, Any], key: str) -> str | None:
    given: dict[str, Any] = {"class_path": value} if isinstance(value, str) else value
    name = str(given.get("class_path", base.__name__))
    known = known_classes(base)
    chosen = known.get(name) or _imported(name)
    if chosen is None:
        similar = nearest(name.rpartition(".")[2], list(known))
        return f"{key}: there is no class {name}.{similar} Known are {', '.join(known)}."
    beside = next(iter(given.keys() - {"class_path", "init_args", "dict_kwargs"} if "class_path" in given else ()), None)
    if beside is not None:
        return f"{key}.{beside}: options of {chosen.__name__} belong under init_args, beside class_path."
    options = given.get("init_args") or {} if "class_path" in given else given
    if not isinstance(options, dict):
        return f"{key}.init_args: it is {options!r}, and must be a mapping."
    parser = ArgumentParser(exit_on_error=False)
    # A class to be called later gets its first argument then.
    called = get_origin(hint) is Callable
    parser.add_class_arguments(chosen, fail_untyped=False, skip={1} if called else None)
    mistake = _in_group(_hints(parser), options, f"{key}.", chosen.__name__)
    # What a stage's data lacks may come from its model, by a link.
    return mistake or (None if key == "data" else _missing(parser, options, "" if is_plain(base) else name, key))


def _imported(name: str) -> type | None:
    module, _, last = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), last, None) if module else None
    except (ImportError, ValueError):
        return None
    return found if isinstance(found, type) else None


def _fits(hint: Any, value: Any) -> bool:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        parser.parse_object({"value": value})
    except (ArgumentError, TypeError, ValueError):
        return False
    return True

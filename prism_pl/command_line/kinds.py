"""What an option takes, in words, and the classes that it may name."""

import inspect
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null", dict: "a mapping",
}  # fmt: skip
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def in_words(hint: Any) -> str:
    """What a value must be.

    >>> from prism_pl.ranges import Share
    >>> in_words(Share | None)
    'a number of at least 0 and at most 1, or null'
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [
            f"{word} {getattr(mark, name)}" for mark in inner[1:] for name, word in _BOUNDS.items() if hasattr(mark, name)
        ]
        return f"{in_words(inner[0])} of {' and '.join(bounds)}"
    if origin in (Union, types.UnionType):
        return ", or ".join(map(in_words, inner))
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (list, tuple):
        return f"a list, each {in_words(inner[0])}" if inner else "a list"
    if isinstance(origin or hint, type):
        return _WORDS.get(origin or hint, f"a {getattr(origin or hint, '__name__', 'value')}")
    return str(hint)


def class_bases(hint: Any) -> Iterator[type]:
    """The classes whose subclasses, or whose fields, the option takes; of an ``OptimizerCallable`` the optimizer's."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from class_bases(inner[0])
    elif origin in (Union, types.UnionType):
        for part in inner:
            yield from class_bases(part)
    elif origin is Callable:
        yield from class_bases(inner[-1])
    elif isinstance(hint, type) and hint.__module__ != "builtins":
        yield hint


def item_hints(hint: Any) -> Iterator[Any]:
    """What a list in this place holds."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for part in inner:
            yield from item_hints(part)
    elif isinstance(origin, type) and not issubclass(origin, str) and inner and hasattr(origin, "__iter__"):
        yield inner[0]


def known_classes(base: type) -> dict[str, type]:
    """The concrete, public classes below ``base`` that are imported, by name; ``base`` alone if there is none."""
    concrete = {cls.__name__: cls for cls in _below(base) if not inspect.isabstract(cls) and _is_exported(cls)}
    return dict(sorted(concrete.items())) or {base.__name__: base}


def _below(base: type) -> Iterator[type]:
    own: list[type] = base.__subclasses__()
    for cls in own:
        yield cls
        yield from _below(cls)


def is_plain(base: type) -> bool:
    """True for a dataclass that is a group of options, not a choice of classes."""
    return is_dataclass(base) and not base.__subclasses__()


def _is_exported(cls: type) -> bool:
    """A class that its package does not name, such as a shared base, is not for configurations."""
    package = sys.modules.get(cls.__module__.rpartition(".")[0] or cls.__module__)
    return not cls.__name__.startswith("_") and hasattr(package, cls.__name__)

"""A class named on the command line starts from its own defaults, not from those of the class before."""

from collections.abc import Sequence
from dataclasses import fields


def with_own_defaults(arguments: list[str], swappable: Sequence[type], nested: tuple[type, ...] = ()) -> list[str]:
    """Makes jsonargparse forget the class before, where an argument names a subclass of a ``swappable`` one.

    It keeps every value of the class before that the new one also accepts (its issue 460): GRPO's clip range would end up
    in GSPO. Setting the key to null first is the way to forget them. A class within a class (``nested``) takes no null;
    there the new class's defaults are spelt out.
    """
    result: list[str] = []
    known = _subclasses(swappable)
    for index, argument in enumerate(arguments):
        key, equals, value = argument.partition("=")
        value = value if equals else "".join(arguments[index + 1 : index + 2])
        key, chosen = key.removesuffix(".class_path"), known.get(value.rsplit(".", 1)[-1])
        if not key.startswith("--") or chosen is None:
            result.append(argument)
        elif issubclass(chosen, nested):
            options = [field for field in fields(chosen) if field.default is not None]  # type: ignore[arg-type]
            result += [f"{key}={value}", *(f"{key}.{field.name}={field.default}" for field in options)]
        else:
            result += [f"{key}=null", argument]
    return result


def _subclasses(bases: Sequence[type]) -> dict[str, type]:
    """All subclasses by name."""
    found: dict[str, type] = {}
    for base in bases:
        own: list[type] = base.__subclasses__()
        found |= {cls.__name__: cls for cls in own} | _subclasses(own)
    return found

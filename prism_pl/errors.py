"""The one exception for mistakes a user can mend: the command line prints it as a paragraph, without a traceback."""

from collections.abc import Sequence
from difflib import get_close_matches
from reprlib import Repr


class UserError(Exception):
    """Names what is wrong (key, file, row) and the fix, in one paragraph."""


def wrapped_mistake(error: BaseException | None) -> UserError | None:
    """The ``UserError`` that a library has wrapped in errors of its own, as jsonargparse does for an optional class."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def nearest(name: str, known: Sequence[str]) -> str:
    """A sentence with the most similar name; nothing if none is similar.

    >>> nearest("clip_lo", ["clip_low", "kl_weight"])
    ' Did you mean clip_low?'
    """
    lowered = {other.lower(): other for other in known}
    longer = [other for other in lowered if other.startswith(name.lower())]
    found = get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5) or longer
    return f" Did you mean {lowered[found[0]]}?" if found else ""


_MOST_SHOWN = 200
_Shortened = Repr()
_Shortened.maxstring = _Shortened.maxother = _MOST_SHOWN
_Shortened.maxlevel = 3


def shown(value: object) -> str:
    """A value of the user's data for an error: as Python writes it, at most 200 characters.

    >>> shown("3"), len(shown("3" * 100_000))
    ("'3'", 200)
    """
    return cut(_Shortened.repr(value))


def cut(text: str) -> str:
    """The first 200 characters of a text for an error.

    >>> cut("short")
    'short'
    """
    # A lone surrogate could not be printed.
    text = text[: _MOST_SHOWN + 1].encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."

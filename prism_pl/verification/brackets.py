"""What brackets enclose: members of lists and tuples, cells of matrices, and thousands separators that no bracket holds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_OPENING, _CLOSING = "([{", ")]}"
_THOUSANDS = re.compile(
    r"(?<![\d.,\w])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)|(?<![\d.,\w] )(?<![\d.,\w])\d{1,3}(?: \d{3})+(?![\d/]| \d)"
)
_ARGUMENT = re.compile(r"(?:[\^_}\]]|\\[a-zA-Z]+)\s*$")
_SEPARATOR = re.compile(r"\s*(?:[,;]\s*(?:and|or)\b|[,;]|(?<![\w\\])(?:and|or)(?!\w))\s*")
_ENVIRONMENT = re.compile(r"\\begin\s*\{(\w+)\}(.*)\\end\s*\{(\w+)\}", re.DOTALL)
_PAIRS = (("(", ")"), ("(", "]"), ("[", ")"), ("[", "]"), (r"\{", r"\}"), ("{", "}"), (r"\langle", r"\rangle"))


def _depths(text: str) -> Iterator[tuple[int, str, int]]:
    """Position, character and how many brackets are open around it."""
    depth = 0
    for position, character in enumerate(text):
        depth -= character in _CLOSING
        yield position, character, depth
        depth += character in _OPENING


def balanced(text: str) -> bool:
    """True if no bracket closes that did not open and none stays open. Kinds may differ, as in [0, 5)."""
    return (
        all(depth >= 0 for _, _, depth in _depths(text))
        and sum((character in _OPENING) - (character in _CLOSING) for character in text) == 0
    )


def nesting(text: str) -> int:
    """The deepest nesting of brackets."""
    return max((depth for _, _, depth in _depths(text)), default=0)


def join_thousands(text: str) -> str:
    """1,234,567 and 1 234 567 to 1234567, but never inside a bracket: (0,180) is a pair. A LaTeX argument is no bracket."""
    enclosed, stack = [], list[bool]()
    for position, character in enumerate(text):
        if character in _CLOSING and stack:
            stack.pop()
        enclosed.append(any(stack))
        if character in _OPENING:
            is_argument = character == "{" and _ARGUMENT.search(text[max(0, position - 20) : position]) is not None
            stack.append(not is_argument)
    return _THOUSANDS.sub(lambda m: m[0] if enclosed[m.start()] else re.sub("[, ]", "", m[0]), text)


@dataclass(frozen=True)
class Members:
    """The members of a list and what stands between them."""

    parts: list[str]
    words: frozenset[str]
    """Which of ``and``, ``or`` are among the separators."""


def split_members(text: str) -> Members:
    """Split at commas, semicolons, ``and`` and ``or`` that no bracket encloses.

    >>> split_members("1, (2, 3) and 4").parts
    ['1', '(2, 3)', '4']
    """
    # Of the same length as the text: what brackets enclose is hidden.
    outside = "".join(character if depth == 0 else "\0" for _, character, depth in _depths(text))
    parts, words, start = [], set[str](), 0
    for match in _SEPARATOR.finditer(outside):
        parts.append(text[start : match.start()])
        words |= {word for word in ("and", "or") if word in match[0]}
        start = match.end()
    parts.append(text[start:])
    return Members([part.strip() for part in parts if part.strip()], frozenset(words))


def split_at_semicolons(text: str) -> list[str]:
    """The groups of a list, split at semicolons that no bracket encloses.

    >>> split_at_semicolons("1, 2; (3; 4), 5")
    ['1, 2', '(3; 4), 5']
    """
    cuts = [-1, *(at for at, character, depth in _depths(text) if character == ";" and depth == 0), len(text)]
    return [text[start + 1 : end].strip() for start, end in pairwise(cuts)]


def enclosure(text: str) -> tuple[tuple[str, str], str] | None:
    """The brackets around a whole text, and what they enclose; None if the first does not close at the end.

    >>> enclosure("[0, 5)"), enclosure("(1)(2)")
    ((('[', ')'), '0, 5'), None)
    """
    for left, right in _PAIRS:
        if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right):
            inner = text[len(left) : -len(right)]
            # A backslash that is left over belongs to the closing bracket: \{1\}.
            if balanced(inner) and not inner.endswith("\\"):
                return (left, right), inner.strip()
    return None


def matrix_rows(text: str) -> tuple[str, list[list[str]]] | None:
    """Name and cells of a LaTeX environment that is the whole text, or None.

    >>> matrix_rows(r"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}")
    ('pmatrix', [['1', '2'], ['3', '4']])
    """
    whole = _ENVIRONMENT.fullmatch(text)
    if whole is None or whole[1] != whole[3] or r"\begin" in whole[2]:
        return None
    rows = [[cell.strip() for cell in row.split("&")] for row in re.split(r"\\\\", whole[2])]
    # A break behind the last row makes no further one.
    return whole[1], rows[:-1] if rows[-1] == [""] and len(rows) > 1 else rows

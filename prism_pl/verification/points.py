"""Points: values that belong together, whether brackets, names or semicolons hold them together.

(5, 2), (7, 2)        p = 5, q = 2; p = 7, q = 2        x = 5, y = 2 or x = 7, y = 2        5, 2; 7, 2
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from prism_pl.verification.brackets import enclosure, split_at_semicolons, split_members
from prism_pl.verification.relations import named

Same = Callable[[str, str], bool]
Item = TypeVar("Item")

_COORDINATES = (("x", "y"), ("x", "y", "z"))
"""Names whose order in brackets needs no saying."""
_PLAIN_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\\frac\{\d+\}\{\d+\}|\d+/\d+)")


@dataclass(frozen=True)
class Points:
    """Points with equally many values each."""

    values: list[list[str]]
    names: tuple[str, ...] | None
    """Of the values, in their order; None if they are not named."""
    is_said: bool
    """Whether brackets say that these are points: (5, 2), and not x = 5, y = 2."""

    def equals(self, true: "Points", same: Same) -> bool:
        """In any order, each said as often as one likes.

        Names that only one side has must leave no doubt which value comes first.
        """
        said = self
        if said.names is not None and true.names is not None:
            if sorted(said.names) != sorted(true.names):
                return False
            said = said.ordered(true.names)
        elif said.names is not None and not said.is_said:
            names = tuple(sorted(said.names))
            if names not in _COORDINATES:
                return False
            said = said.ordered(names)
        elif true.names is not None and not true.is_said and list(true.names) != sorted(true.names):
            return False

        def alike(a: list[str], b: list[str]) -> bool:
            return len(a) == len(b) and all(map(same, a, b))

        own = without_repeats(said.values, alike) if len(said.values) > len(true.values) else said.values
        return one_to_one(own, true.values, alike)

    def ordered(self, names: tuple[str, ...]) -> "Points":
        """With the values in the order of ``names``."""
        assert self.names is not None
        order = [self.names.index(name) for name in names]
        return Points([[point[index] for index in order] for point in self.values], names, self.is_said)


def one_to_one(said: list[Item], true: list[Item], same: Callable[[Item, Item], bool]) -> bool:
    """In any order."""
    if len(said) != len(true):
        return False
    left = list(true)
    for part in said:
        match = next((index for index, other in enumerate(left) if same(part, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def without_repeats(items: list[Item], same: Callable[[Item, Item], bool]) -> list[Item]:
    """Each once."""
    kept = list[Item]()
    for item in items:
        if not any(same(item, other) for other in kept):
            kept.append(item)
    return kept


def read_points(text: str) -> Points | None:
    """From a canonical text that is nothing but points; None for anything else, such as a list of numbers.

    >>> read_points("x=1, y=2 or x=3, y=4").values, read_points("1, 2; 3, 4").values, read_points("1, 2, 3")
    ([['1', '2'], ['3', '4']], [['1', '2'], ['3', '4']], None)
    """
    return _assigned(text) or _bracketed(text) or _grouped(text)


def _assigned(text: str) -> Points | None:
    """``x=1, y=2`` and its repetitions: the same names in each."""
    pairs = [named(part) for part in split_members(text).parts]
    if len(pairs) < 2 or any(pair is None or len(pair[1]) != 1 for pair in pairs):
        return None
    names = [pair[0] for pair in pairs if pair]
    values = [pair[1][0] for pair in pairs if pair]
    size = len(set(names))
    blocks = [names[start : start + size] for start in range(0, len(names), size)]
    if size < 2 or any(sorted(block) != sorted(blocks[0]) for block in blocks):
        return None
    own = [
        [values[start + block.index(name)] for name in blocks[0]]
        for start, block in zip(range(0, len(names), size), blocks, strict=True)
    ]
    return Points(own, tuple(blocks[0]), is_said=False)


def _bracketed(text: str) -> Points | None:
    """``(1, 2)``, ``(x, y) = (1, 2) or (3, 4)``."""
    names, points = None, list[list[str]]()
    for index, part in enumerate(split_members(text).parts):
        pair = named(part)
        if pair is not None and (len(pair[1]) != 1 or not (brackets := enclosure(pair[0])) or brackets[0] != ("(", ")")):
            return None
        if pair is not None:
            own = tuple(split_members(enclosure(pair[0])[1]).parts)  # type: ignore[index]
            if (index and names is None) or (names is not None and own != names):
                return None
            names = own
        brackets = enclosure(pair[1][0] if pair else part)
        if brackets is None or brackets[0] != ("(", ")"):
            return None
        points.append(split_members(brackets[1]).parts)
    sizes = {len(point) for point in points} | ({len(names)} if names else set())
    return Points(points, names, is_said=True) if len(sizes) == 1 and sizes.pop() > 1 else None


def _grouped(text: str) -> Points | None:
    """``1, 2; 3, 4``: a semicolon parts what commas hold together."""
    groups = [split_members(group).parts for group in split_at_semicolons(text)]
    sizes = {len(group) for group in groups}
    return Points(groups, None, is_said=False) if len(groups) > 1 and len(sizes) == 1 and sizes.pop() > 1 else None


def is_bare_tuple(said: list[str], true: list[str]) -> bool:
    """Whether ``true``, the numbers of a tuple in round brackets, can be meant by a list without them: there are more than
    two, or they fall, so that they are no interval.

    >>> is_bare_tuple(["3", "-1"], ["3", "-1"]), is_bare_tuple(["1", "3"], ["1", "3"])
    (True, False)
    """
    if len(said) != len(true) or not all(map(_PLAIN_NUMBER.fullmatch, (*said, *true))):
        return False
    return len(true) > 2 or (len(true) == 2 and _value(true[0]) > _value(true[1]))


def _value(number: str) -> float:
    top, _, bottom = re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", number).partition("/")
    return float(top) / float(bottom or 1) if float(bottom or 1) else 0.0

"""Matrices cell by cell, tuples in their order, points by their values, lists one to one; what a member is, others say."""

import re

from prism_pl.verification.brackets import balanced, enclosure, matrix_rows, split_members
from prism_pl.verification.phrases import has_words
from prism_pl.verification.points import Same, is_bare_tuple, one_to_one, read_points
from prism_pl.verification.relations import belongs, named

_MAX_MEMBERS = 64
_INEQUALITY = re.compile(r"[<>]|\\(?:le|ge|ne)(?![a-zA-Z])")


def same_structure(said: str, true: str, same: Same) -> bool | None:
    """None if the texts are not both of one kind."""
    matrix, other = matrix_rows(said), matrix_rows(true)
    if matrix is not None and other is not None:
        shapes = [[len(row) for row in rows] for _, rows in (matrix, other)]
        if matrix[0] != other[0] or shapes[0] != shapes[1]:
            return False
        rows = zip(matrix[1], other[1], strict=True)
        return all(same(a, b) for row, own in rows for a, b in zip(row, own, strict=True))
    left, right = enclosure(said), enclosure(true)
    if left is not None and right is not None:
        members = split_members(left[1]).parts, split_members(right[1]).parts
        if len(members[0]) > 1 or len(members[1]) > 1:
            if _is_set(left[0]) and _is_set(right[0]):
                return _any_order(*members, same)
            if left[0] != right[0]:
                return None  # an interval may be given by its inequality
            return len(members[0]) == len(members[1]) and all(map(same, *members))
    if left is None and right is not None and right[0] == ("(", ")"):
        parts, tuple_parts = split_members(said), split_members(right[1]).parts
        if not parts.words and ";" not in said and is_bare_tuple(parts.parts, tuple_parts):
            return all(map(same, parts.parts, tuple_parts))
    verdict = _same_points(said, true, same)
    return _same_list(said, true, same) if verdict is None else verdict


def _same_points(said: str, true: str, same: Same) -> bool | None:
    """None if lists must tell: no side has several points, or one is no points but words."""
    left, right = read_points(said), read_points(true)
    if left is None and right is None:
        return None
    sides = [side for side in (left, right) if side is not None]
    if max(len(side.values) for side in sides) > _MAX_MEMBERS:
        return False
    if left is not None and right is not None:
        return left.equals(right, same)
    # Values that belong together on one side do so on the other.
    held = len(sides[0].values) > 1 and not sides[0].is_said
    return False if held and not (has_words(said) or has_words(true)) else None


def _same_list(said: str, true: str, same: Same) -> bool | None:
    lists = []
    for text in (said, true):
        name, members_text = belongs(text) or (None, text)
        brackets = enclosure(members_text)
        is_set = brackets is not None and _is_set(brackets[0])
        members = split_members(brackets[1] if brackets and is_set else text)
        parts = _both_signs(members.parts)
        lists.append(([f"{name}={part}" for part in parts] if name and is_set else parts, members.words))
    (left, left_words), (right, right_words) = lists
    if len(left) < 2 and len(right) < 2:
        return None
    if left_words != right_words or len(left) != len(right):
        if any(_INEQUALITY.search(part) for part in (*left, *right)):
            return None
        # x = 2 and x = 3 are solutions as x = 2 or x = 3 are; blue or red is not blue and red.
        if ("or" in left_words) != ("or" in right_words) and any(map(_is_choice, (*left, *right))):
            return None
    if len(left) != len(right):
        # One of the two may be a sentence with commas.
        return None if has_words(said) or has_words(true) else False
    names = [[pair[0] if (pair := named(part)) else None for part in side] for side in (left, right)]
    for own, others in (names, names[::-1]):
        # The names tell which is which: x = 1, y = 2 is 1, 2 and not 2, 1.
        if len(set(own)) > 1 and None not in own and set(others) == {None}:
            return all(map(same, left, right))
    if _any_order(left, right, same):
        return True
    return None if has_words(said) or has_words(true) else False


def _is_choice(part: str) -> bool:
    return has_words(part) or re.fullmatch(r"\(?[A-H]\)?", part) is not None


def _any_order(said: list[str], true: list[str], same: Same) -> bool:
    return len(said) <= _MAX_MEMBERS and one_to_one(said, true, same)


def _is_set(kinds: tuple[str, str]) -> bool:
    return kinds in ((r"\{", r"\}"), ("{", "}"))


def _both_signs(parts: list[str]) -> list[str]:
    """``1 \\pm x`` as its two members; a text with two such signs stays as it is."""
    result = []
    for part in parts:
        if part.count(r"\pm") == 1 and r"\mp" not in part and balanced(part):
            before, after = part.split(r"\pm")
            result += [
                f"{before}+{after}" if before.strip() and not before.rstrip().endswith("=") else f"{before}{after}",
                f"{before}-{after}",
            ]
        else:
            result.append(part)
    return [part.strip() for part in result]

"""Equations, inequalities and sets of numbers: ``x < 2 or x > 3`` is ``(-\\infty, 2) \\cup (3, \\infty)``."""

import re
from dataclasses import dataclass

import sympy

from prism_pl.verification.brackets import enclosure, split_members
from prism_pl.verification.expressions import ratio, read_expression, same

_OPERATORS = {"=": "eq", "<": "lt", ">": "gt", r"\le": "le", r"\ge": "ge", r"\ne": "ne"}
_OPERATOR = re.compile(r"\\(?:le|ge|ne)(?![a-zA-Z])|[<>=]")
_EVERYTHING = re.compile(r"(?:all\s+)?(?:real\s+numbers|reals)|\\mathbb\s*\{?R\}?|\\R")
_NUMBER_SETS = {
    "R": sympy.S.Reals,
    "Z": sympy.S.Integers,
    "N": sympy.S.Naturals,
    "Q": sympy.S.Rationals,
    "C": sympy.S.Complexes,
}
_BELONGS = re.compile(r"[a-zA-Z]\s*\\in(?![a-zA-Z])\s*")
_SUCH_THAT = re.compile(r"\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\s*\{?R\}?)?\s*[|:]\s*")
_APPLIED = re.compile(r"(?<![a-zA-Z\\])([fghFGHP])\s*\(\s*[a-z]\s*\)")
_DIGITS = 200


@dataclass(frozen=True)
class Relation:
    """``difference kind 0`` with kind one of eq, ne, lt, le."""

    kind: str
    difference: sympy.Expr

    def equals(self, other: "Relation") -> bool:
        """The same up to a factor, which must be positive for an order."""
        sign = ratio(self.difference, other.difference, _DIGITS) if self.kind == other.kind else 0
        return sign != 0 if self.kind in ("eq", "ne") else sign > 0

    def solve(self) -> sympy.Set | None:
        """The real solutions; None for more than one unknown."""
        symbols = self.difference.free_symbols
        if len(symbols) != 1:
            return None
        (symbol,) = symbols
        relation = {"eq": sympy.Eq, "ne": sympy.Ne, "lt": sympy.Lt, "le": sympy.Le}[self.kind](self.difference, 0)
        return sympy.solveset(relation, symbol, sympy.S.Reals)


def equal_solutions(said: str, true: str) -> bool:
    """True if two texts state the same relations, or the same set of numbers.

    >>> equal_solutions("3 < x", "x > 3"), equal_solutions("x > 3", "x \\\\ge 3")
    (True, False)
    >>> equal_solutions("(1, 2]", "1 < x \\\\le 2")
    True
    """
    if bool(_APPLIED.search(said)) != bool(_APPLIED.search(true)):
        # The values of a function are a set of numbers: 0 < f(x) < 1 is (0, 1).
        said, true = (_APPLIED.sub(r"\1", text) for text in (said, true))
    left, right = read_relations(said), read_relations(true)
    if left is not None and right is not None and _same_relations(left, right):
        return True
    names = {symbol for relation in (*(left or ()), *(right or ())) for symbol in relation.difference.free_symbols}
    # An equation is no set: x = 2 is compared as an equation.
    if len(names) > 1 or all(side and any(relation.kind == "eq" for relation in side) for side in (left, right)):
        return False
    sets = read_set(said), read_set(true)
    return sets[0] is not None and sets[1] is not None and _same_set(*sets)


def read_relations(text: str) -> list[Relation] | None:
    """The relations of a chain such as ``1 < x \\le 2``; None if the text is none."""
    operators = list(_OPERATOR.finditer(text))
    if not operators:
        return None
    cuts = [0, *(edge for match in operators for edge in match.span()), len(text)]
    members = [read_expression(text[start:end]) for start, end in zip(cuts[::2], cuts[1::2], strict=True)]
    if not all(isinstance(member, sympy.Expr) for member in members):
        return None
    relations = []
    for left, operator, right in zip(members, operators, members[1:], strict=False):
        kind = _OPERATORS[operator[0]]
        difference = left - right if kind not in ("gt", "ge") else right - left  # type: ignore[operator]
        relations.append(Relation(kind.replace("g", "l"), difference))
    return relations


def _same_relations(said: list[Relation], true: list[Relation]) -> bool:
    left = list(true)
    for relation in said:
        match = next((other for other in left if relation.equals(other)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def read_set(text: str) -> sympy.Set | None:
    """A set of real numbers: intervals, unions, finite sets, inequalities in one unknown; None if the text is none."""
    text = text.strip()
    if _EVERYTHING.fullmatch(text):
        return sympy.S.Reals
    if number_set := re.fullmatch(r"\\mathbb\s*\{?([RZNQC])\}?", text):
        return _NUMBER_SETS[number_set[1]]
    if text == r"\emptyset":
        return sympy.S.EmptySet
    if belongs := _BELONGS.match(text):
        return read_set(text[belongs.end() :])
    if (brackets := enclosure(text)) is not None:
        return _bracketed(*brackets)
    for operator, join in ((r"\cup", sympy.Union), (r"\cap", sympy.Intersection), (r"\setminus", sympy.Complement)):
        pieces = re.split(rf"{re.escape(operator)}(?![a-zA-Z])", text)
        if len(pieces) > 1:
            sets = [read_set(piece) for piece in pieces]
            if any(piece is None for piece in sets) or (operator == r"\setminus" and len(sets) > 2):
                return None
            return join(*sets)
    for word, join in (("or", sympy.Union), ("and", sympy.Intersection)):
        pieces = re.split(rf"(?<![\w\\]){word}(?!\w)", text)
        if len(pieces) > 1:
            sets = [read_set(piece) if _OPERATOR.search(piece) else None for piece in pieces]
            return None if any(piece is None for piece in sets) else join(*sets)
    relations = read_relations(text)
    if not relations or len({symbol for relation in relations for symbol in relation.difference.free_symbols}) != 1:
        return None
    solved = [relation.solve() for relation in relations]
    return None if any(part is None for part in solved) else sympy.Intersection(*solved)


def _bracketed(kinds: tuple[str, str], inner: str) -> sympy.Set | None:
    if kinds == (r"\{", r"\}"):
        if builder := _SUCH_THAT.match(inner):
            return read_set(inner[builder.end() :])
        members = [read_expression(part) for part in split_members(inner).parts]
        return sympy.FiniteSet(*members) if members and all(isinstance(m, sympy.Expr) for m in members) else None
    if kinds[0] not in ("(", "[") or kinds[1] not in (")", "]"):
        return None
    ends = [read_expression(part) for part in split_members(inner).parts]
    if len(ends) != 2 or not all(isinstance(end, sympy.Expr) and not end.free_symbols for end in ends):
        return None
    if not all(end.is_extended_real for end in ends) or not ends[0] < ends[1]:  # type: ignore[union-attr, operator]
        return None
    if any(end.is_infinite and kind in "[]" for end, kind in zip(ends, kinds, strict=True)):  # type: ignore[union-attr]
        return None  # sympy would open it
    return sympy.Interval(*ends, left_open=kinds[0] == "(", right_open=kinds[1] == ")")


def _same_set(said: sympy.Set, true: sympy.Set) -> bool:
    """Piece by piece, with the same ends and the same brackets."""
    if said == true:
        return True
    pieces = [list(side.args) if isinstance(side, sympy.Union) else [side] for side in (said, true)]
    if len(pieces[0]) != len(pieces[1]):
        return False
    if not all(isinstance(piece, sympy.Interval | sympy.FiniteSet) for side in pieces for piece in side):
        return False
    ordered = [sorted(side, key=lambda piece: (piece.inf.evalf(), piece.sup.evalf())) for side in pieces]
    return all(_same_piece(a, b) for a, b in zip(*ordered, strict=True))


def _same_piece(a: sympy.Set, b: sympy.Set) -> bool:
    if isinstance(a, sympy.Interval) and isinstance(b, sympy.Interval):
        ends = (a.left_open, a.right_open) == (b.left_open, b.right_open)
        return bool(ends) and same(a.start, b.start, _DIGITS) and same(a.end, b.end, _DIGITS)
    if isinstance(a, sympy.FiniteSet) and isinstance(b, sympy.FiniteSet) and len(a) == len(b):
        return all(any(same(x, y, _DIGITS) for y in b) for x in a)
    return False

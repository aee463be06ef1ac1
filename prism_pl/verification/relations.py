"""Left sides: ``x = 5`` and ``m\\angle ABC = 30`` name what the answer is; ``2x = 5`` and ``-x = 5`` do not."""

import re

_EQUALS = re.compile(r"(?<![<>=!:\\])=(?!=)")
_RELATION = re.compile(
    r"[<>=]|\\(?:le|ge|ne|in|notin|subset|subseteq|approx|equiv|sim|to|iff|implies|Rightarrow|rightarrow|Longrightarrow)(?![a-zA-Z])"
)
_LETTERS = r"(?:\\?[A-Za-z]+'{0,2}(?:_\{[^{}]*\})?'{0,2})"
_NAME = re.compile(
    rf"m?\s*\\(?:angle|triangle|overline|overrightarrow|vec|hat|bar|operatorname|mathbf|det|measuredangle)\s*"
    rf"(?:\{{\s*{_LETTERS}\s*\}}|\s*{_LETTERS})"
    rf"|(?!\\(?:le|ge|ne|in|frac|sqrt|cdot|times|pm|mp|infty|pi)(?![a-zA-Z])){_LETTERS}"
    rf"(?:\s*\(\s*(?:-?\d+|{_LETTERS})(?:\s*[,|]\s*(?:-?\d+|{_LETTERS}))*\s*\))?"
    rf"|\\(?:sin|cos|tan|cot|log|ln|det)\s*(?:\(\s*{_LETTERS}\s*\)|{_LETTERS})"
    rf"|\(\s*{_LETTERS}(?:\s*,\s*{_LETTERS})+\s*\)"
    r"|[A-Z][A-Za-z]*(?:\s+[a-z]+){0,3}"
    # Ratios of names; lengths of segments and their quotients, by their ends: AB : CD, |AB|, AB/CD.
    rf"|{_LETTERS}\s*:\s*{_LETTERS}"
    r"|\|\s*[A-Z]{2}\s*\||\\frac\{\s*[A-Z]{2}\s*\}\{\s*[A-Z]{2}\s*\}|[A-Z]{2}\s*/\s*[A-Z]{2}"
)


def has_relation(text: str) -> bool:
    """True if a text states a relation; the limits of a sum are none.

    >>> has_relation("x < 2"), has_relation("x + 2"), has_relation(r"\\sum_{k=1}^{n} k")
    (True, False, False)
    """
    return _RELATION.search(re.sub(r"_\{[^{}]*\}", "", text)) is not None


def split_equation(text: str) -> list[str]:
    """The members of a chain of equations outside of brackets; one member if there is none or another relation."""
    depth, start, parts = 0, 0, []
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and _EQUALS.match(text, position):
            parts.append(text[start:position].strip())
            start = position + 1
    parts.append(text[start:].strip())
    return parts


def named(text: str) -> tuple[str, list[str]] | None:
    """The name on the left of an equation and the members behind it; None if the left side is no mere name.

    >>> named("x = 5"), named("m\\\\angle ABC = 30"), named("-x = 5"), named("2x = 6")
    (('x', ['5']), ('m\\\\angle ABC', ['30']), None, None)
    """
    parts = split_equation(text)
    if any(re.search(r"[,;]|\b(?:and|or)\b", re.sub(r"\([^()]*\)", "", part)) for part in parts[1:-1]):
        return None  # x = 1, y = 2
    if len(parts) > 1 and all(parts) and _NAME.fullmatch(parts[0]) and not any(has_relation(part) for part in parts):
        return parts[0], parts[1:]
    own = belongs(text)
    return None if own is None or has_relation(own[1]) else (own[0], [own[1]])


def belongs(text: str) -> tuple[str, str] | None:
    """The name and the set of ``x \\in \\{1, 2\\}``; None if the text is no such thing."""
    found = re.fullmatch(rf"({_LETTERS})\s*\\in(?![a-zA-Z])\s*(.+)", text)
    return (found[1], found[2]) if found and _NAME.fullmatch(found[1]) else None

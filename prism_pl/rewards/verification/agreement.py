"""Do two answers mean the same? Cheap exact rules first; what they leave undecided goes to math-verify in a worker.

The rules in order; the first that decides, decides:
    nothing never agrees; equal spellings agree; a choice is its letter; the members of lists agree one to one; numbers with
    units are quantities; sentences are their words; everything else is mathematics.
"""

import re
from functools import lru_cache

from prism_pl.rewards.verification.choices import choice_letter, gold_letter
from prism_pl.rewards.verification.quantities import parse_quantity
from prism_pl.rewards.verification.supervisor import equal_expressions
from prism_pl.rewards.verification.text import canonical, words

MAX_CHARACTERS = 1024
"""Longer texts are wrong unless they are spelt alike (PRISM's released checker has the same limit)."""

MAX_NESTING = 30
"""Brackets within brackets of an expression; math-verify's grammar is exponential in it."""

_WORD = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{3,}|(?<=\d )[apAP][mM]\b")
_MATHS_WORDS = {"and", "or", "sqrt", "mod", "max", "min", "lim", "gcd", "lcm", "det", "all", "real", "numbers"}


@lru_cache(maxsize=65536)
def answers_agree(prediction: str, answer: str) -> bool:
    """True if ``prediction`` means the same as the true ``answer``. Bounded in time.

    >>> answers_agree("12.50", "12.5"), answers_agree("5 kg", "5 lb"), answers_agree("(1,2)", "(1, 2)")
    (True, False, True)
    """
    if max(len(prediction), len(answer)) > MAX_CHARACTERS:
        return prediction.strip() == answer.strip() != ""
    said, true = canonical(prediction), canonical(answer)
    if not said or not true:
        return False
    if said.replace(" ", "") == true.replace(" ", ""):
        return True
    if (letter := gold_letter(true)) is not None:
        return choice_letter(said) == letter
    members = _parts(said), _parts(true)
    if len(members[0]) == len(members[1]) > 1:
        return _same_members(*members)
    left, right = parse_quantity(said), parse_quantity(true)
    if left is not None and right is not None:
        return left.equals(right)
    if is_prose(said) or is_prose(true):
        return words(said) == words(true) != ""
    return max(_nesting(said), _nesting(true)) <= MAX_NESTING and equal_expressions(said, true)


def _nesting(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def is_prose(text: str) -> bool:
    """True if a text has a word in it that is no mathematics: anagrams are equal as products.

    >>> is_prose("cat"), is_prose("2ab + c"), is_prose("x = 1 or x = 2"), is_prose("\\sin x")
    (True, False, False, False)
    """
    return any(word.lower() not in _MATHS_WORDS for word in _WORD.findall(text))


def _parts(text: str) -> list[str]:
    """The members of a list: split at commas and semicolons that no bracket encloses."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character in ",;" and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in (*parts, text[start:])]


def _same_members(said: list[str], true: list[str]) -> bool:
    """One to one, in any order."""
    left = list(true)
    for part in said:
        match = next((other for other in left if answers_agree(part, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True

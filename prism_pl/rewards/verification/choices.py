"""The letter of a multiple-choice answer."""

import re

_LETTER = re.compile(r"\(?\s*([A-Za-z])\s*[).:]?\s*")
_WITH_TEXT = re.compile(r"(?:\(\s*([A-Z])\s*\)|([A-Z])\s*[).:])\s+\S.*", re.DOTALL)
# Earlier patterns win over later ones, and within a pattern the first letter in the text.
_PHRASES = [
    re.compile(r"(?i:answer|option|choice)(?:\s+(?i:is|would be))?\s*:?\s*\(?([A-Z])\b(?!')"),
    re.compile(r"\(([A-Z])\)"),
    re.compile(r"(?:^|\s)([A-Z])[.)](?=\s|$)"),
]


def choice_letter(text: str) -> str | None:
    """The letter that an answer names, or None.

    >>> [choice_letter(text) for text in ("B", "(b)", "B. a cat", "The answer is (C).", "a cat", "A cat")]
    ['B', 'B', 'B', 'C', None, None]
    """
    text = text.strip()
    if whole := _LETTER.fullmatch(text):
        return whole[1].upper()
    if led := _WITH_TEXT.fullmatch(text):
        return led[1] or led[2]
    for pattern in _PHRASES:
        if found := pattern.search(text):
            return found[1]
    return None


def gold_letter(text: str) -> str | None:
    """The letter of a true answer: ``B``, ``(B)`` or ``B. a cat``; None if the answer is no choice."""
    text = text.strip()
    if whole := _LETTER.fullmatch(text):
        # A small letter, or one far in the alphabet, is a variable.
        return whole[1] if whole[1] in "ABCDEFGH" else None
    led = _WITH_TEXT.fullmatch(text)
    return (led[1] or led[2]) if led else None

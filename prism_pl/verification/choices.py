"""The letters of a multiple-choice answer, said with or without reasons, and the options that a row may bring."""

import re
from collections.abc import Sequence

_LETTERS = "ABCDEFGH"
_LETTER = re.compile(r"\(?\s*([A-Za-z])\s*[).:]?\s*")
_NAMED_LETTER = re.compile(r"(?i:(?:the\s+)?(?:answer|option|choice)\s+)\(?([A-Za-z])\)?")
_WITH_TEXT = re.compile(
    r"(?:\(\s*([A-Z])\s*\)|([A-Z])\s*[).:])\s+\S.*|([B-H]),?\s+(?i:because|since|as|for)\b.*", re.DOTALL
)
_NOT = r"(?:\bnot\b|\bn't\b|n't\b|\bneither\b|\bnor\b|\bisn't\b|\bexcept\b|\brul(?:e|ed|ing)s?\s+out\b|\beliminat(?:e|ed|ing|es)\b|\bexclud(?:e|ed|ing|es)\b|\breject(?:s|ed|ing)?\b|\bcannot\b|\binstead of\b|\brather than\b|\bunlike\b)"  # noqa: E501
_WRONG = r"(?:\bwrong\b|\bincorrect\b|\bfalse\b|\bnot\b|n't\b|\bimpossible\b|\beliminated\b|\bexcluded\b|\bruled\s+out\b|\bout\b|\bcannot\b|\bfails?\b|\bdoes\s+not\b|\btoo\s+\w+)"  # noqa: E501
# A capital letter that stands for a choice: in brackets, named, or alone; `A` before a small word is an article.
_MENTION = re.compile(
    r"\(([A-H])\)|(?i:\b(?:option|choice|answer|statement)s?)\s*:?\s*\(?([A-H])\b\)?|(?<![\w'$\\])([A-H])(?![\w'])"
)
_DECIDED = re.compile(
    r"(?i:\b(?:final\s+|correct\s+|right\s+|best\s+)?(?:answer|choice|option)\s*(?:is|would\s+be|should\s+be|must\s+be|:|=)"
    r"|\b(?:i\s+)?(?:choose|chose|pick|select|go\s+with)|\bit(?:'s|\s+is|\s+must\s+be)|\bleaves?|\bleaving|\bonly|\bhence|\btherefore|\bthus|\bso)"
    r"(?i:\s+(?:the|it|is|must|be|only|option|choice|answer|us|with|clearly|definitely|:))*\s*,?\s*:?\s*(not\s+)?"
    r"(?:\(([A-H])\)|([A-H])(?![\w']))(?!\)?\s*(?:,|and|or|&|/)\s*(?:and\s+|or\s+)?\(?[A-H]\b)"
)
_WORDS_ALONE = re.compile(r"[\w\s.,;:!?'\"()/&-]*")
_JOINED = re.compile(r"\s*(?:,|;|/|&|\+|\band\b|\bas well as\b)\s*(?:and\s+)?")
_OPTION_MARK = re.compile(r"\s*(?:\(\s*([A-Za-z])\s*\)|([A-Za-z])\s*[).:])\s+")


def choice_letter(text: str) -> str | None:
    """The one letter that an answer names, or None; letters that are ruled out do not count.

    >>> [choice_letter(text) for text in ("B", "(b)", "B. a cat", "The answer is (C).", "a cat", "A cat")]
    ['B', 'B', 'B', 'C', None, None]
    >>> choice_letter("Option A is wrong, and C is too large. The answer is B.")
    'B'
    """
    text = text.strip()
    if whole := _LETTER.fullmatch(text) or _NAMED_LETTER.fullmatch(text):
        return whole[1].upper()
    # What is said last holds; a letter may be left behind others that are wrong.
    decided = [
        match[2] or match[3] for match in _DECIDED.finditer(text) if not match[1] and not _is_article(text, match.end())
    ]
    decided = [letter for letter in decided if letter in _mentioned(text)]
    if decided:
        return decided[-1]
    if led := _WITH_TEXT.fullmatch(text):
        return led[1] or led[2] or led[3]
    # Among other mathematics a letter is a variable.
    mentioned = _mentioned(text) if _WORDS_ALONE.fullmatch(text) else []
    return mentioned[0] if len(mentioned) == 1 else None


def choice_letters(text: str) -> frozenset[str] | None:
    """The letters of an answer that names several, or None: ``A, C``, ``(A) and (C)``, ``Both A and C are correct``.

    >>> sorted(choice_letters("both A and (C) are correct")), choice_letters("A cat, a dog")
    (['A', 'C'], None)
    """
    text = re.sub(
        r"(?i)^(?:the\s+)?(?:correct\s+)?(?:answers?|options?|choices?|statements?)\s*(?:are|is|:)?\s+", "", text.strip()
    )
    text = re.sub(r"(?i)^both\s+", "", text)
    text = re.sub(r"(?i)\s+(?:are|is)\s+(?:all\s+|both\s+)?(?:correct|right|true|the\s+answers?)$", "", text)
    parts = _JOINED.split(text)
    letters = [found[1] for part in parts if (found := re.fullmatch(r"\(?([A-H])[).]?(?<!\()", part.strip()))]
    if len(parts) == len(letters) > 1:
        return frozenset(letters) if len(set(letters)) == len(letters) else None
    run = re.fullmatch(r"[A-H]{2,8}", text)
    return frozenset(text) if run and list(text) == sorted(set(text)) else None


def _mentioned(text: str) -> list[str]:
    """Letters that a text names and does not rule out, each once."""
    kept = dict[str, bool]()
    for clause in re.split(r"[.;!?](?:\s|$)|,\s|\b(?:but|because|since|so|while|whereas|and\s+so|therefore)\b", text):
        found = [match for match in _MENTION.finditer(clause) if not _is_article(clause, match.end()) or not match[3]]
        if not found:
            continue
        behind, before = clause[found[-1].end() :], clause[: found[0].start()]
        wrong = bool(re.search(_WRONG, behind, re.IGNORECASE) or re.search(_NOT, before, re.IGNORECASE))
        for match in found:
            letter = match[1] or match[2] or match[3]
            kept[letter] = kept.get(letter, True) and not wrong
    return [letter for letter, right in kept.items() if right]


def _is_article(text: str, end: int) -> bool:
    """Whether the letter before ``end`` is the article of a sentence: A cat."""
    return text[end - 1 : end] == "A" and re.match(r"\s+[a-z]", text[end:]) is not None and (
        re.match(r"\s+(?:is|are|because|since|as|and|or|was|has|cannot|does|must|would)\b", text[end:]) is None
    )  # fmt: skip


def gold_letter(text: str) -> str | None:
    """The letter of a true answer: ``B``, ``(B)`` or ``B. a cat``; None if the answer is no choice."""
    text = text.strip()
    if whole := _LETTER.fullmatch(text):
        # A small letter, or one far in the alphabet, is a variable.
        return whole[1] if whole[1] in _LETTERS else None
    led = _WITH_TEXT.fullmatch(text)
    return (led[1] or led[2]) if led else None


def is_plain_choice(text: str) -> bool:
    """Whether an answer is a letter, alone or before its option's text, and no sentence that one is read from.

    >>> [is_plain_choice(text) for text in ("b", "option (B)", "B. a cat", "Not A, so B", "B, since C is too large")]
    [True, True, True, False, False]
    """
    text = text.strip()
    led = _WITH_TEXT.fullmatch(text)
    return bool(_LETTER.fullmatch(text) or _NAMED_LETTER.fullmatch(text) or (led and not led[3]))


def choice_text(text: str) -> str:
    """What stands behind the letter of a choice: ``12 cm`` of ``(B) 12 cm``; empty if nothing does."""
    mark = _OPTION_MARK.match(text)
    return text[mark.end() :].strip() if mark else ""


def labelled_options(options: Sequence[str]) -> dict[str, str]:
    """Texts by letter. An option's own mark is taken off: ``B. a cat``; without one its place gives the letter.

    >>> labelled_options(["A. 12", "B. 13"]) == labelled_options(["12", "13"]) == {"A": "12", "B": "13"}
    True
    """
    marks = [_OPTION_MARK.match(option) for option in options]
    own = [(mark[1] or mark[2]).upper() for mark in marks if mark]
    if len(own) == len(options) == len(set(own)):
        return {
            letter: option[mark.end() :].strip() for letter, option, mark in zip(own, options, marks, strict=True) if mark
        }
    return {chr(ord("A") + index): option.strip() for index, option in enumerate(options)}

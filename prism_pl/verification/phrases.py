"""Sentences: what leads to an answer, yes and no with reasons, and words that are compared as words.

Words are only compared where there is no mathematics. A text that has both is compared as it is spelt.
"""

import re

from prism_pl.verification.brackets import balanced
from prism_pl.verification.numerals import read_number
from prism_pl.verification.quantities import Quantity, parse_quantity
from prism_pl.verification.units import BASES, parse_unit, singular

_WORD = re.compile(
    # Three letters in a formula are a product: abc + 1.
    r"(?<![\\A-Za-z])(?:[^\W\d_]{4,}|(?<![\d+*/^_=(){}-])[^\W\d_]{3}(?![\d+*/^_=(){}-]))(?![^\W\d_])|(?<=\d )[apAP][mM]\b"
)
_MATHS_WORDS = {"and", "or", "sqrt", "mod", "max", "min", "lim", "gcd", "lcm", "det", "for", "all", "real", "numbers"}
# Letters, numbers, and the marks of sentences. Anything else is mathematics: operators, relations, brackets, LaTeX.
_SENTENCE = re.compile(
    r"(?:[^\W\d_]|[ '\",.;:!?]|(?<![\w.,:+-])\d+(?:[.:]\d+)*(?![\w+-]|[.:]\d)|(?<=[^\W\d_])-(?=[^\W\d_]))*"
)
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+(?:[.:]\d+)*")
_ARTICLES = {"a", "an", "the"}

_SUBJECT = (
    r"(?:(?:the|my|our|their|its|your|this|that|final|correct|right|true|exact|required|desired|total|overall|resulting|numerical)"
    r"\s+)*(?:final\s+|correct\s+)?(?:answer|result|solution|value|total|sum|product|area|volume|perimeter|length|width|height|radius|"
    r"diameter|distance|speed|cost|price|probability|number|ratio|angle|measure|slope|difference|quotient|average|mean|median|mode|"
    r"percentage|time|age|weight|mass|expression|equation|function|output|key|remainder|fraction|matrix|vector|point|interval|set|"
    r"range|domain|coefficient|limit|derivative|integral|choice)s?(?:\s+(?:of|for|to|is\s+that|when|if)\b[^.:=]{0,60}?)?"
)
_LEAD = re.compile(
    rf"(?i)(?:(?:so|thus|hence|therefore|then|finally|ok|well|we\s+get|we\s+have|i\s+think|i\s+believe|we\s+find|it\s+follows\s+that)"
    rf"\s*[,:]?\s+(?:that\s+)?)*(?:{_SUBJECT}\s*(?:is|are|=|:|equals|would\s+be|will\s+be|must\s+be|comes\s+out\s+to(?:\s+be)?)\s*:?"
    r"|(?:it|this|that|there)(?:\s+is|\s+are|'s)|answer)\s+(?:equal\s+to\s+|exactly\s+|simply\s+|just\s+|given\s+by\s+)*"
)
_CONNECTIVE = re.compile(r"(?i)(?:so|thus|hence|therefore|then|finally)\s*[,:]?\s+")
_ROUGHLY = re.compile(r"(?i)(?:approximately|approx\.?|about|roughly|around|exactly|\\approx|=)\s*")
_LABEL = re.compile(r"([A-Za-z][A-Za-z ]{1,30})\s*[:]\s+(?=\S)")
_POLAR = re.compile(
    r"(?i)(yes|no|true|false)\b(?=\s*(?:$|[,.;:!(-]|because\b|since\b|as\b|it\b|they\b|the\b|this\b|that\b|he\b|she\b|we\b|you\b))"
)
_BOTH = re.compile(r"(?i)(?:yes|no|true|false)\W+(?:and|or|but)?\W*(?:yes|no|true|false)\b")
_HEDGES = re.compile(
    r"(?i)\b(?:not|no|never|or|nor|than|least|most|between|minus|negative|plus|times|half|twice|double|triple|more|less|fewer|wrong|"
    r"incorrect|false|over|under|except|without|instead|if|either|neither|only\s+if|unless|another|squared|cubed|root|percent|"
    r"multiplied|divided|square|cube|about|almost|nearly|remainder|exceeds?|above|below|by|mod|modulo|factorial|dozen|quarters?|thirds?)\b|n't\b"
)


def has_words(text: str) -> bool:
    """True if a text has a word in it that is no mathematics.

    >>> has_words("cat"), has_words("2ab + c"), has_words("x = 1 or x = 2"), has_words("\\\\sin x")
    (True, False, False, False)
    """
    tight = re.sub(r"\s*([+*/^=-])\s*", r"\1", _without_names(text))
    return any(word.lower() not in _MATHS_WORDS for word in _WORD.findall(tight))


def is_prose(text: str) -> bool:
    """True if a text has words and no mathematics at all: no operator, relation, sign, bracket, subscript or command.

    >>> is_prose("A blue cat."), is_prose("x > 3 only"), is_prose("-5 apples"), is_prose("cells: 1/2")
    (True, False, False, False)
    """
    return has_words(text) and _SENTENCE.fullmatch(text) is not None


def _without_names(text: str) -> str:
    """Without environments and subscripts, whose letters are no words."""
    return re.sub(r"\\(?:begin|end)\s*\{\w+\}|_\{[^{}]*\}", " ", text)


def phrase(text: str) -> tuple[str, ...]:
    """The words and numbers of prose: without articles, plurals and marks. Single letters keep their case.

    >>> phrase("The blue cats.") == phrase("a blue cat"), phrase("point A") == phrase("point a")
    (True, False)
    """
    tokens = _TOKEN.findall(text.replace("-", " "))
    words = []
    for index, token in enumerate(tokens):
        word = token.casefold()
        if word in _ARTICLES and index + 1 < len(tokens) and (token != "A" or index == 0):
            continue
        if len(token) == 1 and token.isalpha():
            words.append(token)
            continue
        number = read_number(word)
        words.append(str(number[0]) if number and not number[1] else singular(word.removesuffix("'s")))
    return tuple(words)


def spelling(text: str) -> str:
    """A text that mixes words and mathematics, for exact comparison: the case of words alone does not matter."""
    lowered = re.sub(r"(?<!\\)(?<![^\W\d_])[^\W\d_]{3,}", lambda word: word[0].casefold(), text)
    return re.sub(r"(?<![\w.])\s+|\s+(?![\w.])", "", lowered.strip())


def without_lead(text: str) -> str:
    """What a sentence leads to: ``the answer is 5`` to ``5``; the text itself if it has no lead.

    >>> [without_lead(text) for text in ("So, the final answer is: 5", "about 5", "Height: 1/2", "a cat")]
    ['5', '5', '1/2', 'a cat']
    """
    for pattern in (_LEAD, _CONNECTIVE, _ROUGHLY, _LABEL):
        led = pattern.match(text)
        rest = text[led.end() :].strip() if led else ""
        if led and rest and balanced(rest) and not re.match(r"(?i)(?:not|never|no longer|different)\b", rest):
            return rest
    return text


def polarity(text: str) -> str | None:
    """``yes``, ``no``, ``true`` or ``false`` if the answer begins with it, whatever reasons follow.

    >>> [polarity(text) for text in ("Yes, because 3 < 4", "No solution", "yes and no", "It is true")]
    ['yes', None, None, None]
    """
    found = None if _BOTH.match(text) else _POLAR.match(text)
    return found[1].lower() if found else None


def sentence_quantity(text: str) -> Quantity | None:
    """The one number, with its unit, of a sentence that holds no other mathematics and nothing that changes or denies it.

    >>> sentence_quantity("There are 12 apples in the box").equals(parse_quantity("12"))
    True
    >>> sentence_quantity("There are not 12 apples"), sentence_quantity("12 or 13 apples")
    (None, None)
    """
    if _HEDGES.search(text) or not has_words(text):
        return None
    found = None
    for start in _starts(text):
        number = read_number(text[start:])
        if number is None:
            continue
        if found is not None and start < found[1]:
            continue
        if found is not None:
            return None
        found = start, len(text) - len(number[1]), number[1]
    if found is None:
        return None
    start, end, rest = found
    before = text[:start].rstrip()
    led = re.search(r"[-+]?\s*[$€£₹¥]$", before)
    begin = led.start() if led else start
    unit_end = 0 if led else _unit_end(rest)
    unit = parse_unit(rest[:unit_end])
    # 12 of the hours: whose unit it is, only a reader can tell.
    if not led and not (unit and unit[1]) and any(_is_spelt_unit(word) for word in _TOKEN.findall(rest)):
        return None
    # What follows a unit, and what comes before the number, must be words alone.
    if not _SENTENCE.fullmatch(text[:begin].strip()) or not _SENTENCE.fullmatch(rest[unit_end:].strip().strip("%").strip()):
        return None
    if re.search(r"\d", text[:begin] + rest[unit_end:]):
        return None
    percent = "%" if rest[unit_end:].strip().startswith("%") else ""
    return parse_quantity(text[begin:end] + (rest[:unit_end] if unit and unit[1] else percent))


def _is_spelt_unit(word: str) -> bool:
    unit = parse_unit(word) if len(word) > 2 else None
    return unit is not None and all(base in BASES for base, _ in unit[1])


def _starts(text: str) -> list[int]:
    """Where a number may begin: at a digit with its sign, or at a word. In a sentence ``one`` is no number."""
    found = re.finditer(
        r"(?<![\w.])[-+]?\s?(?:\d|\.\d|\\frac)|(?<![\w-])(?!(?:one|a|an|first|second|third)\b)[a-z]+", text, re.IGNORECASE
    )
    return [match.start() for match in found]


def _unit_end(rest: str) -> int:
    """How much of what follows a number is its unit: as many known ones as there are, or else the first word."""
    stops = [match.end() for match in re.finditer(r"[^\s,;.!?]+", rest)][:3]
    for stop in reversed(stops):
        unit = parse_unit(rest[:stop])
        if unit and all(base in BASES for base, _ in unit[1]):
            return stop
    return stops[0] if stops and parse_unit(rest[: stops[0]]) else 0

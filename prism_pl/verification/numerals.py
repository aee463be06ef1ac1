"""Numbers as people write them, exactly: digits, fractions, powers of ten, repeating decimals, words.

0.1\\overline{6} = 1/6        "two and a half" = 5/2        "minus twenty-three" = -23        "2.5 million" = 2500000
"""

import re
from fractions import Fraction

_SMALL_WORDS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS_WORDS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINAL_WORDS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
    "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth",
]  # fmt: skip
_SMALL = {word: number for number, word in enumerate(_SMALL_WORDS)}
_TENS = {word: 10 * number for number, word in enumerate(_TENS_WORDS, start=2)}
_ORDINALS = {word: number for number, word in enumerate(_ORDINAL_WORDS, start=1)}
_ORDINALS |= {"thirtieth": 30, "fortieth": 40, "fiftieth": 50, "hundredth": 100, "thousandth": 1000}
_MAGNITUDES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {word: n for word, n in _ORDINALS.items() if n > 2} | {"half": 2, "halve": 2, "quarter": 4}
"""Denominators: two thirds, one half, three quarters."""

_SIGN = r"([-+]?)\s*"
_DIGITS = r"(\d+(?:\.\d*)?|\.\d+)"
_POWER = re.compile(rf"{_SIGN}(?:{_DIGITS}\s*(?:\\times|\\cdot|\*|x)\s*)?10\s*\^\s*\{{\s*([-+]?\d{{1,3}})\s*\}}")
_FRACTION = re.compile(rf"{_SIGN}(\d*)\s*\\frac\s*\{{\s*(-?\d+)\s*\}}\s*\{{\s*(-?\d+)\s*\}}")
_SLASHED = re.compile(rf"{_SIGN}(\d+)\s*/\s*(-?\d+)")
_REPEATING = re.compile(
    rf"{_SIGN}(\d*)\.(\d*)(?:\\dot\s*\{{(\d)\}}(\d*)\\dot\s*\{{(\d)\}}|\\(?:overline|bar|dot)\s*\{{\s*(\d+)\s*\}}|\((\d+)\))"
)
# Bounded: what repeats is looked for at every place in every length.
_ENDLESS = re.compile(rf"{_SIGN}(\d{{0,30}})\.(\d{{0,30}}?)(\d{{1,30}}?)\4(\4*)(\d{{0,30}})\s*\.\.\.")
_NUMBER = re.compile(rf"{_SIGN}{_DIGITS}(?!\d|\.\d|\s*\.\.\.)")
_MAGNITUDE = re.compile(rf"\s*({'|'.join(_MAGNITUDES)})s?\b", re.IGNORECASE)
_WORD = re.compile(r"\s*(?:-\s*)?([A-Za-z]+)")
_ORDINAL_DIGITS = re.compile(r"(?:the\s+)?(\d+)\s*(?:\^\{)?\s*(st|nd|rd|th)\b\s*\}?", re.IGNORECASE)


def read_number(text: str) -> tuple[Fraction, str] | None:
    """The number at the beginning of a canonical text and what follows it; None if there is none.

    >>> [str(read_number(text)[0]) for text in ("0.\\\\overline{3}", "1.5 million apples", "three quarters", "-2/4")]
    ['1/3', '1500000', '3/4', '-1/2']
    """
    found = _read_digits(text)
    if found is None:
        return _read_words(text)
    value, rest = found
    # 5 million, but 5 million million is nobody's number.
    if magnitude := _MAGNITUDE.match(rest):
        return value * _MAGNITUDES[magnitude[1].lower()], rest[magnitude.end() :]
    return value, rest


def _read_digits(text: str) -> tuple[Fraction, str] | None:
    if match := _REPEATING.match(text):
        sign, whole, fixed, first, middle, last, block, bracketed = match.groups()
        block = block or bracketed or f"{first}{middle}{last}"
        return _signed(sign, _repeating(whole, fixed, block)), text[match.end() :]
    if match := _ENDLESS.match(text):
        sign, whole, fixed, block, _, begun = match.groups()
        # 0.1666... repeats the 6; 0.12121... ends within a block.
        if not block.startswith(begun):
            return None
        return _signed(sign, _repeating(whole, fixed, block)), text[match.end() :]
    if match := _POWER.match(text):
        sign, digits, exponent = match.groups()
        return _signed(sign, Fraction(digits or 1) * Fraction(10) ** int(exponent)), text[match.end() :]
    if match := _FRACTION.match(text):
        sign, whole, top, bottom = match.groups()
        if not int(bottom) or (whole and (int(top) < 0 or int(bottom) < 0)):
            return None
        return _signed(sign, int(whole or 0) + Fraction(int(top), int(bottom))), text[match.end() :]
    if match := _SLASHED.match(text):
        sign, top, bottom = match.groups()
        return (_signed(sign, Fraction(int(top), int(bottom))), text[match.end() :]) if int(bottom) else None
    if match := _NUMBER.match(text):
        return _signed(match[1], Fraction(match[2])), text[match.end() :]
    return None


def _repeating(whole: str, fixed: str, block: str) -> Fraction:
    """0.fixed block block ...  =  (fixed block - fixed) / (10^|fixed| (10^|block| - 1))"""
    scale = 10 ** len(fixed)
    endless = Fraction(int(block), scale * (10 ** len(block) - 1))
    return int(whole or 0) + Fraction(int(fixed or 0), scale) + endless


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value


def read_ordinal(text: str) -> int | None:
    """The number of a whole text that is an ordinal: 3rd, third, twenty-first.

    >>> read_ordinal("the twenty-first"), read_ordinal("3rd"), read_ordinal("a third")
    (21, 3, None)
    """
    if digits := _ORDINAL_DIGITS.fullmatch(text.strip()):
        number, suffix = int(digits[1]), digits[2].lower()
        expected = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
        return number if suffix == expected else None
    words = re.sub(r"^the\s+", "", text.strip().lower()).replace("-", " ").split()
    if not words or words[-1] not in _ORDINALS:
        return None
    last = _ORDINALS[words[-1]]
    if len(words) == 1:
        return last
    return _TENS[words[0]] + last if len(words) == 2 and words[0] in _TENS and last < 10 else None


def _read_words(text: str) -> tuple[Fraction, str] | None:
    """A number in words at the beginning: cardinals, then fractions of them."""
    words = list[tuple[str, int]]()
    position = 0
    while match := _WORD.match(text, position):
        words.append((match[1].lower(), match.end()))
        position = match.end()
    sign = -1 if words and words[0][0] in ("minus", "negative") else 1
    start = 1 if sign < 0 else 0
    value, used = _cardinal([word for word, _ in words], start)
    if used == start:
        return None
    return sign * value, text[words[used - 1][1] :]


def _cardinal(words: list[str], start: int) -> tuple[Fraction, int]:
    """The number in words[start:] and the index behind it; the index is ``start`` if there is none."""
    total = group = 0
    used = position = start
    last = 1000  # a smaller part must follow: twenty three, but not three twenty
    while position < len(words):
        word, following = words[position], words[position + 1] if position + 1 < len(words) else ""
        if word in _SMALL and (last > 19) and not (last == 20 and not 0 < _SMALL[word] < 10):
            group, last = group + _SMALL[word], 10
        elif word in _TENS and last > 20:
            group, last = group + _TENS[word], 20
        elif word in ("hundred", "dozen") and 0 < group < 100 and last < 100:
            group, last = group * _MAGNITUDES[word], 100
        elif word in _MAGNITUDES and 0 < group < 1000 and word not in ("hundred", "dozen"):
            total, group, last = total + group * _MAGNITUDES[word], 0, 1000
        elif word in ("a", "an") and following in _MAGNITUDES and used == start:
            group, last = 1, 10
        elif word == "and" and used > start and last >= 100 and (following in _SMALL or following in _TENS):
            position += 1
            continue
        else:
            break
        position = used = position + 1
    value = Fraction(total + group)
    if used > start and words[used : used + 1] == ["point"]:
        return _decimal_of(words, start, used, value)
    return _fraction_of(words, start, used, value)


def _decimal_of(words: list[str], start: int, used: int, value: Fraction) -> tuple[Fraction, int]:
    """The digits behind a point: three point one four."""
    end, scale = used + 1, Fraction(1)
    while end < len(words) and _SMALL.get(words[end], 10) < 10:
        scale /= 10
        value += _SMALL[words[end]] * scale
        end += 1
    return (value, end) if end > used + 1 else (Fraction(0), start)


def _fraction_of(words: list[str], start: int, used: int, value: Fraction) -> tuple[Fraction, int]:
    """Thirds, halves and quarters behind a cardinal: two thirds, two and a half, half."""

    def part(index: int) -> int | None:
        return _PARTS.get(words[index].removesuffix("s")) if index < len(words) else None

    if used > start:
        if (bottom := part(used)) is not None:
            return value / bottom, used + 1
        if used < len(words) and words[used] == "and":
            count, behind = Fraction(0), used + 1
            if behind < len(words) and words[behind] in ("a", "an"):
                count, behind = Fraction(1), behind + 1
            elif behind < len(words) and 0 < _SMALL.get(words[behind], 0) < 10:
                count, behind = Fraction(_SMALL[words[behind]]), behind + 1
            if count and (bottom := part(behind)) is not None:
                return value + count / bottom, behind + 1
        return value, used
    first = start + (start < len(words) and words[start] in ("a", "an"))
    # `third` alone is an ordinal, `half` and `a third` are fractions.
    if (bottom := part(first)) is not None and (first > start or words[first] in ("half", "quarter")):
        return Fraction(1, bottom), first + 1
    return Fraction(0), start

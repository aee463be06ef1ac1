"""Times of day and dates: ``10:30 pm`` is ``22:30``, ``5 March 2020`` is ``2020-03-05``."""

import re
from dataclasses import dataclass

_MONTHS = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
]  # fmt: skip
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)([a-z]*)\.?"
_DAY = r"(\d{1,2})(?:\s*(?:st|nd|rd|th))?"
_YEAR = r"(\d{4})"
_HALF = r"(?:\s*([ap])\.?\s?m\.?)"
_TIME = re.compile(rf"(?:at\s+)?(\d{{1,2}})[:.](\d{{2}})(?::(\d{{2}}))?{_HALF}?", re.IGNORECASE)
_HOUR = re.compile(rf"(?:at\s+)?(\d{{1,2}})(?:{_HALF}|\s*o'?\s?clock{_HALF}?)", re.IGNORECASE)
_NAMED = {"noon": (12, 0, 0), "midday": (12, 0, 0), "midnight": (0, 0, 0), "12 noon": (12, 0, 0), "12 midnight": (0, 0, 0)}
_MONTH_DAY = re.compile(rf"(?:the\s+)?{_MONTH}\s+(?:the\s+)?{_DAY}(?:\s*,?\s*{_YEAR})?", re.IGNORECASE)
_DAY_MONTH = re.compile(rf"(?:the\s+)?{_DAY}(?:\s+of)?\s+{_MONTH}(?:\s*,?\s*{_YEAR})?", re.IGNORECASE)
_MONTH_YEAR = re.compile(rf"{_MONTH}\s*,?\s*(?:of\s+)?{_YEAR}", re.IGNORECASE)
_ISO = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")
_NUMERIC = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4})")


@dataclass(frozen=True)
class Time:
    """A time of day."""

    hour: int
    minute: int
    second: int
    has_half: bool
    """Whether it is known which half of the day: by am or pm, or by an hour that only the 24-hour clock has."""

    def equals(self, other: "Time") -> bool:
        """10:30 is 10:30 am, but it is not taken for 10:30 pm."""
        return (self.hour, self.minute, self.second) == (other.hour, other.minute, other.second)


@dataclass(frozen=True)
class Date:
    """A calendar date; a part that is not given is None."""

    year: int | None
    month: int
    day: int | None

    def equals(self, other: "Date") -> bool:
        """All that is given on both sides agrees, and both give the day or neither. A year may be left out."""
        years = None in (self.year, other.year) or self.year == other.year
        return years and (self.month, self.day) == (other.month, other.day)


def parse_time(text: str) -> Time | None:
    """From a canonical text that is nothing but a time.

    >>> parse_time("10:30 p.m."), parse_time("3:4")
    (Time(hour=22, minute=30, second=0, has_half=True), None)
    """
    text = text.strip()
    if text.lower() in _NAMED:
        return Time(*_NAMED[text.lower()], has_half=True)
    if found := _TIME.fullmatch(text):
        hour, minute, second, half = int(found[1]), int(found[2]), int(found[3] or 0), found[4]
        if "." in text[: found.end(2)] and not half:
            return None  # 10.30 alone is a number
    elif found := _HOUR.fullmatch(text):
        hour, minute, second, half = int(found[1]), 0, 0, found[2] or found[3]
    else:
        return None
    if minute > 59 or second > 59 or hour > (12 if half else 24) or (half and not hour):
        return None
    if half:
        hour = hour % 12 + (12 if half.lower() == "p" else 0)
    return Time(hour, minute, second, bool(half) or not 0 < hour < 13)


def parse_date(text: str) -> Date | None:
    """From a canonical text that is nothing but a date.

    >>> parse_date("the 5th of March, 2020") == parse_date("2020-03-05") == parse_date("Mar 5 2020")
    True
    """
    text = text.strip()
    if found := _MONTH_DAY.fullmatch(text):
        return _date(found[4], _month(found[1], found[2]), found[3])
    if found := _DAY_MONTH.fullmatch(text):
        return _date(found[4], _month(found[2], found[3]), found[1])
    if found := _MONTH_YEAR.fullmatch(text):
        return _date(found[3], _month(found[1], found[2]), None)
    if found := _ISO.fullmatch(text):
        return _date(found[1], int(found[2]), found[3])
    if found := _NUMERIC.fullmatch(text):
        first, second = int(found[1]), int(found[2])
        # Which is the month is only known where one of them cannot be it.
        if first > 12 >= second:
            return _date(found[3], second, first)
        if second > 12 >= first:
            return _date(found[3], first, second)
        if first == second:
            return _date(found[3], first, second)
    return None


def _month(start: str, rest: str) -> int | None:
    name = (start + rest).lower()
    names = [(month, month[:3], "sept" if month.startswith("sep") else month) for month in _MONTHS]
    return next((number for number, spellings in enumerate(names, start=1) if name in spellings), None)


def _date(year: str | None, month: int | None, day: str | int | None) -> Date | None:
    if month is None or not 1 <= month <= 12 or (day is not None and not 1 <= int(day) <= 31):
        return None
    return Date(int(year) if year else None, month, None if day is None else int(day))

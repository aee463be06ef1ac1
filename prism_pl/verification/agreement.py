"""Do two answers mean the same? Exact rules in order; the first that decides, decides.

nothing never agrees; equal spellings agree; a choice is its letter; yes is yes; times and dates are what they name; numbers
with units are quantities; prose is its words; the members of lists agree one to one, those of tuples and matrices in their
order. Then a name on the left side and the lead of a sentence are taken off, and what remains is compared again.
Everything else is mathematics. Text that mixes words and mathematics agrees only as it is spelt.

Words that are no more than compared or passed over leave a verdict open: the rules abstain if the open ones, all of them
taken as right or all as wrong, would change it (``prism_pl.verification.pool``).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from prism_pl.verification.brackets import nesting, split_members
from prism_pl.verification.choices import (
    choice_letter,
    choice_letters,
    choice_text,
    gold_letter,
    is_plain_choice,
    labelled_options,
)
from prism_pl.verification.measures import comparable, parse_measure
from prism_pl.verification.moments import parse_date, parse_time
from prism_pl.verification.phrases import (
    has_words,
    is_prose,
    phrase,
    polarity,
    sentence_quantity,
    spelling,
    without_lead,
)
from prism_pl.verification.quantities import parse_quantity, parse_ratio
from prism_pl.verification.relations import has_relation, named, split_equation
from prism_pl.verification.structures import same_structure
from prism_pl.verification.text import canonical, compact
from prism_pl.verification.units import parse_unit

MAX_CHARACTERS = 1024
"""Longer texts are wrong unless they are spelt alike (PRISM's released checker has the same limit)."""
MAX_NESTING = 30
"""Brackets within brackets of an answer; the grammar of expressions is exponential in it."""
_EMPTY_SET = re.compile(
    r"\\emptyset|\\\{\s*\\\}|(?:there\s+(?:is|are)\s+)?no\s+(?:real\s+)?solutions?|(?:the\s+)?empty\s+set", re.I
)


class MathematicsNeededError(Exception):
    """Raised where only the mathematics of a worker process can decide."""


def needs_mathematics(said: str, true: str) -> bool:
    """In the place of the mathematics, in a process that must not run it."""
    raise MathematicsNeededError


@dataclass(frozen=True)
class Agreement:
    """The rules, and what decides on mathematics: True if two canonical texts are equal."""

    equal_mathematics: Callable[[str, str], bool]
    words: bool | None = None
    """What every verdict that words leave open is taken as; None is as the rules have it."""

    def __call__(self, prediction: str, answer: str, options: Sequence[str] = ()) -> bool:
        """True if ``prediction`` means the same as the true ``answer``; ``options`` are those of a choice."""
        if max(len(prediction), len(answer)) > MAX_CHARACTERS:
            said, true = (" ".join(text.split()) for text in (prediction, answer))
            return prediction.strip() == answer.strip() != "" or (min(said, true) != "" and self._open(False, said, true))
        said, true = canonical(prediction), canonical(answer)
        if not said or not true:
            return False
        if compact(said) == compact(true):
            return True
        if max(nesting(said), nesting(true)) > MAX_NESTING:
            return False
        if options and (verdict := self._among(said, true, options)) is not None:
            return verdict
        if (letter := gold_letter(true)) is not None:
            chosen = choice_letter(said)
            if chosen is not None and (chosen != letter or _other_value(said, true)):
                return False
            return chosen is not None if is_plain_choice(without_lead(said)) else self._open(chosen is not None, said)
        letters = choice_letters(true)
        if letters is not None and choice_letters(said) == letters:
            return True
        return self.same(said, true)

    def _open(self, verdict: bool, *texts: str) -> bool:
        """A verdict that is open if one of the texts has words."""
        return verdict if self.words is None or not any(map(has_words, texts)) else self.words

    def _among(self, said: str, true: str, options: Sequence[str]) -> bool | None:
        """By options: a letter, its option's text and its value are the same; None if the true answer is none of them."""
        texts = {letter: canonical(text) for letter, text in labelled_options(options).items()}
        right = gold_letter(true) if gold_letter(true) in texts else self._option_of(true, texts)
        if right is None:
            return None
        letter = choice_letter(said)
        if letter in texts and not any(compact(said) == compact(text) for text in texts.values()):
            return letter == right and (is_plain_choice(without_lead(said)) or self._open(True, said))
        named_option = self._option_of(said, texts)
        return named_option == right if named_option is not None else self._open(False, said)

    def _option_of(self, said: str, texts: dict[str, str]) -> str | None:
        """The letter of the one option that a text agrees with."""
        rules = replace(self, words=None)
        alike = [letter for letter, text in texts.items() if compact(said) == compact(text)]
        alike = alike or [letter for letter, text in texts.items() if text and rules.same(said, text)]
        return alike[0] if len(alike) == 1 else None

    def same(self, said: str, true: str) -> bool:
        """Of canonical texts that are no choices."""
        if not said or not true:
            return False
        if compact(said) == compact(true):
            return True
        if r"\approx" in said or r"\approx" in true:
            own, wanted = self._values(said), self._values(true)
            if own is not None and wanted is not None:
                # What is said is its exact value: a wrong one may round to the true answer.
                return any(self.same(own[0], value) for value in wanted) if own else False
        for rule in (_same_moment, _same_quantity, _same_ratio, _same_prose, self._same_polarity):
            if (verdict := rule(said, true)) is not None:
                return verdict
        shorter = self._unnamed(said, true)
        if shorter == (said, true):
            if (verdict := same_structure(said, true, self.same)) is not None:
                return verdict
            shorter = without_lead(said), without_lead(true)
        if shorter != (said, true):
            return self.same(*shorter)
        if (verdict := self._same_measure(said, true)) is not None:
            return verdict
        if (verdict := _same_sentence(said, true)) is not None:
            return verdict and self._open(True, said, true)
        if has_words(said) or has_words(true):
            return spelling(said) == spelling(true) or self._open(False, said, true)
        return self.equal_mathematics(said, true)

    def _same_polarity(self, said: str, true: str) -> bool | None:
        """Yes with any reasons is yes; but reasons that are mathematics are part of a true answer."""
        wanted = polarity(true)
        if wanted is None or not (is_prose(true) or true.lower() == wanted):
            return None
        given = polarity(said) or polarity(without_lead(said))
        if given is None:
            return self._open(False, said)
        bare = without_lead(said).lower() == true.lower() == given
        return given == wanted and (bare or self._open(True, said, true))

    def _same_measure(self, said: str, true: str) -> bool | None:
        """Formulas with units; None if neither side has one, or one has unknowns."""
        left, right = parse_measure(said), parse_measure(true)
        if left is None or right is None or not (left.dimensions or right.dimensions):
            return None
        formulas = comparable(left, right)
        return formulas is not None and self.equal_mathematics(*formulas)

    def _unnamed(self, said: str, true: str) -> tuple[str, str]:
        """Without the name on the left side, if only one side has it or both have the same."""
        left, right = named(said), named(true)
        if left is not None and right is not None:
            return (self._last(left[1]), self._last(right[1])) if compact(left[0]) == compact(right[0]) else (said, true)
        if left is not None and not has_relation(true):
            return self._last(left[1]) or said, true
        if right is not None and not has_relation(said):
            return said, self._last(right[1]) or true
        return said, true

    def _values(self, text: str) -> list[str] | None:
        """Of ``x = \\sqrt{20} \\approx 4.47`` the exact value and the decimal; nothing if it does not round to that.

        The text itself if nothing is said to be about anything; None of a list, whose members are compared one by one.
        """
        if len(split_members(text).parts) != 1 or (has_words(text) and r"\approx" in text):
            return None
        exact, *decimals = [part.strip() for part in text.split(r"\approx")]
        if decimals and (not exact or ("=" not in exact and named(f"{exact} = 0"))):
            first = decimals.pop(0)  # x \approx 11
            exact = f"{exact} = {first}" if exact else first
        value = split_equation(exact)[-1]
        return [exact, *decimals] if all(self._rounds_to(value, decimal) for decimal in decimals) else []

    def _rounds_to(self, value: str, decimal: str) -> bool:
        found = re.fullmatch(r"(-?\d+)(?:\.(\d+))?\s*([^\d\s.].*)?", decimal)
        if found is None or (found[3] and parse_unit(found[3]) is None):
            return False
        value = value.removesuffix(found[3] or "").strip()
        places, digits = len(found[2] or ""), str(int(found[1] + (found[2] or "")))
        return self.equal_mathematics(rf"\lfloor ({value}) \cdot 10^{{{places}}} + \frac{{1}}{{2}} \rfloor", digits)

    def _last(self, members: list[str]) -> str:
        """The last member of a chain of equations, all of which must be equal; empty if they are not."""
        while len(members) > 1 and named(f"{members[0]} = {members[1]}") and not members[0].isdigit():
            members = members[1:]  # f(x) = y = 2x + 1
        return members[-1] if all(self.same(member, members[-1]) for member in members[:-1]) else ""


def _same_moment(said: str, true: str) -> bool | None:
    dates = parse_date(said), parse_date(true)
    if dates[0] is not None and dates[1] is not None:
        return dates[0].equals(dates[1])
    times = parse_time(said), parse_time(true)
    if times[0] is not None and times[1] is not None:
        return times[0].equals(times[1])
    return None


def _same_quantity(said: str, true: str) -> bool | None:
    left, right = parse_quantity(said), parse_quantity(true)
    return left.equals(right) if left is not None and right is not None else None


def _same_ratio(said: str, true: str) -> bool | None:
    """``3:4`` and ``6:8``, or the fraction ``3/4``."""
    left, right = _ratio(said), _ratio(true)
    return left == right if left is not None and right is not None else None


def _ratio(text: str) -> tuple[Fraction, ...] | None:
    quantity = parse_quantity(text)
    if quantity is None or quantity.dimensions or quantity.plain is None or quantity.value <= 0:
        return parse_ratio(text)
    return quantity.value / (1 + quantity.value), 1 / (1 + quantity.value)


def _same_prose(said: str, true: str) -> bool | None:
    """True for the same words; other words may still lead to the same answer."""
    same_words = is_prose(said) and is_prose(true) and phrase(said) == phrase(true) != ()
    return True if same_words or (_EMPTY_SET.fullmatch(said) and _EMPTY_SET.fullmatch(true)) else None


def _same_sentence(said: str, true: str) -> bool | None:
    """A number, and a sentence that holds one."""
    for text, other in ((said, parse_quantity(true)), (true, parse_quantity(said))):
        # The day of a date is no number.
        if other is None or parse_date(text) is not None:
            continue
        if (sentence := sentence_quantity(text)) is not None:
            return sentence.equals(other)
    return None


def _other_value(said: str, true: str) -> bool:
    """Whether both choices bring a value, and not the same: (B) 12 cm is not (B) 22 cm."""
    left, right = (parse_quantity(choice_text(text)) for text in (said, true))
    return left is not None and right is not None and not left.equals(right)

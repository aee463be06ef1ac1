"""What a benchmark is: where its rows are, how one is read, and which figures it has beside the accuracy."""

import ast
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prism_pl.errors import UserError, shown

DATA_FOLDER = "data"
_LONE_LETTERS = "ABCDEFGH"
"""The verifier takes any other letter that stands alone for a variable."""


@dataclass(frozen=True)
class Membership:
    """A question's place in a figure that is a mean over units, each of one question or of several."""

    figure: str
    unit: str
    part: str = ""
    """Which of the unit's questions it is."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow:
    """A question as the model is asked it, and what is right."""

    question: str
    """The user's text, which follows the images."""
    images: tuple[Any, ...]
    """As the file holds them: bytes, paths, or what is around them."""
    answers: tuple[str, ...]
    """All that are right; none if the row has none."""
    options: tuple[str, ...] = ()
    """Of a choice, each with its letter: ``A. a cat``."""
    group: str = ""
    """Equal in questions that are not independent; empty if there are no others."""
    members: tuple[Membership, ...] = ()


Scores = Sequence[tuple[str, float]]
"""Of each question of a unit: which one it is, and its score in [0, 1]."""


def worst(figure: str, scores: Scores) -> float | None:
    """A unit is worth what its worst question is: a mean of scores over single questions, all or nothing over several."""
    return min(score for _, score in scores)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One of the paper's seven, as PRISM asks it (arXiv 2604.28123)."""

    name: str
    """As the paper's table calls it."""
    hub: str
    """The data set's name on the hub."""
    split: str
    folders: tuple[str, ...] = ()
    """Of a data set with several configurations, those that count; empty is all."""
    columns: tuple[str, ...]
    """What every row must have."""
    max_new_tokens: int
    """PRISM's limit of a response."""
    read: Callable[[Mapping[str, Any]], BenchmarkRow]
    """Raises UserError for a row that cannot be read; whoever calls it names the row."""
    unit_value: Callable[[str, Scores], float | None] = worst
    """What a unit of a figure is worth, in [0, 1]; None if it lacks questions."""

    @property
    def folder(self) -> str:
        """Where it is, unless a set says another place."""
        return f"{DATA_FOLDER}/{self.name}"

    def download_command(self, folder: str) -> str:
        """What fetches the data set, on a machine with a connection."""
        return f"hf download {self.hub} --repo-type dataset --local-dir {shlex.quote(folder)}"


def lettered(options: Sequence[str]) -> tuple[str, ...]:
    """Options with their letters.

    >>> lettered(["a cat", "a dog"])
    ('A. a cat', 'B. a dog')
    """
    return tuple(f"{chr(ord('A') + place)}. {text}" for place, text in enumerate(options))


def chosen(answer: str, options: Sequence[str]) -> str:
    """The true answer of a choice for the verifier: its letter, and from I on its text, too.

    >>> chosen("B", ("A. a cat", "B. a dog")), chosen("I", tuple(f"{letter}. 3" for letter in "ABCDEFGHI"))
    ('B', 'I. 3')
    """
    if answer in _LONE_LETTERS:
        return answer
    return next((option for option in options if option.startswith(f"{answer}. ")), answer)


def literal_list(value: Any, column: str) -> list[str]:
    """A list of texts that may be written as Python writes it. Raises UserError if it is none.

    >>> literal_list("['12', \\"it's\\"]", "options")
    ['12', "it's"]
    """
    found = [] if value is None else value
    if isinstance(value, str):
        try:
            found = ast.literal_eval(value.strip() or "[]")
        except (ValueError, SyntaxError):
            found = None
    if not isinstance(found, list):
        raise UserError(f"`{column}` must be a list; it is {shown(value)}.")
    return [str(part) for part in found]


def text_of(row: Mapping[str, Any], column: str) -> str:
    """A column's text without white space around it. Raises UserError if it is empty."""
    text = "" if row.get(column) is None else str(row[column]).strip()
    if not text:
        raise UserError(f"`{column}` is empty.")
    return text


def known_answers(row: Mapping[str, Any], column: str = "answer") -> tuple[str, ...]:
    """The text of the answer's column; none if it is empty, as in splits whose answers are kept secret."""
    text = "" if row.get(column) is None else str(row[column]).strip()
    return (text,) if text else ()


def images_of(row: Mapping[str, Any], *columns: str) -> tuple[Any, ...]:
    """The images of some columns, without those that are empty."""
    return tuple(row[column] for column in columns if not isinstance(row.get(column), str | None) or row.get(column))

"""We-Math, testmini: 525 problems of two or three steps, each asked as a whole and step by step (arXiv 2407.01284).

    whole right    all steps right    complete mastery             1
    whole right    some step wrong    rote memorization            0
    whole wrong    all steps right    inadequate generalization    1/2
    whole wrong    some step wrong    insufficient knowledge       0

``strict`` is the mean of these. In ``loose`` a whole that is right counts as mastery if any step is right, too.
"""

import re
from collections.abc import Mapping
from typing import Any

from prism_pl.errors import UserError, shown
from prism_pl.evaluation.benchmarks.base import (
    Benchmark,
    BenchmarkRow,
    Membership,
    Scores,
    chosen,
    images_of,
    known_answers,
    lettered,
    text_of,
)

_KEY = re.compile(r"([23])steps_(\d|multi)")
_WHOLE = "multi"
_OPTION = re.compile(r"(?:^|;)\s*([A-Z])\s*[.:]\s*")
_FIGURES = (
    "strict", "loose", "complete_mastery", "rote_memorization", "inadequate_generalization", "insufficient_knowledge",
)  # fmt: skip


def read(row: Mapping[str, Any]) -> BenchmarkRow:
    key = text_of(row, "key")
    place = _KEY.fullmatch(key)
    if place is None:
        raise UserError(f"`key` must be like 2steps_1 or 3steps_multi; it is {shown(key)}.")
    option = text_of(row, "option")
    options = _options(option)
    # Problems of two and of three steps are numbered apart.
    problem = f"{place[1]}steps {text_of(row, 'ID')}"
    return BenchmarkRow(
        question=f"{text_of(row, 'question')}\n{option}",
        images=images_of(row, "image_path"),
        answers=tuple(chosen(answer.rstrip("."), options) for answer in known_answers(row)),
        options=options,
        group=problem,
        members=tuple(Membership(figure, problem, f"{place[2]} of {place[1]}") for figure in _FIGURES),
    )


def _options(text: str) -> tuple[str, ...]:
    """``A. 3;B. 4`` by letter.

    >>> _options("A. 3; B. x; y;C. No correct answer")
    ('A. 3', 'B. x; y', 'C. No correct answer')
    """
    letters = _OPTION.findall(text)
    if letters != [chr(ord("A") + place) for place in range(len(letters))]:
        raise UserError(f"`option` must be like A. 3;B. 4; it is {shown(text)}.")
    return lettered([part.strip() for part in _OPTION.split(text)[2::2]])


def mastery(figure: str, scores: Scores) -> float | None:
    """What a problem is worth in one of the figures; None if one of its questions is missing."""
    right = {part.partition(" of ")[0]: score > 0 for part, score in scores}
    num_steps = int(scores[0][0].partition(" of ")[2])
    if right.keys() != {_WHOLE, *map(str, range(1, num_steps + 1))}:
        return None
    whole = right.pop(_WHOLE)
    all_steps, any_step = all(right.values()), any(right.values())
    kinds = {
        "complete_mastery": whole and all_steps,
        "rote_memorization": whole and not all_steps,
        "inadequate_generalization": not whole and all_steps,
        "insufficient_knowledge": not whole and not all_steps,
    }
    if figure in kinds:
        return float(kinds[figure])
    known = all_steps if figure == "strict" else any_step
    return float(known) if whole else 0.5 * all_steps


WEMATH = Benchmark(
    name="WeMath",
    hub="We-Math/We-Math",
    split="testmini",
    columns=("ID", "key", "question", "option", "answer", "image_path"),
    max_new_tokens=49_152,
    read=read,
    unit_value=mastery,
)

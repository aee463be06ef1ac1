"""MathVerse, testmini: 788 problems in five versions, which say more or less of a problem in words (arXiv 2403.14624).

The text is the data set's own ``query_wo``, a hint and the question, which in the vision-only version is in the image.
"""

import re
from collections.abc import Mapping
from typing import Any

from prism_pl.evaluation.benchmarks.base import (
    Benchmark,
    BenchmarkRow,
    Membership,
    chosen,
    images_of,
    known_answers,
    lettered,
    text_of,
)

_CHOICE = re.compile(r"^\s*\(?([A-H])\s*[:.)]\s*(.*?)\s*$", re.MULTILINE)


def read(row: Mapping[str, Any]) -> BenchmarkRow:
    options: tuple[str, ...] = ()
    answers = known_answers(row)
    if text_of(row, "question_type") == "multi-choice":
        options = _options(str(row.get("question_for_eval") or ""))
        answers = tuple(chosen(answer, options) for answer in answers)
    return BenchmarkRow(
        question=text_of(row, "query_wo"),
        images=images_of(row, "image"),
        answers=answers,
        options=options,
        group=text_of(row, "problem_index"),
        members=(Membership(text_of(row, "problem_version"), text_of(row, "sample_index")),),
    )


def _options(question: str) -> tuple[str, ...]:
    """The choices that a question ends with; none unless their letters are A, B, C, .. in order."""
    _, mark, choices = question.rpartition("Choices:")
    found = _CHOICE.findall(choices) if mark else []
    in_order = [letter for letter, _ in found] == [chr(ord("A") + place) for place in range(len(found))]
    return lettered([text for _, text in found]) if in_order else ()


MATHVERSE = Benchmark(
    name="MathVerse",
    hub="AI4Math/MathVerse",
    split="testmini",
    columns=(
        "sample_index", "problem_index", "problem_version", "query_wo", "question_for_eval", "image", "answer",
        "question_type",
    ),
    max_new_tokens=16_384,
    read=read,
)  # fmt: skip

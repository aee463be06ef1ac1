"""MathVision, testmini: 304 problems of competitions (arXiv 2402.14804).

lmms-eval asks for a box around the answer; here the system prompt's answer section is its place.
"""

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
    literal_list,
    text_of,
)

_HINT = "Answer the question with the option's letter from the given choices directly."


def read(row: Mapping[str, Any]) -> BenchmarkRow:
    options = lettered(literal_list(row.get("options"), "options"))
    answers = known_answers(row)
    question = text_of(row, "question")
    if options:
        question += f"\nChoices: {chr(10).join(options)}\n{_HINT}"
        answers = tuple(chosen(answer, options) for answer in answers)
    return BenchmarkRow(
        question=question,
        images=images_of(row, "decoded_image"),
        answers=answers,
        options=options,
        members=(Membership("multi_choice" if options else "free_form", text_of(row, "id")),),
    )


MATHVISION = Benchmark(
    name="MathVision",
    hub="MathLLMs/MathVision",
    split="testmini",
    columns=("id", "question", "options", "decoded_image", "answer"),
    max_new_tokens=24_576,
    read=read,
)

"""MathVista, testmini: 1,000 questions about figures (arXiv 2310.02255).

The text is the data set's own ``query``: a hint what kind of answer is wanted (a letter, an integer, how many decimals),
the question with its unit, and the choices.
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


def read(row: Mapping[str, Any]) -> BenchmarkRow:
    choices = literal_list(row.get("choices"), "choices")
    options, answers = lettered(choices), known_answers(row)
    if choices:
        # The file gives the right choice's text.
        letters = {text.strip(): option[0] for text, option in zip(choices, options, strict=True)}
        answers = tuple(chosen(letters.get(answer, answer), options) for answer in answers)
    return BenchmarkRow(
        question=text_of(row, "query"),
        images=images_of(row, "decoded_image"),
        answers=answers,
        options=options,
        members=(Membership(text_of(row, "question_type"), text_of(row, "pid")),),
    )


MATHVISTA = Benchmark(
    name="MathVista",
    hub="AI4Math/MathVista",
    split="testmini",
    columns=("pid", "query", "decoded_image", "choices", "answer", "question_type"),
    max_new_tokens=16_384,
    read=read,
)

"""MMMU, validation: 900 questions of university exams, some with several images (arXiv 2311.16502). MMMU-Pro: 1,730 harder
ones, with up to ten options, and the same ones as an image (arXiv 2409.02813).

The text names its images, ``<image 1>``; they stand before it in their order.
"""

import re
from collections.abc import Mapping
from typing import Any

from prism_pl.errors import UserError, shown
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

_IMAGE = re.compile(r"<image (\d)>")
_CHOICE_HINT = "Answer with the option's letter from the given choices directly."
_OPEN_HINT = "Answer the question using a single word or phrase directly."
_PRO_HINT = "Answer with the option letter from the given choices directly."


def read(row: Mapping[str, Any]) -> BenchmarkRow:
    kind = text_of(row, "question_type")
    answers = known_answers(row)
    if kind == "multiple-choice":
        options = lettered(literal_list(row.get("options"), "options"))
        question = _choice(row, options, _CHOICE_HINT)
        answers = tuple(chosen(answer, options) for answer in answers)
    else:
        options, question = (), f"{text_of(row, 'question')}\n\n{_OPEN_HINT}"
        # Several right answers are written as a list.
        if answers and answers[0].startswith("["):
            answers = tuple(literal_list(answers[0], "answer"))
    return BenchmarkRow(
        question=question,
        images=_named_images(row, question),
        answers=answers,
        options=options,
        members=(Membership(kind, text_of(row, "id")),),
    )


def read_pro(row: Mapping[str, Any]) -> BenchmarkRow:
    """A row with a question, or one whose question and options are in its image."""
    options = lettered(literal_list(row.get("options"), "options"))
    problem = text_of(row, "id")
    in_words = row.get("question") is not None
    question = _choice(row, options, _PRO_HINT) if in_words else _PRO_HINT
    return BenchmarkRow(
        question=question,
        images=_named_images(row, question) if in_words else images_of(row, "image"),
        answers=tuple(chosen(answer, options) for answer in known_answers(row)),
        options=options,
        # The same problem in words and as an image.
        group=problem,
        members=(Membership("standard" if in_words else "vision", problem),),
    )


def _choice(row: Mapping[str, Any], options: tuple[str, ...], hint: str) -> str:
    return "\n".join([text_of(row, "question"), *options, "", hint])


def _named_images(row: Mapping[str, Any], question: str) -> tuple[Any, ...]:
    numbers = sorted(set(_IMAGE.findall(question)))
    images = images_of(row, *(f"image_{number}" for number in numbers))
    if len(images) != len(numbers):
        raise UserError(
            f"the text names the images {', '.join(numbers)}, and the row has not all of them: {shown(question)}"
        )
    return images


MMMU = Benchmark(
    name="MMMU",
    hub="lmms-lab/MMMU",
    split="validation",
    columns=("id", "question", "options", "answer", "question_type", "image_1"),
    max_new_tokens=8_192,
    read=read,
)
MMMU_PRO = Benchmark(
    name="MMMU-Pro",
    hub="MMMU/MMMU_Pro",
    split="test",
    folders=("standard (10 options)", "vision"),
    columns=("id", "options", "answer"),
    max_new_tokens=8_192,
    read=read_pro,
)

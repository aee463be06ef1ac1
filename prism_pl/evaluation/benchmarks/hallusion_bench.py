"""HallusionBench, the part with images: 951 questions, yes or no, about figures and their edits (arXiv 2310.14566).

accuracy    of single questions (aAcc)
qAcc        a question counts if it is right about every one of its figures
fAcc        a figure counts if every question about it is right
"""

from collections.abc import Mapping
from typing import Any

from prism_pl.errors import UserError, shown
from prism_pl.evaluation.benchmarks.base import Benchmark, BenchmarkRow, Membership, images_of, text_of

_ANSWERS = {"1": "Yes", "0": "No"}


def read(row: Mapping[str, Any]) -> BenchmarkRow:
    answer = text_of(row, "gt_answer")
    if answer not in _ANSWERS:
        raise UserError(f"`gt_answer` must be 0 or 1; it is {shown(answer)}.")
    family = "/".join(text_of(row, column) for column in ("category", "subcategory", "set_id"))
    question, figure = f"question {text_of(row, 'question_id')}", f"figure {text_of(row, 'figure_id')}"
    members = [Membership("qAcc", f"{family}/{question}", figure)]
    if not (row["category"] == "VS" and text_of(row, "figure_id") == "0"):  # asked without a figure
        members.append(Membership("fAcc", f"{family}/{figure}", question))
    return BenchmarkRow(
        question=text_of(row, "question"),
        images=images_of(row, "image"),
        answers=(_ANSWERS[answer],),
        group=family,
        members=tuple(members),
    )


HALLUSION_BENCH = Benchmark(
    name="HallusionBench",
    hub="lmms-lab/HallusionBench",
    split="image",
    columns=(
        "category", "subcategory", "set_id", "figure_id", "question_id", "question", "gt_answer", "image",
    ),
    max_new_tokens=8_192,
    read=read,
)  # fmt: skip

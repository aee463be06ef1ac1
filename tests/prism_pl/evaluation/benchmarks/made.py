"""Small data sets in the schema of each benchmark, with a recorded answer to every question.

The schemas are those of the data sets' cards; none of the real rows is at hand.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from datasets import Dataset, Image
from PIL import Image as Pillow

from prism_pl.evaluation.benchmarks import SEVEN

Row = dict[str, Any]
MALFORMED = None
"""The recorded answer of a response without its sections."""
_numbers = count(1)


def image() -> Row:
    """As the library writes one: bytes and a name. No two are alike."""
    number, stream = next(_numbers), io.BytesIO()
    Pillow.new("RGB", (64, 32), (number % 256, number // 256, 128)).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": f"{number}.png"}


@dataclass(frozen=True)
class Made:
    """One benchmark: its files with (row, recorded answer), and the figures that follow, computed by hand."""

    files: dict[str, Sequence[tuple[Row, str | None]]]
    accuracy: float
    sub_scores: dict[str, float]
    images: tuple[str, ...] = ("image",)
    """The columns that hold images."""

    @property
    def rows(self) -> Iterator[tuple[Row, str | None]]:
        for rows in self.files.values():
            yield from rows


def _vista(question_type: str, choices: list[str] | None, answer: str, said: str | None) -> tuple[Row, str | None]:
    number = next(_numbers)
    return {
        "pid": str(number), "question": "How much?", "image": f"images/{number}.jpg", "decoded_image": image(),
        "choices": choices, "unit": None, "precision": None, "answer": answer, "question_type": question_type,
        "answer_type": "text" if choices else "float", "metadata": {"split": "testmini"},
        "query": "Hint: Please answer.\nQuestion: How much?",
    }, said  # fmt: skip


_ELEVENTHS = ["3/11", "8/11", "6/11"]


def _verse(problem: int, version: str, kind: str, answer: str, said: str | None) -> tuple[Row, str | None]:
    question = "Find the length.\nChoices:\nA:2\nB:4" if kind == "multi-choice" else "Find the length."
    return {
        "sample_index": str(next(_numbers)), "problem_index": str(problem), "problem_version": version,
        "question": "" if version == "Vision Only" else question, "image": image(), "answer": answer,
        "question_type": kind, "metadata": {"split": "testmini"},
        "query_wo": f"Please directly answer.\nQuestion: {question}", "query_cot": "Please reason.",
        "question_for_eval": question,
    }, said  # fmt: skip


def _vision(options: list[str], answer: str, said: str | None) -> tuple[Row, str | None]:
    return {
        "id": str(next(_numbers)), "question": "How many circles? <image1>", "options": options, "image": "images/1.jpg",
        "decoded_image": image(), "answer": answer, "solution": None, "level": 3, "subject": "counting",
    }, said  # fmt: skip


def _step(problem: str, key: str, said: str | None) -> tuple[Row, str | None]:
    """B is right."""
    return {
        "ID": problem, "split": "testmini", "knowledge concept": "Angles", "question": "Which angle?",
        "option": "A. 30°; B. 60°; C. 90°; D. No correct answer", "answer": "B", "image_path": image(), "key": key,
        "question number": next(_numbers), "knowledge concept description": "",
    }, said  # fmt: skip


def _mmmu(kind: str, options: str, answer: str, said: str | None) -> tuple[Row, str | None]:
    in_options = "<image 2>" in options
    return {
        "id": f"validation_Art_{next(_numbers)}", "question": "What is <image 1>?", "options": options, "explanation": "",
        "image_1": image(), "image_2": image() if in_options else None,
        # Belongs to the explanation; the question does not name it.
        "image_3": image(), "img_type": "['Paintings']", "answer": answer, "topic_difficulty": "Easy",
        "question_type": kind, "subfield": "Art",
    }, said  # fmt: skip


_TEN = str([f"thing {number}" for number in range(10)])


def _pro(problem: str, answer: str, said: str | None) -> tuple[Row, str | None]:
    return {
        "id": f"test_{problem}", "question": "What is <image 1>?", "options": _TEN, "explanation": "?", "image_1": image(),
        "image_2": None, "answer": answer, "subject": "History",
    }, said  # fmt: skip


def _pro_seen(problem: str, answer: str, said: str | None) -> tuple[Row, str | None]:
    return {
        "id": f"test_{problem}", "image": image(), "options": _TEN, "answer": answer, "subject": "History",
    }, said  # fmt: skip


def _hallusion(place: str, right: str, said: str | None, seen: bool = True) -> tuple[Row, str | None]:
    """``place`` is category, subcategory, set, figure and question."""
    category, subcategory, family, figure, question = place.split()
    return {
        "category": category, "subcategory": subcategory, "visual_input": "1", "set_id": family, "figure_id": figure,
        "sample_note": "", "question_id": question, "question": f"Is it so? {place}", "gt_answer_details": "",
        "gt_answer": right, "filename": "", "image": image() if seen else None,
    }, said  # fmt: skip


MADE = {
    "MathVista": Made(
        {
            "data/testmini-00000-of-00002-0123abcd.parquet": [
                _vista("multi_choice", _ELEVENTHS, "8/11", "B"),
                _vista("multi_choice", _ELEVENTHS, "8/11", "(A) 3/11"),
                _vista("free_form", None, "14", "14"),
            ],
            "data/testmini-00001-of-00002-0123abcd.parquet": [
                _vista("free_form", None, "1.2", "1.3"),
                _vista("free_form", None, "[1, 2]", MALFORMED),
            ],
            "data/test-00000-of-00001-0123abcd.parquet": [_vista("free_form", None, "", "1")],
        },
        2 / 5, {"multi_choice": 1 / 2, "free_form": 1 / 3}, ("decoded_image",),
    ),
    "MathVerse": Made(
        {
            "testmini.parquet": [
                _verse(1, "Text Dominant", "multi-choice", "B", "4"),
                _verse(1, "Vision Only", "multi-choice", "B", "A"),
                _verse(2, "Text Dominant", "free-form", "50 cm", "0.5 m"),
                _verse(2, "Vision Only", "free-form", "50 cm", r"\frac{1}{2} m"),
                _verse(3, "Vision Only", "free-form", "7", MALFORMED),
            ],
            "testmini_text_only.parquet": [_verse(1, "Text Only", "free-form", "1", "1")],
        },
        3 / 5, {"Text Dominant": 2 / 2, "Vision Only": 1 / 3},
    ),
    "MathVision": Made(
        {
            "data/testmini-00000-of-00001.parquet": [
                _vision(["1", "2", "3", "4", "5"], "C", "3"),
                _vision(["1", "2", "3", "4", "5"], "A", "Not A, so B."),
                _vision([], "12", "12"),
                _vision([], "12", MALFORMED),
            ]
        },
        2 / 4, {"multi_choice": 1 / 2, "free_form": 1 / 2}, ("decoded_image",),
    ),
    "WeMath": Made(
        {
            "data/testmini-00000-of-00001.parquet": [
                # Complete mastery.
                _step("1", "2steps_1", "B"), _step("1", "2steps_2", "60°"), _step("1", "2steps_multi", "B. 60°"),
                # Rote memorization, mastery to who is loose.
                _step("2", "2steps_1", "B"), _step("2", "2steps_2", "C"), _step("2", "2steps_multi", "B"),
                # Inadequate generalization; the number is one of two steps, too.
                _step("1", "3steps_1", "B"), _step("1", "3steps_2", "B"), _step("1", "3steps_3", "B"),
                _step("1", "3steps_multi", "D"),
                # Insufficient knowledge.
                _step("2", "3steps_1", "A"), _step("2", "3steps_2", "B"), _step("2", "3steps_3", "B"),
                _step("2", "3steps_multi", MALFORMED),
                # Not whole: it counts for the accuracy alone.
                _step("3", "2steps_1", "B"),
            ]
        },
        (3 + 2 + 3 + 2 + 1) / 15,
        {
            "strict": (1 + 0 + 1 / 2 + 0) / 4, "loose": (1 + 1 + 1 / 2 + 0) / 4, "complete_mastery": 1 / 4,
            "rote_memorization": 1 / 4, "inadequate_generalization": 1 / 4, "insufficient_knowledge": 1 / 4,
        },
        ("image_path",),
    ),
    "MMMU": Made(
        {
            "Art/validation-00000-of-00001.parquet": [
                _mmmu("multiple-choice", "['<image 2>', 'a dog']", "A", "A"),
                _mmmu("multiple-choice", "['a cat', \"a dog's tail\"]", "A", "(B)"),
            ],
            "Physics/validation-00000-of-00001.parquet": [
                _mmmu("open", "[]", "['24/7', '3.429']", "3.429"),
                _mmmu("open", "[]", "Ohm", "ohm"),
                _mmmu("open", "[]", "5", MALFORMED),
            ],
            "Art/dev-00000-of-00001.parquet": [_mmmu("open", "[]", "1", "1")],
        },
        3 / 5, {"multiple-choice": 1 / 2, "open": 2 / 3}, ("image_1", "image_2", "image_3"),
    ),
    "MMMU-Pro": Made(
        {
            "standard (10 options)/test-00000-of-00001.parquet": [_pro("1", "J", "J"), _pro("2", "B", "C")],
            "vision/test-00000-of-00001.parquet": [
                _pro_seen("1", "J", "I"), _pro_seen("2", "B", "B"), _pro_seen("3", "I", "thing 8"),
            ],
            "standard (4 options)/test-00000-of-00001.parquet": [_pro("1", "A", "A")],
        },
        3 / 5, {"standard": 1 / 2, "vision": 2 / 3}, ("image", "image_1", "image_2"),
    ),
    "HallusionBench": Made(
        {
            "data/image-00000-of-00001.parquet": [
                _hallusion("VD chart 0 0 0", "1", "Yes"),
                _hallusion("VD chart 0 0 1", "0", "no"),
                _hallusion("VD chart 0 1 0", "0", "No, it is not."),
                _hallusion("VD chart 0 1 1", "1", "No"),
                _hallusion("VS map 0 1 0", "1", "yes"),
                # Without a figure: it counts for the question, not for a figure.
                _hallusion("VS map 0 0 0", "1", MALFORMED, seen=False),
            ],
            "data/non_image-00000-of-00001.parquet": [_hallusion("VS map 1 0 0", "1", "Yes", seen=False)],
        },
        # Questions: of the chart the first, not the second; not the map's. Figures: the chart's first, the map's.
        4 / 6, {"qAcc": 1 / 3, "fAcc": 2 / 3},
    ),
}  # fmt: skip
assert MADE.keys() == SEVEN.keys()


def write(name: str, data: Path, only: Sequence[str] = ()) -> Path:
    """The files of a benchmark, or ``only`` some, in their folder below ``data``."""
    made, folder = MADE[name], data / name
    for file, rows in made.files.items():
        if only and file not in only:
            continue
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        table = Dataset.from_list([row for row, _ in rows])
        for column in set(made.images) & set(table.column_names):
            table = table.cast_column(column, Image())
        table.to_parquet(folder / file)
    return folder

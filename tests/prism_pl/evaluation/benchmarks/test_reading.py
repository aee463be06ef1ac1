"""What a model is asked in each benchmark, and what is right."""

from pathlib import Path

import pytest
from datasets import Dataset

from prism_pl.data.files import DataSource
from prism_pl.data.reading import SYSTEM_PROMPT
from prism_pl.errors import UserError
from prism_pl.evaluation.subjects import EvaluationSet, open_sets
from tests.prism_pl.evaluation.benchmarks.made import MADE, write

TEN = tuple(f"{letter}. thing {number}" for number, letter in enumerate("ABCDEFGHIJ"))
ELEVENTHS = ("A. 3/11", "B. 8/11", "C. 6/11")
PRO_HINT = "Answer with the option letter from the given choices directly."
# Of some rows: the text, the number of images, the true answers, the options.
READ = {
    "MathVista": {
        0: ("Hint: Please answer.\nQuestion: How much?", 1, ("B",), ELEVENTHS),
        4: ("Hint: Please answer.\nQuestion: How much?", 1, ("[1, 2]",), ()),
    },
    "MathVerse": {
        1: ("Please directly answer.\nQuestion: Find the length.\nChoices:\nA:2\nB:4", 1, ("B",), ("A. 2", "B. 4")),
        2: ("Please directly answer.\nQuestion: Find the length.", 1, ("50 cm",), ()),
    },
    "MathVision": {
        0: (
            "How many circles? <image1>\nChoices: A. 1\nB. 2\nC. 3\nD. 4\nE. 5\n"
            "Answer the question with the option's letter from the given choices directly.",
            1, ("C",), ("A. 1", "B. 2", "C. 3", "D. 4", "E. 5"),
        ),
        2: ("How many circles? <image1>", 1, ("12",), ()),
    },
    "WeMath": {
        13: (
            "Which angle?\nA. 30°; B. 60°; C. 90°; D. No correct answer", 1, ("B",),
            ("A. 30°", "B. 60°", "C. 90°", "D. No correct answer"),
        ),
    },
    "MMMU": {
        0: (
            "What is <image 1>?\nA. <image 2>\nB. a dog\n\n"
            "Answer with the option's letter from the given choices directly.",
            2, ("A",), ("A. <image 2>", "B. a dog"),
        ),
        2: ("What is <image 1>?\n\nAnswer the question using a single word or phrase directly.", 1, ("24/7", "3.429"), ()),
    },
    "MMMU-Pro": {
        0: ("\n".join(["What is <image 1>?", *TEN, "", PRO_HINT]), 1, ("J. thing 9",), TEN),
        3: (PRO_HINT, 1, ("B",), TEN),
    },
    "HallusionBench": {
        1: ("Is it so? VD chart 0 0 1", 1, ("No",), ()),
        5: ("Is it so? VS map 0 0 0", 0, ("Yes",), ()),
    },
}  # fmt: skip
# The numbers of the rows that share a group; all others are alone.
SHARED = {
    "MathVista": [],
    "MathVerse": [{0, 1}, {2, 3}],
    "MathVision": [],
    "WeMath": [{0, 1, 2}, {3, 4, 5}, {6, 7, 8, 9}, {10, 11, 12, 13}],
    "MMMU": [],
    # Standard and vision part ask the same.
    "MMMU-Pro": [{0, 2}, {1, 3}],
    "HallusionBench": [{0, 1, 2, 3}, {4, 5}],
}
ROWS = {
    "MathVista": 5, "MathVerse": 5, "MathVision": 4, "WeMath": 15, "MMMU": 5, "MMMU-Pro": 5, "HallusionBench": 6,
}  # fmt: skip
# PRISM's limits, in tokens.
LIMITS = {
    "MathVista": 16384, "MathVerse": 16384, "MathVision": 24576, "WeMath": 49152, "MMMU": 8192, "MMMU-Pro": 8192,
    "HallusionBench": 8192,
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_a_row_becomes_a_question_of_our_schema(name: str, tmp_path: Path) -> None:
    (own,) = open_sets([EvaluationSet(benchmark=name, path=str(write(name, tmp_path)))])
    assert (own.name, own.max_new_tokens(96)) == (name, LIMITS[name])
    for index, (text, images, answers, options) in READ[name].items():
        row = own.data.prompt_row(index)
        assert [turn["role"] for turn in row.messages] == ["system", "user"]
        assert row.messages[0]["content"] == SYSTEM_PROMPT
        # The images stand before the text.
        assert row.messages[1]["content"] == "<image>" * images + text
        assert ((row.answer, *row.also_right), row.options) == (answers, options)
        assert [image.size() for image in row.images] == [(64, 32)] * images
    # Files of other splits and configurations are left alone.
    assert len(own.data) == ROWS[name]
    groups = own.groups(range(len(own.data)))
    shared = [{row for row in groups if groups[row] == group} for group in dict.fromkeys(groups.values())]
    assert [rows for rows in shared if len(rows) > 1] == SHARED[name]


def test_what_is_missing_is_said_with_the_command_that_fetches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = "hf download MMMU/MMMU_Pro --repo-type dataset --local-dir data/MMMU-Pro"
    with pytest.raises(UserError, match=f"^sets: MMMU-Pro: data/MMMU-Pro does not exist. .* does it: {command}$"):
        open_sets([EvaluationSet(benchmark="mmmu_pro")])
    # One of its two parts.
    write("MMMU-Pro", Path("data"), ["vision/test-00000-of-00001.parquet"])
    with pytest.raises(UserError, match=rf"holds no standard \(10 options\)/test-\*.parquet. .* does it: {command}$"):
        open_sets([EvaluationSet(benchmark="mmmu_pro")])
    # Another split alone, at a place of its own.
    folder = write("MathVista", tmp_path / "a b", ["data/test-00000-of-00001-0123abcd.parquet"])
    with pytest.raises(UserError, match=rf"holds no testmini-\*.parquet. .*--local-dir '{folder}'$"):
        open_sets([EvaluationSet(benchmark="MathVista", path=str(folder))])
    # The other split is there to be asked for.
    (own,) = open_sets([EvaluationSet(benchmark="MathVista", path=DataSource(path=str(folder), split="test"))])
    assert len(own.data) == 1
    # In its place nothing need be said.
    write("MMMU-Pro", Path("data"))
    assert len(open_sets([EvaluationSet(benchmark="MMMU-Pro")])[0].data) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": "['a', 'b'"}, "`options` must be a list; it is \"\\['a', 'b'\""),
        ({"question": " "}, "`question` is empty"),
        ({"image_1": None}, "names the images 1, and the row has not all of them"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, change: dict[str, str | None], message: str) -> None:
    rows = [dict(row) | {f"image_{number}": None for number in (2, 3)} for row, _ in list(MADE["MMMU"].rows)[1:3]]
    Dataset.from_list([rows[0], rows[0] | change]).to_parquet(tmp_path / "validation.parquet")
    with pytest.raises(UserError, match=rf"^{tmp_path}/validation.parquet:2: .*{message}"):
        open_sets([EvaluationSet(benchmark="MMMU", path=str(tmp_path))])


def test_mistakes_in_a_set(tmp_path: Path) -> None:
    folder = str(write("MathVision", tmp_path))
    for wrong, message in (
        (EvaluationSet(benchmark="MathVison"), "none of the paper's seven, MathVista, .* Did you mean MathVision?"),
        (EvaluationSet(), "needs a `path`, or one of the paper's seven as `benchmark`"),
        (EvaluationSet(benchmark="MathVision", path=folder, group="subject"), "group: MathVision brings its own"),
        (
            EvaluationSet(benchmark="MathVision", path=DataSource(path=folder, columns={"question": "id"})),
            "leave `columns` and `ignore` out",
        ),
        (
            EvaluationSet(benchmark="MathVista", path=f"{folder}/data/testmini-00000-of-00001.parquet"),
            "is not AI4Math/MathVista: it has no `pid`, `query`, `choices`, `question_type`, but id, question, ",
        ),
    ):
        with pytest.raises(UserError, match=message):
            open_sets([wrong])


def test_a_system_prompt_of_ones_own(tmp_path: Path) -> None:
    source = DataSource(path=str(write("MathVision", tmp_path)), system_prompt="Look.")
    (own,) = open_sets([EvaluationSet(benchmark="MathVision", path=source)])
    assert own.data.prompt_row(0).messages[0] == {"role": "system", "content": "Look."}

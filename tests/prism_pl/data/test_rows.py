"""Every format that a user's data come in gives the same row; and what a broken row is called."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from prism_pl.data.files import DataFile
from prism_pl.errors import UserError

TEACHER = "<caption>\n- a\n</caption>\n<think>\nb\n</think>\n<answer>\n3\n</answer>"
SYSTEM = {"role": "system", "content": "Look."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Pillow.new("RGB", (64, 32), (9, 9, 200)).save(tmp_path / "images" / "a.png")
    return tmp_path


def png() -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (64, 32), (9, 9, 200)).save(buffer, format="PNG")
    return buffer.getvalue()


def opened(folder: Path, row: dict[str, Any], kind: str = "jsonl") -> DataFile:
    path = folder / f"data.{kind}"
    if kind == "parquet":
        Dataset.from_list([row]).to_parquet(path)
    elif kind == "json":
        path.write_text(json.dumps([row]))
    else:
        path.write_text(json.dumps(row) + "\n")
    return DataFile.open(str(path), "test")


LOOK = {"role": "system", "content": [{"type": "text", "text": "Look."}]}
ADD = {"type": "text", "text": "Add."}
TYPED = [LOOK, {"role": "user", "content": [{"type": "image"}, ADD]}]
INLINE = [LOOK, {"role": "user", "content": [{"type": "image", "image": "images/a.png"}, ADD]}]
FORMATS: dict[str, dict[str, Any]] = {
    "LLaMA-Factory, messages": {
        "messages": [SYSTEM, {"role": "user", "content": "<image>Add."}], "images": ["images/a.png"], "answer": "3",
        "teacher": TEACHER,
    },
    "LLaMA-Factory, conversations": {
        "conversations": [{"from": "system", "value": "Look."}, {"from": "human", "value": "<image>Add."}],
        "images": ["images/a.png"], "answer": "3", "teacher": TEACHER,
    },
    "TRL, typed content": {"messages": TYPED, "images": ["images/a.png"], "answer": "3", "teacher": TEACHER},
    "TRL, image in the content": {"messages": INLINE, "answer": "3", "teacher": TEACHER},
    "PRISM's RL file": {
        "prompt": [SYSTEM, {"role": "user", "content": "<image>Add."}], "images": [{"bytes": png(), "path": None}],
        "data_source": "mm_gad", "reward_model": {"style": "rule", "ground_truth": "3"}, "teacher_response": TEACHER,
        "teacher_caption": "x", "teacher_cot": "y",
    },
    "teacher in two parts": {
        "prompt": [SYSTEM, {"role": "user", "content": "<image>Add."}], "images": [{"path": "images/a.png"}], "answer": 3,
        "teacher_caption": TEACHER.split("\n<think>")[0], "teacher_cot": TEACHER[TEACHER.index("<think>") :],
    },
}  # fmt: skip


# JSON holds no bytes.
COMBINATIONS = [
    (name, kind)
    for name, row in FORMATS.items()
    for kind in (["parquet"] if "bytes" in str(row.get("images")) else ["jsonl", "json", "parquet"])
]


@pytest.mark.parametrize(("name", "kind"), COMBINATIONS)
def test_every_format_is_the_same_row(name: str, kind: str, folder: Path) -> None:
    row = opened(folder, FORMATS[name], kind).prompt_row(0)
    assert row.messages == (SYSTEM, {"role": "user", "content": "<image>Add."})
    assert [image.size() for image in row.images] == [(64, 32)]
    assert row.images[0].open().getpixel((0, 0)) == (9, 9, 200)
    assert (row.answer, row.teacher) == ("3", TEACHER)


@pytest.mark.parametrize("column", ["image", "images"])
def test_a_plain_question_gets_its_mark_and_our_system_prompt(column: str, folder: Path) -> None:
    entry = "images/a.png" if column == "image" else ["images/a.png"]
    row = opened(folder, {"question": "Add.", column: entry, "answer": "3"}).prompt_row(0)
    assert row.messages[1] == {"role": "user", "content": "<image>Add."}
    assert row.messages[0]["role"] == "system"
    assert len(row.images) == 1
    assert (
        opened(folder, {"question": "Add. <image>", column: entry}).prompt_row(0).messages[1]["content"] == "Add. <image>"
    )
    assert opened(folder, {"question": "Add."}).prompt_row(0).images == ()


def test_images_of_datasets_own_type_are_not_decoded_before_they_are_asked_for(folder: Path) -> None:
    features = Features({"question": Value("string"), "images": List(Image())})
    broken = {"bytes": b"no image", "path": None}
    rows = [{"question": "Add.", "images": [{"bytes": png(), "path": None}]}, {"question": "Add.", "images": [broken]}]
    Dataset.from_list(rows, features=features).to_parquet(folder / "data.parquet")
    data = DataFile.open(str(folder / "data.parquet"), "test")
    assert data.prompt_row(0).images[0].open().size == (64, 32)
    assert data.prompt_row(1).images[0].name == f"{folder / 'data.parquet'}:2 (bytes)"
    with pytest.raises(UserError, match=r"data.parquet:2: the image .* cannot be decoded"):
        data.prompt_row(1).images[0].open()


def test_a_demonstration_in_conversations(folder: Path) -> None:
    turns = [{"from": "human", "value": "<image>Add."}, {"from": "gpt", "value": TEACHER}]
    data = opened(folder, {"conversations": turns, "images": ["images/a.png"]})
    assert data.demonstration(0).response == TEACHER
    assert data.prompt_row(0).messages[-1]["role"] == "user"


def test_a_teachers_response_may_be_the_demonstration(folder: Path) -> None:
    data = opened(folder, {"question": "Add.", "teacher": TEACHER})
    assert data.demonstration(0, "teacher").response == TEACHER
    with pytest.raises(UserError, match=r"data.jsonl:1: a demonstration must end with an assistant turn"):
        data.demonstration(0)
    with pytest.raises(UserError, match=r"data.jsonl:1: data.response is teacher, but the row has no `teacher`"):
        opened(folder, {"question": "Add."}).demonstration(0, "teacher")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, "no `messages`, `conversations`, `prompt`, `question`, .* with a text. The row has text"),
        ({"messages": [{"role": "user"}]}, "the turn of the user has no text, but None"),
        ({"messages": [{"role": "user", "content": " "}]}, "a turn of `messages` with the role 'user' has no text"),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            "a turn of `messages` has the role 'robot'; known are human, gpt",
        ),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "must end with a user turn"),
        ({"question": "x", "images": [7]}, "an image must be a path, bytes, .* or a dictionary with one of these; it is 7"),
    ],
)
def test_a_broken_row_is_named(row: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        opened(folder, row).prompt_row(0)
    assert "data.jsonl:1: " in str(error.value)


def test_an_image_too_large_is_refused_before_it_is_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (image,) = opened(folder, {"question": "x", "images": ["images/a.png"]}).prompt_row(0).images
    monkeypatch.setattr("prism_pl.data.images.MAX_PIXELS", 64 * 32 - 1)
    with pytest.raises(UserError, match="64 x 32 pixels, more than 2,047"):
        image.open()
    monkeypatch.setattr("prism_pl.data.images.MAX_BYTES", 10)
    with pytest.raises(UserError, match="bytes, more than 10"):
        image.size()


@pytest.mark.parametrize(
    ("options", "read"),
    [
        (["12 cm", "14 cm"], ("12 cm", "14 cm")),
        (["A. 12", "B. 13"], ("A. 12", "B. 13")),
        ([12, 13], ("12", "13")),
        ({"A": "12", "B": "13", "C": None}, ("A. 12", "B. 13")),
        (None, ()),
    ],
)
def test_options_are_a_list_or_texts_by_letter(folder: Path, options: Any, read: tuple[str, ...]) -> None:
    row = opened(folder, {"question": "Add.", "answer": "B", "options": options}).prompt_row(0)
    assert row.options == read


def test_options_of_another_kind_are_refused(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"data.jsonl:1: `options` is neither a list of texts nor texts by letter, but a str"
    ):
        opened(folder, {"question": "Add.", "answer": "B", "options": "A or B"}).prompt_row(0)

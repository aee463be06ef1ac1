"""What is read from a row, what is ignored on demand, and what is refused by name."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from prism_pl.data.conversation import PromptRow
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.reading import SYSTEM_PROMPT, ReadingOptions
from prism_pl.data.row_files import write_rows
from prism_pl.errors import UserError

ASK, SAY = {"role": "user", "content": "Add."}, {"role": "assistant", "content": "3"}
TALK = [ASK, SAY]


def opened(folder: Path, row: dict[str, Any], **reading: Any) -> DataFile:
    (folder / "data.jsonl").write_text(json.dumps(row))
    return DataFile.open(DataSource(path=str(folder / "data.jsonl"), **reading), "data.path")


def texts(row: PromptRow) -> list[str]:
    return [turn["content"] for turn in row.messages]


UNREAD: dict[str, tuple[dict[str, Any], str, str]] = {
    # name: the row, what the error says, and what `ignore` must name
    "video": ({"question": "Add.", "video": "a.mp4"}, "`video`, a video, is not read", "video"),
    "videos": ({"question": "Add.", "videos": ["a.mp4"]}, "`videos`, videos, is not read", "videos"),
    "audio": ({"question": "Add.", "audio": "a.wav"}, "`audio`, audio, is not read", "audio"),
    "audios": ({"question": "Add.", "audios": ["a.wav"]}, "`audios`, audio, is not read", "audios"),
    "video mark": ({"question": "Add. <video>"}, "the mark <video> in `question` is not read", "videos"),
    "video part": (
        {"messages": [{"role": "user", "content": [{"type": "video", "video": "a.mp4"},
                                                   {"type": "text", "text": "Add."}]}]},
        "a part of the type `video` in the turn of the user", "video",
    ),
    "audio part": (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "UklG"}},
                                                   {"type": "text", "text": "Add."}]}]},
        "a part of the type `input_audio`", "audio",
    ),
    "tools": ({"messages": [ASK], "tools": '[{"name": "f"}]'}, "`tools`, tools, is not read", "tools"),
    "tool_calls": (
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, ASK]},
        "`tool_calls` of a turn", "tool_calls",
    ),
    "tool": ({"messages": [ASK, {"role": "tool", "content": "7"}, ASK]}, "a turn with the role `tool`", "tool"),
    "function": ({"messages": [ASK, {"role": "function", "content": "7"}, ASK]}, "the role `function`", "function"),
    "observation": (
        {"conversations": [{"from": "human", "value": "Add."}, {"from": "observation", "value": "7"},
                           {"from": "human", "value": "Add."}]},
        "a turn with the role `observation`", "observation",
    ),
    "thinking": (
        {"messages": [ASK, {"role": "assistant", "content": [{"type": "thinking", "thinking": "x"},
                                                             {"type": "text", "text": "3"}]}, ASK]},
        "a part of the type `thinking`", "thinking",
    ),
    "label": ({"prompt": "Add.", "completion": "4", "label": False}, "`label: false`", "label"),
    "rejected_response": ({"messages": TALK, "rejected_response": "4"}, "a rejected response", "rejected_response"),
    "rejected": ({"prompt": "Add.", "rejected": "4"}, "`rejected`, a rejected response", "rejected"),
    "chosen": ({"prompt": "Add.", "chosen": "3"}, "`chosen`, a preferred response", "chosen"),
    "objects": ({"messages": [ASK], "objects": {"ref": ["a"], "bbox": [[0, 0, 1, 1]]}}, "places in an image", "objects"),
    "ground_truth": (
        {"question": "Add.", "reward_model": {"ground_truth": {"target": 98, "numbers": [44, 19]}}},
        "`reward_model.ground_truth` is neither a text, a number nor a list", "ground_truth",
    ),
    "answer": ({"question": "Add.", "answer": {"value": "3"}}, "`answer` is neither .*answer: answer.PART", "answer"),
    "two layouts": ({"question": "Add.", "prompt": "Subtract."}, "`prompt` and `question`, and they do not say the same",
                    "question"),
    "two systems": (
        {"messages": [{"role": "system", "content": "a"}, ASK], "system": "b"}, "the column `system` and another", "system",
    ),
    "two answers": (
        {"question": "Add.", "answer": "3", "ground_truth": "4"}, r"`answer` is \('3',\), `ground_truth` is", "answer",
    ),
    "image elsewhere": ({"question": "Add.", "image_path": "a.png"}, r"columns: {images: image_path}", "image_path"),
    "old Qwen-VL": ({"question": "Picture 1: <img>a.png</img> Add."}, "names an image between <img> and </img>", "img"),
    "pixels": (
        {"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png", "max_pixels": 9},
                                                   {"type": "text", "text": "Add."}]}]},
        "`max_pixels` of an image", "max_pixels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_what_matters_and_is_not_read_is_named_and_ignored_on_demand(name: str, tmp_path: Path) -> None:
    row, message, ignored = UNREAD[name]
    Image.new("RGB", (64, 32)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=message) as error:
        opened(tmp_path, row).prompt_row(0)
    assert "data.jsonl:1: " in str(error.value)
    assert f"ignore: [{ignored}]" in str(error.value) or ignored == "videos"
    read = opened(tmp_path, row, ignore=[ignored]).prompt_row(0)
    assert read.messages[-1]["role"] == "user"
    assert "7" not in texts(read)


def test_what_is_empty_is_no_matter(tmp_path: Path) -> None:
    """JSON and Arrow give every row all columns that some row has."""
    row = {
        "messages": TALK,
        "videos": [],
        "tools": "[]",
        "objects": {"ref": [], "bbox": None},
        "label": None,
        "rejected": "",
    }
    assert texts(opened(tmp_path, row).prompt_row(0)) == [SYSTEM_PROMPT, "Add."]


@pytest.mark.parametrize(
    ("row", "read"),
    [
        ({"messages": [ASK], "question": "Add."}, ["Add."]),
        ({"messages": [{"role": "user", "content": "<image>Add. Put it in a box."}], "image": "a.png", "problem": "Add."},
         ["<image>Add. Put it in a box."]),
        ({"messages": [{"role": "system", "content": "Look."}, ASK], "system": "Look."}, ["Look.", "Add."]),
        ({"conversations": [{"from": "human", "value": "Add."}], "system": "Look."}, ["Look.", "Add."]),
        ({"system": [{"type": "text", "text": "Look."}], "messages": [ASK]}, ["Look.", "Add."]),
        ({"messages": [{"role": "system", "content": ""}, ASK]}, ["Add."]),
        ({"instruction": "Add.", "input": "", "output": "3"}, ["Add."]),
        ({"problem": "Add.", "image": "a.png"}, ["<image>Add."]),
        ({"messages": [ASK, SAY, ASK], "images": ["a.png"]}, ["<image>Add.", "3", "Add."]),
        ({"messages": [{"role": "user", "content": [{"image": "a.png"}, {"text": "Add."}]}]}, ["<image>Add."]),
    ],
)  # fmt: skip
def test_turns(row: dict[str, Any], read: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert texts(opened(tmp_path, row, system_prompt=None).prompt_row(0)) == read


def test_each_mark_has_its_own_image(tmp_path: Path) -> None:
    """Those of typed content, and the row's for the marks that name none, in order."""
    parts = [{"type": "image"}, {"type": "image", "image": "inline.png"}, {"type": "text", "text": "<image>Add."}]
    row = opened(tmp_path, {"messages": [{"role": "user", "content": parts}], "images": ["a.png", "b.png"]}).prompt_row(0)
    assert row.messages[-1]["content"] == "<image><image><image>Add."
    assert [image.path.name for image in row.images if image.path] == ["a.png", "inline.png", "b.png"]


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"answer": ["3", "three"]}, ("3", "three")),
        ({"answer": [3, 3.5, None, ""]}, ("3", "3.5")),
        ({"answer": True}, ("True",)),
        ({"answer": 0}, ("0",)),
        ({"answer": []}, ()),
        ({"answer": "3", "ground_truth": "3"}, ("3",)),
        ({"reward_model": {"ground_truth": {"target": ["3", "three"]}}}, ("3", "three")),
        ({"reward_model": {"ground_truth": {"target": 3, "numbers": None}}}, ("3",)),
        ({"solution": "<answer> 3 </answer>"}, ("3",)),
        ({"solution": r"So $1 + 2 = \boxed{2}$, no, \boxed{\frac{6}{2}}."}, (r"\frac{6}{2}",)),
        ({"solution": "$3$"}, ("$3$",)),
        ({"solution": r"Never closed: \boxed{3"}, (r"Never closed: \boxed{3",)),
        # A worked solution beside the answer is no other answer.
        ({"answer": "3", "solution": "1 + 2 = 3"}, ("3",)),
    ],
)
def test_answers(row: dict[str, Any], answers: tuple[str, ...], tmp_path: Path) -> None:
    read = opened(tmp_path, {"question": "Add."} | row).prompt_row(0)
    assert ((read.answer, *read.also_right) if read.answer else ()) == answers


def test_data_addresses_and_what_is_none(tmp_path: Path) -> None:
    Image.new("RGB", (64, 32), (9, 9, 200)).save(tmp_path / "a.png")
    content = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    for entry in (f"data:image/png;base64,{content}", {"url": f"data:;base64,\n{content[:40]}\n{content[40:]}"}):
        (image,) = opened(tmp_path, {"question": "Add.", "images": [entry]}).prompt_row(0).images
        assert image.open().getpixel((0, 0)) == (9, 9, 200)
    for broken, message in (
        (f"data:image/png;base64,{content}!" * 9, r"cannot be decoded"),
        (f"data:image/png,{content * 50}", "it is not `data:image/...;base64,...`"),
        ("x" * 33_000, "does not exist|cannot be decoded"),
    ):
        with pytest.raises(UserError, match=message) as error:
            opened(tmp_path, {"question": "Add.", "images": [broken]}).prompt_row(0).images[0].open()
        assert len(str(error.value)) < 800
        assert broken[:201] not in str(error.value)


def test_columns_are_read_under_the_names_that_the_configuration_gives(tmp_path: Path) -> None:
    row = {"text": "Add.", "extra": {"truth": 3}, "pic": "a.png", "question": "Not this."}
    data = opened(
        tmp_path, row, columns={"question": "text", "answer": "extra.truth", "images": "pic"}, system_prompt="Hm."
    )
    read = data.prompt_row(0)
    assert (texts(read), read.answer, len(read.images)) == (["Hm.", "<image>Add."], "3", 1)
    # What is ignored is said in our names: `chosen` is the completion here.
    row = {"prompt": "Add.", "chosen": "3", "rejected": "4"}
    data = opened(tmp_path, row, columns={"completion": "chosen"}, ignore=["rejected"])
    assert data.demonstration(0).response == "3"


def test_written_rows_have_our_names_and_are_read_as_before(tmp_path: Path) -> None:
    row = {"text": "Add.", "extra": {"truth": 3}, "question": "Not this.", "tools": "[1]"}
    reading = {"columns": {"question": "text", "answer": "extra.truth"}, "ignore": ["tools"], "system_prompt": "Hm."}
    data = opened(tmp_path, row, **reading)
    write_rows(data, [0], tmp_path / "out" / "rows.parquet")
    assert data.written == {"image_root": str(tmp_path), "ignore": ["tools"], "system_prompt": "Hm."}
    again = DataFile.open(DataSource(path=str(tmp_path / "out" / "rows.parquet"), **data.written), "test")
    assert (texts(again.prompt_row(0)), again.prompt_row(0).answer) == (texts(data.prompt_row(0)), "3")
    assert sorted(again.table.column_names) == ["answer", "extra", "question", "tools"]


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"columns": {"anwser": "a"}}, "data.path.columns: no column is read as `anwser`. Did you mean answer?"),
        ({"columns": {"answer": ""}}, "columns.answer: the name of a column of the file is needed, it is ''"),
        ({"columns": {"answer": "a", "question": "a"}}, "one column of the file is named twice"),
        ({"columns": {"answer": "a"}, "ignore": ["answer"]}, "data.path.columns, data.path.ignore: both name `answer`"),
        ({"ignore": ["tool_cals"]}, "ignore: `tool_cals` is nothing to ignore. Did you mean tool_calls?"),
    ],
)
def test_a_mistake_in_the_configuration_is_named_before_any_row_is_read(reading: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        ReadingOptions(**reading).check("data.path")


def test_a_column_that_the_file_has_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data.path: columns.answer: the file has no column `anwser`. Did you mean answer\?"
    ):
        opened(tmp_path, {"question": "Add.", "answer": "3"}, columns={"answer": "anwser"})


def test_an_unknown_layout_lists_its_columns_and_the_nearest_that_is_read(tmp_path: Path) -> None:
    message = (
        r"The row has id, user_question, anser. `user_question` is like `question`; .* `columns: {question: user_question}`"
    )
    with pytest.raises(UserError, match=message):
        opened(tmp_path, {"id": 3, "user_question": "Add.", "anser": "3"}).prompt_row(0)


def test_no_error_prints_a_long_value(tmp_path: Path) -> None:
    long = "x" * 5000
    rows: list[dict[str, Any]] = [
        {"question": "Add.", "answer": {"a": long}},
        {"question": "Add.", "images": [{"a": long}]},
        {"question": "Add.", "images": [f"http://{long}"]},
        {"question": "Add.", "images": [f"../{long}"]},
        {"messages": [{"role": long, "content": "x"}]},
        {"messages": [{"role": "user", "content": {"a": long}}]},
        {"messages": [{"role": "user", "content": [{"type": long}]}]},
        {"question": "Add.", "history": [[long]]},
        {"question": "Add.", "answer": long, "ground_truth": "3"},
        {"messages": long},
    ]
    for row in rows:
        with pytest.raises(UserError) as error:
            opened(tmp_path, row).prompt_row(0)
        assert "x" * 50 in str(error.value)
        assert "x" * 201 not in str(error.value)

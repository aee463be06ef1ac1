"""check-data on a file with one row of each defect, and on mutated rows."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from prism_pl.commands.check_data import percentile
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.row_checks import Requirements, check_rows
from tests.command_line import run
from tests.responses import respond

TEACHER = respond("a", "b", "3")
GOOD: dict[str, Any] = {
    "messages": [{"role": "user", "content": "<image>Add."}], "images": ["a.png"], "answer": "3", "teacher": TEACHER,
}  # fmt: skip
DEFECTS: dict[str, tuple[dict[str, Any], str]] = {
    "missing image": ({"images": ["none.png"]}, "the image .*none.png does not exist"),
    "corrupt image": ({"images": ["cut.png"]}, "the image .*cut.png cannot be decoded"),
    "mark without image": ({"images": []}, "1 <image> marks in the messages, but 0 images"),
    "image without mark": ({"messages": [{"role": "user", "content": "Add."}]}, "0 <image> marks .* but 1 images"),
    "placeholder typed": (
        {"messages": [{"role": "user", "content": "<image><|image_pad|>"}]}, "holds the placeholder <.image_pad.>",
    ),
    "no answer": ({"answer": " "}, "the row has no `answer`"),
    "malformed teacher": ({"teacher": "<caption>a</caption>"}, "`teacher` response is missing or malformed"),
    "path out of the folder": ({"images": ["../a.png"]}, "the image ../a.png lies outside .*image_root"),
    "address": ({"images": ["https://example.org/a.png"]}, "is an address, and nothing is fetched"),
    "no turn": ({"messages": []}, "no `messages`"),
    "over-long": (
        {"messages": [{"role": "user", "content": "<image>" + "word " * 300}]}, "data.max_prompt_tokens is 256",
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 32)).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    return tmp_path


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "data.jsonl"


def check(*arguments: str) -> int:
    return run("check-data", *arguments)


@pytest.fixture
def config(folder: Path) -> str:
    (folder / "rlvr.yaml").write_text(
        "data:\n  class_path: PromptDataModule\n  init_args: {path: %s, model: embedded/digits, batch_size: 2, "
        "needs: [answer, teacher], max_prompt_tokens: 256}\n" % (folder / "data.jsonl")
    )
    return str(folder / "rlvr.yaml")


def test_every_defect_is_named_with_its_row(folder: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, [GOOD, *(GOOD | change for change, _ in DEFECTS.values()), GOOD])
    assert check("--config", config, "--write-clean", str(folder / "clean")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["rows             13", "images           9"]
    assert "defective rows   10" in lines
    assert "too long         1" in lines
    for number, (name, (_, message)) in enumerate(DEFECTS.items(), start=2):
        (line,) = [line for line in lines if line.startswith(f"row {number}: ")]
        assert re.search(message, line), name
    source = DataSource(path=str(folder / "clean" / "data.parquet"), image_root=str(folder))
    clean = DataFile.open(source, "test")
    assert len(clean) == 2
    assert clean.prompt_row(1).images[0].size() == (64, 32)


def test_a_clean_file_passes(folder: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, [GOOD] * 3)
    assert check("--config", config) == 0
    out = capsys.readouterr().out
    assert "defective rows   0" in out
    assert "response tokens" not in out


def test_demonstrations_are_measured_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = [*GOOD["messages"], {"role": "assistant", "content": TEACHER}]
    path = write(folder, [GOOD | {"messages": turns}, GOOD])
    assert check("--config", "sft.yaml", "--path", str(path)) == 1
    out = capsys.readouterr().out
    assert "response tokens  p50" in out
    assert "row 2: a demonstration must end with an assistant turn" in out


def test_percentile_by_hand() -> None:
    assert [percentile(list(range(1, 101)), p) for p in (50, 90, 99, 100)] == [50, 90, 99, 100]
    assert percentile([7], 50) == 7


KEYS = ["role", "content", "type", "text", "image", "from", "bytes", "path"]
json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=12),
        st.sampled_from(["<image>", "a.png", "user", "../a.png", "text", "image", TEACHER, "<answer>", "/dev/null", "."]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    ),
    max_leaves=6,
)  # fmt: skip
mutations = st.dictionaries(
    st.sampled_from(["messages", "conversations", "prompt", "question", "images", "image", "answer", "teacher",
                     "teacher_caption", "teacher_cot", "reward_model"]),
    json_values, min_size=1, max_size=3,
)  # fmt: skip


@given(mutation=mutations)
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_mutated_row_crashes_or_passes_wrongly(mutation: dict[str, Any], folder: Path, encoder: PromptEncoder) -> None:
    """A row that is called good goes through the encoder, has its answer and teacher, and one image a mark."""
    data = DataFile("data.jsonl", folder, [GOOD | mutation])  # type: ignore[arg-type] # a list serves as the table
    requirements = Requirements(needs=("answer", "teacher"))
    (checked,) = check_rows(data, [0], encoder, requirements, decode=True)
    if checked.defect is not None or checked.too_long(encoder, requirements) is not None:
        return
    (prompt,) = encoder.encode([data.prompt_row(0)])
    assert len(prompt.input_ids) == checked.prompt_tokens
    assert prompt.answer
    assert prompt.teacher
    assert len(prompt.images) == checked.images

"""check-data on a file with one row of each defect."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from prism_pl.commands.check_data import percentile
from prism_pl.data.files import DataFile, DataSource
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
    "image without mark": ({"images": ["a.png", "a.png"]}, "1 <image> marks .* but 2 images"),
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
    """The stage's own, with other rows."""
    content = yaml.safe_load(Path("configs/rlvr.yaml").read_text())
    changes = {"path": str(folder / "data.jsonl"), "needs": ["answer", "teacher"], "max_prompt_tokens": 256}
    content["data"]["init_args"] |= changes
    content["model"]["init_args"]["policy"]["path"] = "embedded/digits"
    (folder / "rlvr.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "rlvr.yaml")


def test_every_defect_is_named_with_its_row(folder: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, [GOOD, *(GOOD | change for change, _ in DEFECTS.values()), GOOD])
    assert check("--config", config, "--write-clean", str(folder / "clean")) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["rows             13", "images           10"]
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


def test_a_source_says_how_its_rows_are_read(folder: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [
        {"q": "Add.", "sol": "3", "teacher": TEACHER, "tools": "[1]", "image": "a.png"},
        {"q": "Add. Put it in \\boxed{}.", "sol": "3", "teacher": TEACHER, "system": "Look."},
        {"q": "Add, within \\boxed{}.", "sol": "3", "teacher": TEACHER},
    ]
    path = str(write(folder, rows))
    columns = {"question": "q", "answer": "sol"}
    assert check("--config", config, f"--data.path={json.dumps({'path': path, 'columns': columns})}") == 1
    assert "row 1: `tools`, tools, is not read." in capsys.readouterr().out
    read = {"path": path, "columns": columns, "ignore": ["tools"], "system_prompt": "Short and good."}
    assert check("--config", config, f"--data.path={json.dumps(read)}") == 0
    out = capsys.readouterr().out
    assert "system prompt    'Short and good.', added to 2 rows\n" in out
    assert "warning          row 2: the prompt asks for a format that rewards do not read: \\boxed{} (2 rows)." in out
    for wrong, message in (
        ({"columns": {"anwser": "sol"}}, "columns: no column is read as `anwser`. Did you mean answer?"),
        ({"ignore": ["tols"]}, "ignore"),
    ):
        assert check("--config", config, f"--data.path={json.dumps({'path': path} | wrong)}") == 2
        assert message in capsys.readouterr().err


def test_demonstrations_are_measured_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = [*GOOD["messages"], {"role": "assistant", "content": TEACHER}]
    path = write(folder, [GOOD | {"messages": turns}, GOOD])
    assert check("--config", "sft.yaml", "--data.path", str(path), "--model.policy.path=embedded/digits") == 1
    out = capsys.readouterr().out
    assert "response tokens  p50" in out
    assert "row 2: a demonstration must end with an assistant turn" in out


def test_the_command_line_overrides_the_data_as_in_fit(
    folder: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(folder, [GOOD])
    other = path.rename(folder / "other.jsonl")
    assert check("--config", config, "--data.path", str(other), "--data.needs=[answer]") == 0
    assert f"file             {other}" in capsys.readouterr().out
    assert check("--config", config, f"--data.path={other}", "--data.max_prompt_tokens", "3") == 1
    assert re.search(r"row 1: the prompt has \d+ tokens, data.max_prompt_tokens is 3", capsys.readouterr().out)
    # A limit that drops what is over it stops no run.
    arguments = [f"--data.path={other}", "--data.max_prompt_tokens=3", "--data.drop_too_long=true"]
    assert check("--config", config, *arguments) == 0


def test_an_unknown_data_key_is_the_error_of_fit(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    errors = []
    for command in ("fit", "check-data"):
        assert run(command, "--config", config, "--data.max_promt_tokens", "10") == 2
        errors.append(capsys.readouterr().err)
    assert errors[0] == errors[1]
    assert "data.max_promt_tokens: PromptDataModule has no such key. Did you mean max_prompt_tokens?" in errors[0]


def test_pairs_are_checked_with_their_held_out_prompts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each by what its module asks: a teacher always, a well-formed policy's side where the row brings one."""
    student = [TEACHER, "no sections"]
    training = write(folder, [GOOD | {"student_response": text} for text in student]).rename(folder / "training.jsonl")
    heldout = write(folder, [GOOD, GOOD, GOOD | {"teacher": None}])
    arguments = ["--data.path", str(training), "--data.heldout_path", str(heldout)]
    assert check("--config", pairs_config(folder), *arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("file")] == [f"file             {f}" for f in (training, heldout)]
    (first, second) = (line for line in lines if line.startswith("row "))
    assert first.startswith("row 2:")
    assert "student" in first
    assert second.startswith("row 3:")
    assert "`teacher` response is missing or malformed" in second


def pairs_config(folder: Path) -> str:
    """The warm-up's own, with the embedded model for each that another stage would make."""
    text = Path("configs/warmup.yaml").read_text().replace("runs/demo/sft/model", "embedded/digits")
    (folder / "warmup.yaml").write_text(text)
    return str(folder / "warmup.yaml")


def test_percentile_by_hand() -> None:
    assert [percentile(list(range(1, 101)), p) for p in (50, 90, 99, 100)] == [50, 90, 99, 100]
    assert percentile([7], 50) == 7

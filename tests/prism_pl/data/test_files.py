"""Where rows come from: files, folders, globs, mixtures, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from prism_pl.data.files import DataFile, DataSource, Mixture
from prism_pl.errors import UserError


def rows(*questions: str) -> list[dict[str, Any]]:
    return [{"question": question, "answer": "1"} for question in questions]


def write(path: Path, *questions: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        Dataset.from_list(rows(*questions)).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(*questions)))
    return str(path)


def questions(data: DataFile) -> list[str]:
    return [data.prompt_row(index).messages[-1]["content"] for index in range(len(data))]


def test_a_downloaded_folder_is_read_by_split_in_the_order_of_its_shards(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00001-of-00002.parquet", "c")
    write(tmp_path / "data" / "train-00000-of-00002.parquet", "a", "b")
    write(tmp_path / "data" / "test-00000-of-00001.parquet", "x")
    # Neither a description nor an image is taken for rows.
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert questions(DataFile.open(str(tmp_path), "key")) == ["a", "b", "c"]
    assert questions(DataFile.open(DataSource(path=str(tmp_path), split="test"), "key")) == ["x"]
    with pytest.raises(UserError, match=r"holds no .* file of the split validation"):
        DataFile.open(DataSource(path=str(tmp_path), split="validation"), "key")


def test_a_glob_takes_its_files_in_order(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", "b")
    write(tmp_path / "a.jsonl", "a")
    data = DataFile.open(str(tmp_path / "*.jsonl"), "key")
    assert questions(data) == ["a", "b"]
    assert data.source(1) == f"{tmp_path}/*.jsonl:2"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jsonl", "key: the data file .*none.jsonl does not exist"),
        ("none*.jsonl", "key: no file matches"),
        ("a.txt", "key: .* is no data file; known endings are .parquet, .jsonl, .json, found .txt"),
        ("empty.jsonl", "key: .*empty.jsonl"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match=message):
        DataFile.open(str(tmp_path / name), "key")


def test_a_missing_local_name_is_not_looked_up_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        DataFile.open("data/train.jsonl", "key")


def test_an_image_root_holds_for_relative_paths_and_bounds_them(tmp_path: Path) -> None:
    (tmp_path / "images" / "inner").mkdir(parents=True)
    lines = [{"question": "q", "image": image} for image in ("inner/../a.png", "../outside.png", "/etc/hosts")]
    path = tmp_path / "data" / "d.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = DataFile.open(DataSource(path=str(path), image_root=str(tmp_path / "images")), "key")
    (image,) = data.prompt_row(0).images
    assert image.path is not None
    assert image.path.resolve() == (tmp_path / "images" / "a.png").resolve()
    for row in (1, 2):
        with pytest.raises(UserError, match=rf"d.jsonl:{row + 1}: the image .* lies outside"):
            data.prompt_row(row)
    # Named on purpose, a folder above both makes them good.
    wide = DataFile.open(DataSource(path=str(path), image_root="/"), "key")
    assert wide.prompt_row(2).images[0].path == Path("/etc/hosts")
    with pytest.raises(UserError, match=r"image_root .*nowhere is no folder"):
        DataFile.open(DataSource(path=str(path), image_root=str(tmp_path / "nowhere")), "key")


def test_a_relative_data_file_bounds_its_images_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root is "." here, in which every relative path seems to lie."""
    monkeypatch.chdir(tmp_path)
    Path("d.jsonl").write_text(json.dumps({"question": "q", "image": "../x.png"}) + "\n")
    with pytest.raises(UserError, match="lies outside"):
        DataFile.open("d.jsonl", "key").prompt_row(0)


def test_a_mixture_numbers_its_rows_through_and_finds_them_again(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.jsonl", "a1", "a2"), write(tmp_path / "b.parquet", "b1", "b2", "b3")
    mixture = Mixture.open([DataSource(path=a), DataSource(path=b, weight=0.5)], "key")
    assert len(mixture) == 5
    assert mixture.starts == [0, 2]
    assert mixture.weights == (1.0, 0.5)
    found = [mixture.prompt_row(index) for index in range(5)]
    assert [row.messages[-1]["content"] for row in found] == ["a1", "a2", "b1", "b2", "b3"]
    assert [row.source for row in found] == [f"{a}:1", f"{a}:2", f"{b}:1", f"{b}:2", f"{b}:3"]
    assert [mixture.find(row.source) for row in found] == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match="has the weight 0"):
        Mixture.open([DataSource(path=a, weight=0)], "key")
    with pytest.raises(UserError, match="empty list"):
        Mixture.open([], "key")


@pytest.mark.parametrize(
    ("columns", "brought"),
    [
        ({"student_response": "x"}, True),
        ({"student": "x"}, True),
        ({"student_caption": "x", "student_cot": "y"}, True),
        ({"student_caption": "x"}, False),
        ({"teacher": "x"}, False),
    ],
)
def test_a_policys_response_is_found_under_every_name_that_rows_read(
    columns: dict[str, str], brought: bool, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "?", **columns}) + "\n")
    data = DataFile.open(str(tmp_path / "rows.jsonl"), "test")
    assert data.has_policy_side is brought
    assert (data.prompt_row(0).student is not None) is brought

"""Rows written to another folder: images are found with the root of the file they came from; a column may be replaced."""

import json
from pathlib import Path

from PIL import Image

from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.row_files import write_rows


def written(folder: Path, rows: list[dict], columns: dict[str, list]) -> DataFile:
    Image.new("RGB", (8, 6)).save(folder / "a.png")
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = DataFile.open(str(folder / "data.jsonl"), "path")
    file = folder / "deep" / "er" / "rows.parquet"
    write_rows(source, list(range(len(rows))), file, columns)
    return DataFile.open(DataSource(path=str(file), image_root=str(source.root)), "path")


def test_images_of_every_shape_are_found(tmp_path: Path) -> None:
    for images in (["a.png"], [{"path": "a.png"}], [f"file://{tmp_path}/a.png"], [str(tmp_path / "a.png")]):
        data = written(tmp_path, [{"question": "?", "images": images}], {})
        assert data.prompt_row(0).images[0].size() == (8, 6)


def test_one_image_and_none(tmp_path: Path) -> None:
    data = written(tmp_path, [{"question": "?", "image": "a.png"}, {"question": "?"}], {})
    assert [len(data.prompt_row(index).images) for index in range(2)] == [1, 0]


def test_a_column_replaces_one_of_its_name(tmp_path: Path) -> None:
    rows = [{"question": "?", "teacher": "old", "pass_rate": "none"}] * 2
    data = written(tmp_path, rows, {"teacher": ["x", "y"], "pass_rate": [0.0, 0.5]})
    assert (data.table["teacher"][:], data.table["pass_rate"][:]) == (["x", "y"], [0.0, 0.5])

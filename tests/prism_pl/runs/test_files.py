"""The append-only files of a run under kills and resumes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.errors import UserError
from prism_pl.runs.files import (
    FINISHED_MARK,
    append_lines,
    drop_after,
    finish,
    keep_settings,
    only_process,
    prepare_run_dir,
    read_lines,
    set_aside,
    stage_identity,
)


def write_steps(file: Path, steps: list[int]) -> list[dict[str, int]]:
    lines = [{"step": step, "value": 10 * step} for step in steps]
    append_lines(file, [json.dumps(line) for line in lines])
    return lines


def test_lines_come_back(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "metrics.jsonl"
    assert read_lines(file) == []
    lines = write_steps(file, [1, 2]) + write_steps(file, [3])
    assert read_lines(file) == lines


@pytest.mark.parametrize("keep", [1, 5, 22])
def test_a_last_line_cut_by_a_kill_is_left_out(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = write_steps(file, [1, 2])
    cut = '{"step": 3, "value": 30}'[:keep]
    file.write_bytes(file.read_bytes() + cut.encode())
    assert read_lines(file) == lines
    # The next lines do not grow together with the rest of it.
    assert lines + write_steps(file, [4]) == read_lines(file)
    assert file.read_text().count("\n") == 3


def test_a_file_of_a_cut_line_alone(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "va')
    assert read_lines(file) == []
    assert write_steps(file, [1]) == read_lines(file)


def test_a_cut_inside_a_character(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    append_lines(file, [json.dumps({"step": 1, "text": "ä"}, ensure_ascii=False)])
    file.write_bytes(file.read_bytes() + '{"step": 2, "text": "ä'.encode()[:-1])
    assert read_lines(file) == [{"step": 1, "text": "ä"}]
    append_lines(file, ['{"step": 2}'])
    assert read_lines(file) == [{"step": 1, "text": "ä"}, {"step": 2}]


def test_no_lines_leave_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = write_steps(file, [1])
    append_lines(file, [])
    assert read_lines(file) == lines


def test_durable_lines_are_appended_alike(tmp_path: Path) -> None:
    file = tmp_path / "tries.jsonl"
    append_lines(file, ['{"row": 0}'], durable=True)
    file.write_bytes(file.read_bytes() + b'{"row": 1')
    append_lines(file, ['{"row": 2}'], durable=True)
    assert file.read_bytes() == b'{"row": 0}\n{"row": 2}\n'


def test_settings_are_kept_and_others_refused(tmp_path: Path) -> None:
    file = tmp_path / "out" / "filter.json"
    keep_settings(file, {"model": "a", "seed": 0}, "pass rates")
    keep_settings(file, {"model": "a", "seed": 0}, "pass rates")
    with pytest.raises(UserError, match=r"out holds pass rates with seed 0, not 1. Give another folder"):
        keep_settings(file, {"model": "a", "seed": 1}, "pass rates")
    assert json.loads(file.read_text()) == {"model": "a", "seed": 0}


def test_a_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(UserError, match=r"another process is at work in .*out")
    with only_process(tmp_path / "out"), refused, only_process(tmp_path / "out"):
        pass
    with only_process(tmp_path / "out"):
        pass


@pytest.mark.parametrize(("step", "kept"), [(0, []), (1, [1, 1]), (2, [1, 1, 2]), (9, [1, 1, 2, 3])])
def test_drop_after_keeps_the_checkpoints_steps(tmp_path: Path, step: int, kept: list[int]) -> None:
    file = tmp_path / "metrics.jsonl"
    write_steps(file, [1, 1, 2, 3])
    file.write_bytes(file.read_bytes() + b'{"step": 4')
    drop_after(file, step)
    assert read_lines(file) == [{"step": value, "value": 10 * value} for value in kept]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    drop_after(tmp_path / "none.jsonl", step)
    assert not (tmp_path / "none.jsonl").exists()


@given(texts=st.lists(st.text(), max_size=5), step=st.integers(0, 5))
def test_any_text_survives_append_and_drop(tmp_path_factory: pytest.TempPathFactory, texts: list[str], step: int) -> None:
    """Also line separators beyond the newline, which a line-based reader could split at."""
    lines = [{"step": index, "text": text} for index, text in enumerate(texts)]
    for ensure_ascii in (True, False):
        file = tmp_path_factory.mktemp("run") / "samples.jsonl"
        append_lines(file, [json.dumps(line, ensure_ascii=ensure_ascii) for line in lines])
        assert read_lines(file) == lines
        drop_after(file, step)
        assert read_lines(file) == lines[: step + 1]


def test_finish_marks_a_run_with_an_identity_of_its_own(tmp_path: Path) -> None:
    assert stage_identity(tmp_path) is None
    finish(tmp_path, 7, "abc")
    first = stage_identity(tmp_path)
    mark = json.loads((tmp_path / FINISHED_MARK).read_text())
    assert (mark["updates"], mark["commit"], mark["identity"]) == (7, "abc", first)
    finish(tmp_path, 7, "abc")
    assert stage_identity(tmp_path) not in (None, first)
    assert [path.name for path in tmp_path.iterdir()] == [FINISHED_MARK]


def test_only_a_finished_run_is_set_aside(tmp_path: Path) -> None:
    run = tmp_path / "sft"
    prepare_run_dir(run)
    assert not run.exists()
    write_steps(run / "metrics.jsonl", [1])
    prepare_run_dir(run)
    assert read_lines(run / "metrics.jsonl") == [{"step": 1, "value": 10}]
    finish(run, 1, None)
    prepare_run_dir(run)
    assert not run.exists()
    assert read_lines(tmp_path / "sft.1" / "metrics.jsonl") == [{"step": 1, "value": 10}]
    run.mkdir()
    assert set_aside(run) == tmp_path / "sft.2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sft.1", "sft.2"]

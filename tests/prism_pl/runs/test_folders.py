"""Folders are complete or absent."""

import fcntl
import resource
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from prism_pl.errors import UserError
from prism_pl.runs.files import only_writer
from prism_pl.runs.folders import atomic_folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def fill_and_fail(target: Path) -> None:
    with atomic_folder(target) as partial:
        (partial / "half.txt").write_text("half")
        raise KeyboardInterrupt


def test_a_new_folder_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with atomic_folder(target) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "a.txt").write_text("a")
        assert not target.exists()
        assert partial.parent == target.parent, "a rename needs the same file system"
    assert contents(target) == {"sub/a.txt": "a"}
    assert list(target.parent.iterdir()) == [target]
    # mkdtemp's 0700 would lock others out of a finished model.
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_nothing_is_left_of_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill_and_fail(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_survives_an_exception(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        fill_and_fail(target)
    assert contents(target) == {"old.txt": "old"}
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with atomic_folder(target) as partial:
        (partial / "new.txt").write_text("new")
        assert contents(target) == {"old.txt": "old"}
    assert contents(target) == {"new.txt": "new"}
    assert list(tmp_path.iterdir()) == [target]


def test_one_process_at_a_time_builds(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "task"
    with only_writer(target), (target.parent / ".task.lock").open("w") as another, pytest.raises(BlockingIOError):
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (target.parent / ".task.lock").open("w") as another:
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("writer", ["python", "safetensors"])
def test_a_folder_that_a_full_disk_cuts_short_is_named(tmp_path: Path, writer: str) -> None:
    """Of a disk that takes no file of more than 1000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    told = pytest.raises(UserError, match=r"model could not be written \(.*File too large.*MiB are free there\)")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with told, atomic_folder(tmp_path / "model") as partial:
            if writer == "python":
                (partial / "weights").write_bytes(bytes(2000))
            else:
                save_file({"weight": torch.zeros(1000)}, partial / "weights.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []

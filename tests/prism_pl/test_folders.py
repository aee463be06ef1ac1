"""Folders are complete or absent; names that stand for no model say what to do."""

import stat
from pathlib import Path

import pytest

from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.folders import atomic_folder, model_folder


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


def test_the_embedded_name_stands_for_its_folder(embedded: Path) -> None:
    assert Path(model_folder(EMBEDDED_NAME, "model")).resolve() == embedded / "model"
    assert (embedded / "model" / "config.json").is_file()


def test_an_existing_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert model_folder(str(tmp_path), "model") == str(tmp_path)


def test_a_hub_name_is_left_to_the_hub() -> None:
    assert model_folder("Qwen/Qwen3-VL-4B-Instruct", "model") == "Qwen/Qwen3-VL-4B-Instruct"


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        model_folder(str(tmp_path), "model.policy")
    assert str(error.value).startswith(f"model.policy: the folder {tmp_path} holds no config.json")


@pytest.mark.parametrize("stage", ["sft", "warmup", "align", "rlvr"])
def test_a_missing_stage_names_the_folder_and_the_command(tmp_path: Path, stage: str) -> None:
    missing = tmp_path / "demo" / stage / "policy"
    with pytest.raises(UserError) as error:
        model_folder(str(missing), "model.policy")
    message = str(error.value)
    assert message.startswith(f"model.policy: the model folder {missing} does not exist.")
    assert f"`python -m prism_pl fit --config {stage}.yaml --run_dir {tmp_path}/demo/{stage}`" in message
    assert f"`python -m prism_pl pipeline --config demo.yaml --run_dir {tmp_path}/demo`" in message


@pytest.mark.parametrize("name", ["runs/mine", "./mine", "../mine", "/nowhere/mine", "mine", "a/b/c"])
def test_a_missing_local_folder_is_not_looked_up_on_the_hub(name: str) -> None:
    with pytest.raises(UserError, match=f"^model: the model folder {name} does not exist"):
        model_folder(name, "model")

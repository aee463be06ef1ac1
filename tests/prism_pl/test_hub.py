"""Names of models: the embedded one, folders, the hub's; and names that stand for no model say what to do."""

import json
import shutil
from pathlib import Path

import pytest

from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import TransformersEngine
from prism_pl.errors import UserError
from prism_pl.hub import model_folder, policy_folder
from prism_pl.model.policy import Policy
from prism_pl.types import SamplingOptions


def test_the_embedded_name_stands_for_its_folder(embedded: Path) -> None:
    assert Path(model_folder(EMBEDDED_NAME, "model")).resolve() == embedded / "model"
    assert (embedded / "model" / "config.json").is_file()


def test_an_existing_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert model_folder(str(tmp_path), "model") == str(tmp_path)


@pytest.fixture
def hub_cache(tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the hub's client leaves on disk: two commits of a model, ``main`` at the second."""
    repository = tmp_path / "models--someone--tiny"
    for commit in ("a" * 40, "b" * 40):
        shutil.copytree(embedded / "model", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("b" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repository / "snapshots"


def test_a_hub_name_is_a_snapshot_at_its_revision(hub_cache: Path) -> None:
    assert model_folder("someone/tiny", "model") == str(hub_cache / ("b" * 40))
    assert model_folder(f"someone/tiny@{'a' * 40}", "model") == str(hub_cache / ("a" * 40))
    assert Policy.load("someone/tiny", "model").vlm.config.model_type == "qwen3_vl"


def test_a_hub_name_that_is_not_to_be_had_names_the_key(hub_cache: Path) -> None:
    with pytest.raises(UserError, match=r"^model.policy: someone/other is neither a local folder nor to be had from"):
        model_folder("someone/other", "model.policy")


def test_a_discriminator_is_no_policy(tmp_path: Path, embedded: Path) -> None:
    assert policy_folder(EMBEDDED_NAME, "policy") == model_folder(EMBEDDED_NAME, "policy")
    shutil.copytree(embedded / "model", tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prism_discriminator": {"num_heads": 2}}))
    for refused in (
        lambda: Policy.load(str(tmp_path / "model"), "policy"),
        lambda: TransformersEngine().start(str(tmp_path / "model"), 64, SamplingOptions(max_new_tokens=4, group_size=1)),
    ):
        with pytest.raises(UserError, match="is a discriminator, which scores responses and gives none"):
            refused()


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

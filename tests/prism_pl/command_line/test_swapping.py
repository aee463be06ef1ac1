"""A swapped class brings its own defaults; mistakes are named."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from prism_pl.algorithms import CISPO, DAPO, GRPO, GSPO, RLOO, SAPO, Algorithm, DrGRPO, ReinforcePlusPlus
from prism_pl.cli import with_own_defaults
from prism_pl.command_line.configurations import with_config_folder
from prism_pl.errors import UserError
from tests.command_line import captured

ALGORITHMS = [CISPO, DAPO, GRPO, GSPO, RLOO, SAPO, DrGRPO, ReinforcePlusPlus]


@pytest.mark.parametrize("after", ALGORITHMS)
@pytest.mark.parametrize("before", ALGORITHMS)
def test_a_swapped_algorithm_carries_nothing_over(
    before: type[Algorithm], after: type[Algorithm], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Every number of the class before is changed, and it has another estimator.
    changed = {
        field.name: field.default + 0.11
        for field in fields(before)
        if isinstance(field.default, float) and field.name != "overlong_share"
    }
    changed |= {"advantage": {"class_path": "LeaveOneOut"}, "max_resampling": 3}
    content = yaml.safe_load(Path("configs/rlvr.yaml").read_text())
    content["model"]["init_args"]["algorithm"] = {"class_path": before.__name__, "init_args": changed}
    (tmp_path / "rlvr.yaml").write_text(yaml.safe_dump(content))
    name = f"--model.algorithm={after.__name__}"
    _, out, _ = captured(capsys, "fit", "--config", str(tmp_path / "rlvr.yaml"), name, "--print_config")
    printed = yaml.safe_load(out)["model"]["init_args"]["algorithm"]
    assert printed["class_path"] == f"prism_pl.algorithms.{after.__name__}"
    assert printed["init_args"] == {field.name: field.default for field in fields(after)}


def test_an_estimator_swaps_alone(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model.algorithm=GSPO", "--model.algorithm.advantage=BatchWhitened"]
    _, out, _ = captured(capsys, "fit", "--config", "rlvr.yaml", *arguments, "--print_config")
    printed = yaml.safe_load(out)["model"]["init_args"]["algorithm"]
    assert printed["class_path"] == "prism_pl.algorithms.GSPO"
    assert printed["init_args"]["clip_high"] == 4e-4
    estimator = printed["init_args"]["advantage"]
    assert estimator == {"class_path": "prism_pl.algorithms.BatchWhitened", "init_args": {"group_baseline": False}}


def test_a_swapped_objective_carries_nothing_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load(Path("configs/rlvr.yaml").read_text())
    inner = {"class_path": "TokenClip", "init_args": {"clip_low": 0.33, "clip_high": 0.44}}
    content["model"]["init_args"]["algorithm"] = {"class_path": "GRPO", "init_args": {"objective": inner}}
    (tmp_path / "rlvr.yaml").write_text(yaml.safe_dump(content))
    arguments = ["--model.algorithm.objective=SequenceClip", "--model.algorithm.objective.clip_high=0.5"]
    _, out, _ = captured(capsys, "fit", "--config", str(tmp_path / "rlvr.yaml"), *arguments, "--print_config")
    printed = yaml.safe_load(out)["model"]["init_args"]["algorithm"]["init_args"]["objective"]
    assert printed["init_args"] == {"clip_low": 3e-4, "clip_high": 0.5, "length_normalised": True}


def test_an_unknown_key_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = captured(capsys, "fit", "--config", "rlvr.yaml", "--model.temprature", "1")
    assert code == 2
    assert "temprature" in err


def test_a_wrong_class_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = captured(capsys, "fit", "--config", "rlvr.yaml", "--model.algorithm=PPO")
    assert code == 2
    assert "PPO" in err


def test_a_missing_stage_names_the_folder_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "sft" / "model"
    code, _, err = captured(
        capsys, "fit", "--config", "rlvr.yaml", "--run_dir", str(tmp_path / "rlvr"), "--model.policy.path", str(missing),
        "--trainer.logger=false",
    )  # fmt: skip
    assert code == 2
    assert f"the model folder {missing} does not exist" in err
    assert f"fit --config sft.yaml --run_dir {tmp_path / 'sft'}" in err
    assert not (tmp_path / "rlvr" / "model").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": ["images/none.png"]}, "data.jsonl:2: the image"),
        ({"answer": None}, "data.jsonl:2: the row has no `answer`"),
        ({"messages": [{"role": "user", "content": "<image>" + "long " * 200}]}, "data.jsonl:2: the prompt has"),
    ],
)
def test_a_bad_row_is_named_with_its_file_and_number(
    change: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from PIL import Image

    Image.new("RGB", (64, 32)).save(tmp_path / "a.png")
    good = {"messages": [{"role": "user", "content": "<image>Add."}], "images": ["a.png"], "answer": "3"}
    rows = [good, good | change, *[good] * 20]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = captured(
        capsys, "fit", "--config", "rlvr.yaml", "--run_dir", str(tmp_path / "rlvr"), "--trainer.logger=false",
        "--data.path", str(tmp_path / "data.jsonl"), "--data.max_prompt_tokens=512", "--model.policy.path=embedded/digits",
    )  # fmt: skip
    assert code == 2
    assert message in err


def test_a_bare_name_is_looked_up_here_and_then_in_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_config_folder(["fit", "--config", "sft.yaml"])[2].endswith("configs/sft.yaml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft.yaml").write_text("")
    assert with_config_folder(["fit", "--config=sft.yaml"]) == ["fit", "--config=sft.yaml"]
    with pytest.raises(UserError, match=r"nowhere.yaml is neither .* nor in configs/, which holds align.yaml"):
        with_config_folder(["--config", "nowhere.yaml"])


def test_only_class_names_reset_a_key() -> None:
    assert with_own_defaults(["--model.algorithm=GSPO"]) == ["--model.algorithm=null", "--model.algorithm=GSPO"]
    assert with_own_defaults(["--model.algorithm", "GSPO"]) == ["--model.algorithm=null", "--model.algorithm", "GSPO"]
    assert with_own_defaults(["--data.path", "x.jsonl"]) == ["--data.path", "x.jsonl"]
    for key in ("--model.discriminator", "--model.discriminator.class_path"):
        argument = f"{key}=DenseDiscriminator"
        assert with_own_defaults([argument]) == ["--model.discriminator=null", argument]
        assert with_own_defaults([key, "DenseDiscriminator"]) == ["--model.discriminator=null", key, "DenseDiscriminator"]
    assert with_own_defaults(["--model.advantage=MixCentred"])[0] == "--model.advantage=null"
    assert with_own_defaults(["--model.discriminator.path=x"]) == ["--model.discriminator.path=x"]


CLASSES = ["DedicatedExpertsDiscriminator", "SharedMixtureDiscriminator", "DenseDiscriminator", "TextOnlyDiscriminator"]


@pytest.mark.parametrize("key", ["--model.discriminator", "--model.discriminator.class_path"])
@pytest.mark.parametrize("name", CLASSES)
def test_a_discriminator_named_on_the_command_line_forgets_the_path(
    key: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alignment's own is the warmed-up default: its folder is of no use to another class."""
    _, out, _ = captured(capsys, "fit", "--config", "align.yaml", "--print_config")
    assert printed_section(out, "discriminator")["init_args"]["path"] == "runs/demo/warmup/model"
    code, out, err = captured(capsys, "fit", "--config", "align.yaml", f"{key}={name}", "--print_config")
    assert code == 0, err
    section = printed_section(out, "discriminator")
    assert section["class_path"] == f"prism_pl.discriminators.{name}"
    assert section["init_args"]["path"] is None
    # Options after the class are its own; a path given there is kept.
    options = [f"{key}={name}", "--model.discriminator.path=runs/other/model", "--model.discriminator.noise=0.5"]
    _, out, _ = captured(capsys, "fit", "--config", "align.yaml", *options, "--print_config")
    section = printed_section(out, "discriminator")
    assert (section["class_path"], section["init_args"]["path"]) == (f"prism_pl.discriminators.{name}", "runs/other/model")
    assert section["init_args"]["noise"] == 0.5


@pytest.mark.parametrize("name", ["NormaliseThenMix", "MixThenNormalise", "MixCentred", "ReleasedAdvantage"])
def test_a_swapped_advantage_brings_its_own_defaults(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("configs/align.yaml").read_text()
    changed = text.replace("alpha: 0.5, format_penalty: 1.5", "alpha: 0.3, format_penalty: 7.0")
    assert changed != text
    (tmp_path / "align.yaml").write_text(changed)
    code, out, err = captured(
        capsys, "fit", "--config", str(tmp_path / "align.yaml"), f"--model.advantage={name}", "--print_config"
    )
    assert code == 0, err
    section = printed_section(out, "advantage")
    assert section["class_path"] == f"prism_pl.game.{name}"
    assert section["init_args"] == {"alpha": 0.5, "format_penalty": 1.5, "reward_to_go": name != "ReleasedAdvantage"}


def test_an_option_of_another_class_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model.discriminator=DenseDiscriminator", "--model.discriminator.num_perception=3"]
    code, _, err = captured(capsys, "fit", "--config", "align.yaml", *arguments, "--print_config")
    assert code == 2
    assert "num_perception" in err


def printed_section(out: str, key: str) -> dict:
    """A key of the model in a printed configuration."""
    return yaml.safe_load(out)["model"]["init_args"][key]

"""``plan`` for every preset, what ``fit`` says of it, and the table of docs/scaling.md."""

import re
from pathlib import Path

import pytest

from prism_pl.commands.plan import check_plan, origin_of, own_configs, preset_configs
from prism_pl.errors import UserError
from prism_pl.planning import Origin
from prism_pl.planning.tables import HEADER
from tests.command_line import captured, run

PRESETS = preset_configs("qwen3_vl")
DOCS = Path(__file__).parents[3] / "docs" / "scaling.md"


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code, out, err = captured(capsys, "plan", *arguments, "--gpu-memory", "80GB")
    assert code == 0, err
    return out


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_80_gb(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = planned(capsys, *PRESETS[name])
    assert "\nIt fits, " in said, said
    assert "policy" in said or "discriminator" in said


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("rlvr_gspo_8b", ["--trainer.devices", "4"]),
        ("align_8b_reference", ["--trainer.devices", "4", "--data.batch_size", "4"]),
        ("rlvr_gspo_8b", ["--trainer.precision", "32-true"]),
    ],
)
def test_a_preset_of_the_old_form_does_not(name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = planned(capsys, *PRESETS[name], *arguments)
    assert re.search(r"\nIt does not fit: .*policy update needs [89]\d\.\d GB a GPU, of 80\.0", said), said
    assert "The nearest setting that fits: " in said


def test_the_table_of_the_docs_is_the_command_s(capsys: pytest.CaptureFixture[str]) -> None:
    table = planned(capsys, "--table", "qwen3_vl").strip()
    assert table.startswith(HEADER[0])
    assert len(table.splitlines()) == len(HEADER) + len(PRESETS)
    assert table in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sft_4b", "align_4b", "rlvr_grpo_4b", "align_8b"])
def test_the_tables_of_strategies_in_the_docs_are_the_command_s(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = planned(capsys, *PRESETS[name], "--strategies").strip()
    assert table.startswith("| strategy | 1 GPU | 8 GPUs | 16 GPUs |")
    assert table in DOCS.read_text(encoding="utf-8")


def test_a_cell_of_the_table_of_strategies_is_the_plan_on_that_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    own = [*PRESETS["align_4b"], "--trainer.strategy", "deepspeed_stage_3", "--trainer.precision", "32-true"]
    said = [captured(capsys, "plan", *own, "--gpus", "8", "--gpu-memory", memory)[1] for memory in ("40GB", "80GB")]
    assert "It does not fit" in said[0]
    (left,) = re.findall(r"\nIt fits, (\d+\.\d) GB are left at the peak", said[1])
    table = planned(capsys, *PRESETS["align_4b"], "--strategies")
    assert f"`deepspeed_stage_3` | - | 80 GB ({80 - float(left):.0f}) |" in table


def test_other_gpus_are_asked_for_by_name_and_number(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = captured(capsys, "plan", *PRESETS["sft_4b"], "--gpus", "16", "--gpu", "H200")
    assert code == 0
    assert "16 x H200 150.1 GB" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "B300"], "--gpu: B300 is none of H100, H200, A100, L40S."),
        (["--gpus", "0"], "--gpus: it is 0, and must be a whole number of at least 1."),
        (["--gpus=-8"], "--gpus: it is -8, and must be a whole number of at least 1."),
        (["--prompt-tokens", "0"], "--prompt-tokens: it is 0, and must be a whole number of at least 1."),
        (["--gpu-memory", "80"], "--gpu-memory: 80 is no amount of memory. Write it as 80GB or 80GiB."),
        (["--gpu-memroy", "80GB"], "--gpu-memroy: plan has no such option. Did you mean --gpu-memory?"),
        (["--gpu-memory", "lots"], "--gpu-memory: lots is no amount of memory. Write it as 80GB or 80GiB."),
        (["--model.policy.path", "runs/none/model"], "model.policy.path: the size of runs/none/model is not known"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", *PRESETS["sft_4b"], *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_run_of_the_presets_is_followed_to_what_it_is_made_from() -> None:
    assert origin_of("runs/qwen3_vl/align_8b/model") == Origin("prism-vlm/Qwen3-VL-8B-Instruct-SFT")
    assert origin_of("runs/qwen3_vl/warmup_8b/model") == Origin(
        "prism-vlm/Qwen3-VL-8B-Instruct-SFT", "Qwen/Qwen3-VL-2B-Instruct"
    )
    assert origin_of("runs/elsewhere/model") is None
    assert own_configs("qwen3_vl/align_8b.yaml") == ["qwen3_vl/align_4b.yaml", "qwen3_vl/align_8b.yaml"]


CONFIG = {
    "model": {
        "class_path": "modules.SFTModule",
        "init_args": {"policy": {"path": "Qwen/Qwen3-VL-8B-Instruct", "gradient_checkpointing": True}, "max_tokens": 16384},
    },
    "data": {
        "class_path": "datamodules.DemonstrationDataModule",
        "init_args": {"batch_size": 128, "max_prompt_tokens": 4096, "max_response_tokens": 8192},
    },
    "trainer": {"strategy": "fsdp2", "precision": "bf16-mixed", "devices": 1},
}


def test_fit_says_the_plan_in_a_line_where_it_fits() -> None:
    said = check_plan(CONFIG, 8, 85e9, ignore=False)
    assert re.fullmatch(r"plan: [\d.]+ of 85\.0 GB a GPU at the peak \(policy update\), 8 GPUs; host \d+ GB", said)


def test_fit_refuses_what_cannot_fit_unless_told_to_go_on() -> None:
    with pytest.raises(UserError, match=r"cannot fit by its plan: policy update needs .* The nearest .*--ignore_plan true"):
        check_plan(CONFIG, 1, 85e9, ignore=False)
    assert check_plan(CONFIG, 1, 85e9, ignore=True).endswith("goes on by --ignore_plan.")


def test_fit_goes_on_without_a_plan_where_the_size_is_not_known() -> None:
    policy = {"path": "someone/else"}
    config = CONFIG | {"model": {"class_path": "modules.SFTModule", "init_args": {"policy": policy, "max_tokens": 8}}}
    assert check_plan(config, 1, 85e9, ignore=False).startswith(
        "plan: none is made: model.policy.path: the size of someone/else"
    )

"""Every stage's configuration parses and builds."""

import pytest

from tests.command_line import captured

STAGES = ["sft.yaml", "warmup.yaml", "align.yaml", "rlvr.yaml"]


@pytest.mark.parametrize("config", STAGES)
def test_every_stage_prints_its_complete_configuration(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = captured(capsys, "fit", "--config", config, "--print_config")
    assert code == 0
    assert f"run_dir: runs/{config.removesuffix('.yaml')}" in out
    assert "class_path: modules." in out

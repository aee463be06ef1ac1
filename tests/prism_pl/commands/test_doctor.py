"""``doctor`` names what is missing or unfit, and what mends it."""

import importlib.metadata
import os
from pathlib import Path

import pytest
import torch

from prism_pl.commands import doctor as module
from prism_pl.commands.doctor import doctor
from prism_pl.errors import UserError
from tests.command_line import captured


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def test_what_this_environment_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = captured(capsys, "doctor", "--run_dir", str(tmp_path / "not" / "yet"))
    assert code == 0, err
    lines = {line[2:].split()[0]: line for line in out.splitlines() if line[:2] in ("  ", "! ", "X ")}
    assert lines["torch"].split() == ["torch", torch.__version__]
    assert f"{tmp_path / 'not' / 'yet'}, " in lines["runs"]
    assert not (tmp_path / "not").exists()
    assert f"{len(os.sched_getaffinity(0))} cores" in lines["cpu"]
    assert "ready" in out


def test_a_missing_and_an_unfit_package_end_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "wandb":
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.6.2" if name == "lightning" else real(name)

    monkeypatch.setattr(module, "version", version)
    with pytest.raises(UserError, match=r"^lightning, wandb: missing or unfit"):
        doctor()
    out = capsys.readouterr().out
    assert "X lightning        2.6.2, lightning==2.6.6 is needed\n                   -> make install, or" in out
    assert "X wandb            not installed, wandb<0.32,>=0.31 is needed\n                   -> make install" in out


def test_optional_packages_do_not_end_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "_version", lambda name: None)
    doctor()
    out = capsys.readouterr().out
    assert "! vllm             not installed\n" in out
    assert "! deepspeed        not installed\n                   -> pip install -e '.[deepspeed]'" in out
    assert out.rstrip().endswith("to look at")


def test_a_busy_machine_and_too_many_threads_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.5, 0.0, 0.0))
    doctor()
    out = capsys.readouterr().out
    assert "! threads          8 on 4 cores\n                   -> export OMP_NUM_THREADS=4" in out
    assert "! load             2.5 in the last minute" in out
    monkeypatch.setattr(os, "getloadavg", lambda: (1.9, 0.0, 0.0))
    doctor()
    assert "  load             1.9 in the last minute" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^runs: missing or unfit"):
        doctor(str(tmp_path / "file" / "runs"))
    assert "-> another folder by --run_dir" in capsys.readouterr().out


def test_a_gpu_that_torch_does_not_see_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^gpu: missing or unfit"):
        doctor()


def test_the_benchmarks_that_are_there_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MMMU-Pro", "MathVista", "mine"):
        (tmp_path / "data" / name).mkdir(parents=True)
    doctor()
    out = capsys.readouterr().out
    assert "  benchmarks       2 of the paper's 7 in data/: MathVista, MMMU-Pro\n" in out


def test_lmms_eval_has_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    doctor()
    fetch = "pip install --no-deps --target build/lmms_eval -r environment/lmms_eval.txt"
    assert f"  lmms-eval        not in build/lmms_eval/\n                   -> {fetch}, for" in capsys.readouterr().out
    # As pip leaves it.
    record = tmp_path / "build" / "lmms_eval" / "lmms_eval-0.7.3.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.4\nName: lmms_eval\nVersion: 0.7.3\n")
    doctor()
    out = capsys.readouterr().out
    assert "  lmms-eval        0.7.3 in build/lmms_eval/\n" in out
    assert fetch not in out

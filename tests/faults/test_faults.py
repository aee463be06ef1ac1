"""One fault a test, in the middle of an alignment run: it ends with a message, or goes on.

Once what was broken is mended, the same command ends as a run that nothing has happened to."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prism_pl.runs.checkpoint import Checkpoint, newest_checkpoint
from prism_pl.runs.files import read_lines
from tests import command_line
from tests.command_line import captured
from tests.faults.kills import timeless
from tests.modules.small_stages import Content, scripted, write

UPDATES, EVERY = 4, 2
OPTIONS = (
    f"--trainer.max_steps={UPDATES}", f"--checkpoint.every_n_train_steps={EVERY}", "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu", "--data.batch_size=2", "--model.policy.path=embedded/digits",
    "--model.discriminator=DenseDiscriminator", "--model.replay.prompts_per_update=1",
)  # fmt: skip


def config(
    folder: Path, *callbacks: Content, data: Path | None = None, wandb: str | None = None, **changes: Content
) -> Path:
    """Alignment on written responses, all of which are logged; the callbacks come between rollouts and log."""
    content = scripted(*callbacks, {"class_path": "SampleLog"}, **changes)
    logger = {"class_path": "callbacks.WandbLogger", "init_args": {"mode": wandb}}
    content["trainer"]["logger"] = logger if wandb else False
    if data is not None:
        content["data"]["init_args"]["path"] = str(data)
    folder.mkdir(exist_ok=True)
    return write(content, folder / "align.yaml")


def breaking(what: str, target: object = "", **options: Any) -> Content:
    return {"class_path": "tests.faults.breaking.Break", "init_args": {"what": what, "target": str(target), **options}}


def run(capsys: pytest.CaptureFixture[str], file: Path, folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and errors, as one line."""
    code, _, errors = captured(capsys, "fit", "--config", str(file), "--run_dir", str(folder), *OPTIONS, *options)
    return code, " ".join(errors.split())


def assert_same(one: Path, two: Path) -> None:
    """Metrics, samples and weights, to the bit."""
    assert max(line["step"] for line in timeless(one)) == UPDATES
    assert timeless(one) == timeless(two)
    assert (one / "samples.jsonl").read_bytes() == (two / "samples.jsonl").read_bytes()
    for model in ("model", "discriminator"):
        own, other = (load_file(folder / model / "model.safetensors") for folder in (one, two))
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)


def assert_at(folder: Path, step: int) -> None:
    """The newest checkpoint is that of an update, and whole."""
    newest = newest_checkpoint(folder)
    assert newest is not None
    assert newest.name == f"step={step}.ckpt"
    assert Checkpoint(newest).whole()["global_step"] == step


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole")
    file = config(folder)
    assert command_line.run("fit", "--config", str(file), "--run_dir", str(folder / "run"), *OPTIONS) == 0
    return folder / "run"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 MiB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_full_for_a_sample(
    tmp_path: Path, small_disk: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = small_disk / "others"
    code, said = run(capsys, config(tmp_path, breaking("fill", filled, at_end=True)), small_disk / "run")
    assert code == 2
    assert "/run/samples.jsonl could not be written ([Errno 28] No space left on device; 0 MiB are free there)" in said
    assert "Make room there; the same command goes on." in said
    assert_at(small_disk / "run", EVERY)
    filled.unlink()
    assert run(capsys, config(tmp_path), small_disk / "run")[0] == 0
    assert_same(whole, small_disk / "run")


def test_a_disk_that_is_full_for_a_checkpoint(
    tmp_path: Path, small_disk: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others have filled it, but for what the logs need."""
    folder, filled = small_disk / "run", small_disk / "others"
    code, said = run(capsys, config(tmp_path, breaking("fill_but", filled, after=3)), folder)
    assert code == 2
    assert re.search(r"/checkpoints/step=4\.ckpt\S* could not be written \(.*[Nn]o space left on device", said), said
    assert_at(folder, EVERY)
    assert not (folder / "finished.json").exists()
    filled.unlink()
    assert run(capsys, config(tmp_path), folder)[0] == 0
    assert_same(whole, folder)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raise", "the engine's core has died"),
        ("empty", r"align.jsonl:\d+: response 2 of 4 is none: it has 0 tokens and 0 log-probabilities"),
        ("aborted", r"align.jsonl:\d+: response 2 of 4 is none: it has \d\d tokens and 3 log-probabilities"),
        ("lost", r"align.jsonl:\d+: the engine gave 3 responses for 4"),
    ],
)
def test_an_engine_that_fails_in_the_middle_of_a_batch(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str], how: str, told: str
) -> None:
    engine = {"class_path": "tests.faults.breaking.FailingEngine", "init_args": {"how": how}}
    with pytest.raises((RuntimeError, ConnectionError), match=told) as caught:
        run(capsys, config(tmp_path, engine=engine), tmp_path / "run", "--checkpoint.every_n_train_steps=1")
    assert "The engine failed in the rollouts for update 2." in caught.value.__notes__[0]
    assert_at(tmp_path / "run", 1)
    assert run(capsys, config(tmp_path), tmp_path / "run")[0] == 0
    assert_same(whole, tmp_path / "run")


def test_an_engine_that_keeps_old_weights_is_found_by_the_probe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = scripted(engine={"class_path": "tests.faults.breaking.StaleEngine"})
    rollout = content["trainer"]["callbacks"][0]["init_args"]
    rollout["probe"], rollout["sampling"]["max_new_tokens"] = {"every": 1}, 16
    content["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 1e-2
    content["model"]["init_args"]["discriminator_loss"] = {"in_batch_weight": 1.0}
    content["model"]["init_args"]["kl_weight"] = 0.0
    file = write(content | {"trainer": content["trainer"] | {"logger": False}}, tmp_path / "align.yaml")
    with pytest.raises(RuntimeError, match=r"Log-prob probe failed before update [234] on rank 0: .*does not sample from"):
        run(capsys, file, tmp_path / "run")


def test_a_weight_that_is_nan_is_not_saved(tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config(tmp_path, breaking("poison_weight", after=3, at_end=True))
    code, said = run(capsys, file, tmp_path / "run")
    assert code == 2
    assert "step=4.ckpt is not written: 1 tensors in it are not finite, the first is state_dict/policy." in said
    assert_at(tmp_path / "run", EVERY)
    assert run(capsys, config(tmp_path), tmp_path / "run")[0] == 0
    assert_same(whole, tmp_path / "run")


def test_a_model_of_nan_is_not_handed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last checkpoint was before the last update."""
    file = config(tmp_path, breaking("poison_weight", after=3, at_end=True))
    code, said = run(capsys, file, tmp_path / "run", "--checkpoint.every_n_train_steps=3")
    assert code == 2
    assert "/run is not written: 1 tensors in it are not finite" in said
    assert_at(tmp_path / "run", 3)
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "finished.json").exists()


@pytest.fixture
def own_data(tmp_path: Path, embedded: Path) -> Path:
    """Eight rows with their images, which may be broken."""
    folder = tmp_path / "data"
    lines = (embedded / "align.jsonl").read_text().splitlines()[:8]
    for name in {image for line in lines for image in json.loads(line)["images"]}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(embedded / name, folder / name)
    (folder / "align.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder / "align.jsonl"


def test_an_image_that_turns_unreadable_is_named_and_can_be_mended(
    tmp_path: Path, own_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, config(tmp_path, data=own_data), tmp_path / "own")[0] == 0
    (images,) = {path.parent for path in own_data.parent.rglob("*.png")}
    shutil.copytree(images, tmp_path / "kept")
    code, said = run(capsys, config(tmp_path, breaking("spoil", images), data=own_data), tmp_path / "run")
    assert code == 2
    assert f"{own_data}:" in said
    assert ".png cannot be decoded (" in said
    assert_at(tmp_path / "run", EVERY)
    shutil.copytree(tmp_path / "kept", images, dirs_exist_ok=True)
    assert run(capsys, config(tmp_path, data=own_data), tmp_path / "run")[0] == 0
    assert_same(tmp_path / "own", tmp_path / "run")


def test_other_rows_under_the_old_name_are_refused(
    tmp_path: Path, own_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, config(tmp_path, data=own_data), tmp_path / "own")[0] == 0
    stop = breaking("send", int(signal.SIGTERM))
    assert run(capsys, config(tmp_path, stop, data=own_data), tmp_path / "run")[0] == 75
    before = own_data.read_text()
    # As many rows, and of the same lengths.
    own_data.write_text("".join(reversed(before.splitlines(keepends=True))))
    code, said = run(capsys, config(tmp_path, data=own_data), tmp_path / "run")
    assert code == 2
    assert f"data: {own_data} holds other rows than when the run began, now 8: it was replaced or changed" in said
    # A copy of the old one, with another time, is the old one.
    own_data.write_text(before)
    assert run(capsys, config(tmp_path, data=own_data), tmp_path / "run")[0] == 0
    assert_same(tmp_path / "own", tmp_path / "run")


def test_a_clock_that_jumps(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day back and two days on, again and again."""
    real, calls = time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return real() + 86400.0 * (-1) ** calls[0] * (calls[0] % 3)

    monkeypatch.setattr(time, "time", jumping)
    assert run(capsys, config(tmp_path, breaking("send", int(signal.SIGTERM))), tmp_path / "run")[0] == 75
    assert run(capsys, config(tmp_path), tmp_path / "run")[0] == 0
    assert calls[0] > 10
    assert_same(whole, tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_ends(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    """Before the third update, after which no checkpoint is due; in the handlers of before all is as it was."""
    handlers = [signal.getsignal(own) for own in (signal.SIGTERM, signal.SIGUSR1)]
    assert run(capsys, config(tmp_path, breaking("send", int(number))), tmp_path / "run")[0] == 75
    assert [signal.getsignal(own) for own in (signal.SIGTERM, signal.SIGUSR1)] == handlers
    assert_at(tmp_path / "run", 3)
    assert not (tmp_path / "run" / "finished.json").exists()
    assert run(capsys, config(tmp_path), tmp_path / "run")[0] == 0
    assert_same(whole, tmp_path / "run")


def test_a_resumed_run_keeps_one_checkpoint(tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning keeps the one that it has resumed from for ever."""
    folder = tmp_path / "run"
    for after in (0, 1, 2):
        assert run(capsys, config(tmp_path, breaking("send", int(signal.SIGTERM), after=after)), folder)[0] == 75
        assert [path.name for path in (folder / "checkpoints").iterdir()] == [f"step={after + 1}.ckpt"]
    # What a kill leaves between the name of a new one and the end of the old one.
    shutil.copytree(folder / "checkpoints" / "step=3.ckpt", folder / "checkpoints" / "step=1.ckpt")
    assert run(capsys, config(tmp_path), folder)[0] == 0
    assert_same(whole, folder)


def test_a_run_folder_that_is_removed_under_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    code, said = run(capsys, config(tmp_path, breaking("remove", folder)), folder)
    assert code == 2
    assert f"run_dir: {folder} was removed or replaced while the run was writing to it" in said
    assert "The run ends at update 3" in said
    assert not (folder / "finished.json").exists()


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the first one's process, in the middle of its run."""
    folder = tmp_path / "run"
    second = breaking(
        "fit_again", json.dumps(["--config", str(tmp_path / "align.yaml"), "--run_dir", str(folder), *OPTIONS])
    )
    assert run(capsys, config(tmp_path, second), folder)[0] == 0
    assert "run_dir: another process is at work in" in (tmp_path / "second.log").read_text()
    assert len(read_lines(folder / "samples.jsonl")) == UPDATES * 2 * 4


def in_own_process(file: Path, folder: Path) -> str:
    """All that a run says that ends well. W&B keeps what it knows of its own process for as long as this one lives."""
    process = command_line.start("fit", "--config", str(file), "--run_dir", str(folder), *OPTIONS)
    said, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, said[-3000:]
    return said


@pytest.mark.faults
def test_wandb_s_process_is_killed_and_the_run_goes_on(tmp_path: Path, whole: Path) -> None:
    said = in_own_process(config(tmp_path, breaking("kill_wandb"), wandb="offline"), tmp_path / "run")
    assert said.count("W&B has failed (") == 1
    assert_same(whole, tmp_path / "run")


@pytest.mark.faults
def test_wandb_cannot_be_reached_and_the_run_is_logged_offline(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"API_KEY": "a" * 40, "BASE_URL": "http://127.0.0.1:9", "INIT_TIMEOUT": "5"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    said = in_own_process(config(tmp_path, wandb="online"), tmp_path / "run")
    assert said.count("W&B cannot be reached (") == 1
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert_same(whole, tmp_path / "run")

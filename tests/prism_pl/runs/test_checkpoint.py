"""A checkpoint is whole or absent, reads back as it was, and executes nothing."""

import io
import pickle
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from prism_pl.errors import UserError
from prism_pl.runs import checkpoint as checkpoints
from prism_pl.runs.checkpoint import Checkpoint, newest_checkpoint, split
from prism_pl.runs.checkpoint_writer import CheckpointWriter


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        # More than a stream's buffer: a disk then fills up in the middle of a tensor.
        self.embed = nn.Linear(5, 700, bias=False)
        self.head = nn.Linear(5, 700, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.LayerNorm(5)


def trained(value: float) -> dict[str, Any]:
    """A trainer's checkpoint of two optimizers, of which the second has never stepped."""
    torch.manual_seed(0)
    model = Tied()
    first = torch.optim.AdamW(model.embed.parameters(), lr=0.1)
    second = torch.optim.AdamW(model.norm.parameters(), lr=0.2)
    model.head(torch.full((2, 5), value)).sum().backward()
    first.step()
    return {
        "global_step": 2,
        "callbacks": {"Alarm": {"held": [1, 2]}},
        "state_dict": model.state_dict(),
        "optimizer_states": [first.state_dict(), second.state_dict()],
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return bool(torch.equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.fixture
def writer() -> Iterator[CheckpointWriter]:
    made = CheckpointWriter(lambda folder: None)
    yield made
    made.settle()


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Writers wait for the event."""
    free, write_data = threading.Event(), checkpoints._Writer.write_data

    def wait_first(self: Any, *arguments: Any) -> Any:
        assert free.wait(60)
        return write_data(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._Writer, "write_data", wait_first)
        yield free


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that takes no file of more bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_it_reads_back_as_it_was(writer: CheckpointWriter, tmp_path: Path) -> None:
    writer.save(trained(0.3), tmp_path / "step=2.ckpt")
    writer.wait()
    saved = Checkpoint(tmp_path / "step=2.ckpt")
    whole = saved.whole()
    assert same(whole, trained(0.3))
    assert not same(whole, trained(0.4))
    assert whole["state_dict"]["head.weight"] is whole["state_dict"]["embed.weight"]
    # A tied weight is in the file once: three of the model, two moments of the one that was stepped.
    assert len(saved.names()) == 6
    assert len(saved.names()) - len(saved.rest["same"]) == 5
    assert list(tmp_path.iterdir()) == [tmp_path / "step=2.ckpt"]


def test_updates_after_the_copy_are_not_in_it(
    writer: CheckpointWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = trained(0.3)
    with held_up(monkeypatch) as free:
        writer.save(checkpoint, tmp_path / "step=2.ckpt")
        for tensor in split(checkpoint)[0].values():
            tensor.fill_(7.0)
        checkpoint["callbacks"]["Alarm"]["held"].append(3)
        free.set()
        writer.wait()
    assert same(Checkpoint(tmp_path / "step=2.ckpt").whole(), trained(0.3))


def test_an_older_one_goes_when_the_newer_is_whole(
    writer: CheckpointWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "checkpoints"
    writer.save(trained(0.3), run / "step=2.ckpt")
    writer.wait()
    with held_up(monkeypatch) as free:
        writer.save(trained(0.4), run / "step=10.ckpt")
        writer.remove(run / "step=2.ckpt")
        # What a kill would leave now.
        assert newest_checkpoint(tmp_path) == run / "step=2.ckpt"
        assert same(Checkpoint(run / "step=2.ckpt").whole(), trained(0.3))
        free.set()
        writer.wait()
    assert newest_checkpoint(tmp_path) == run / "step=10.ckpt"
    assert not (run / "step=2.ckpt").exists()


@pytest.mark.parametrize("size", [1000, 5000], ids=["first tensor", "later tensor"])
def test_a_full_disk_loses_nothing_of_the_older_one(writer: CheckpointWriter, tmp_path: Path, size: int) -> None:
    run = tmp_path / "checkpoints"
    writer.save(trained(0.3), run / "step=2.ckpt")
    writer.wait()
    with largest_file(size):
        writer.save(trained(0.4), run / "step=4.ckpt")
        writer.remove(run / "step=2.ckpt")
        told = r"step=4.ckpt could not be written \(.*File too large.*; [\d,]+ MiB are free there\)\. What was whole"
        with pytest.raises(UserError, match=told):
            writer.wait()
    assert newest_checkpoint(tmp_path) == run / "step=2.ckpt"
    assert same(Checkpoint(run / "step=2.ckpt").whole(), trained(0.3))
    # With room again the same step is written over what was left of it.
    writer.save(trained(0.4), run / "step=4.ckpt")
    writer.wait()
    assert same(Checkpoint(newest_checkpoint(tmp_path) or tmp_path).whole(), trained(0.4))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", ["weight", "moment"])
def test_a_checkpoint_of_nan_is_refused_and_the_older_one_stays(
    writer: CheckpointWriter, tmp_path: Path, where: str, bad: float
) -> None:
    run, broken = tmp_path / "checkpoints", trained(0.4)
    writer.save(trained(0.3), run / "step=2.ckpt")
    if where == "weight":
        broken["state_dict"]["norm.bias"][3] = bad
    else:
        broken["optimizer_states"][0]["state"][0]["exp_avg_sq"][0, 0] = bad
    name = "state_dict/norm.bias" if where == "weight" else "optimizer_states/0/state/0/exp_avg_sq"
    with pytest.raises(
        UserError, match=rf"step=4.ckpt is not written: 1 tensors in it are not finite, the first is {name}"
    ):
        writer.save(broken, run / "step=4.ckpt")
    assert [path.name for path in run.iterdir()] == ["step=2.ckpt"]
    assert same(Checkpoint(run / "step=2.ckpt").whole(), trained(0.3))


def test_what_comes_after_sees_it_whole_and_before_the_older_one_goes(tmp_path: Path) -> None:
    seen: list[tuple[int, bool]] = []

    def look(folder: Path) -> None:
        seen.append((Checkpoint(folder).rest["checkpoint"]["global_step"], (tmp_path / "step=1.ckpt").exists()))

    writer = CheckpointWriter(look)
    writer.save(trained(0.3), tmp_path / "step=1.ckpt")
    writer.save(trained(0.3), tmp_path / "step=2.ckpt")
    writer.remove(tmp_path / "step=1.ckpt")
    writer.wait()
    assert seen == [(2, True), (2, True)]
    assert not (tmp_path / "step=1.ckpt").exists()


def test_a_half_written_folder_is_not_the_newest(writer: CheckpointWriter, tmp_path: Path) -> None:
    run = tmp_path / "checkpoints"
    for step in (2, 10):
        writer.save(trained(0.3), run / f"step={step}.ckpt")
    writer.wait()
    assert newest_checkpoint(tmp_path) == run / "step=10.ckpt"
    # Copied by hand, and not to the end.
    (run / "step=10.ckpt" / ".metadata").unlink()
    assert newest_checkpoint(tmp_path) == run / "step=2.ckpt"
    with pytest.raises(UserError, match=r"step=10.ckpt is no checkpoint: it lacks .metadata or rest.pt"):
        Checkpoint(run / "step=10.ckpt")


def test_reading_executes_nothing(writer: CheckpointWriter, tmp_path: Path) -> None:
    writer.save(trained(0.3), tmp_path / "step=2.ckpt")
    writer.wait()

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "touched",))

    stream = io.BytesIO()
    pickle.dump(Evil(), stream)
    (tmp_path / "step=2.ckpt" / ".metadata").write_bytes(stream.getvalue())
    with pytest.raises(UserError, match=r"asks for pathlib.Path.touch, which no checkpoint needs"):
        Checkpoint(tmp_path / "step=2.ckpt")
    assert not (tmp_path / "touched").exists()

"""When engines start and are used: nothing that Lightning does to a GPU's memory may come in between."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy

import callbacks
from modules import FSDP2Strategy
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.types import Prompt, Response, SamplingOptions
from tests.modules.fits import finished_updates, fit, logged, with_engine
from tests.modules.scripted import ScriptedEngine

events: list[str] = []
"""``start``, ``use`` and ``close`` of the engine, and in capitals what frees or moves memory on a GPU."""


class RecordedEngine(ScriptedEngine):
    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> None:
        events.append("start")
        super().start(model, max_prompt_tokens, sampling)

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        events.append("use")
        return super().generate(prompts, seeds, sampling)

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        events.append("use")
        super().sync(weights)

    def close(self) -> None:
        events.append("close")


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CUDA accelerator ``setup`` and ``teardown`` free the workspaces that captured graphs hold; a strategy's move the
    models."""

    def record(owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def recorded(*arguments: Any, **options: Any) -> Any:
            events.append(f"{owner.__name__}.{name}".upper())
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, recorded)

    events.clear()
    for owner in (CPUAccelerator, SingleDeviceStrategy, FSDP2Strategy):
        for name in ("setup", "teardown"):
            record(owner, name)
    for name in ("setup_device", "model_to_device"):
        record(CPUAccelerator if name == "setup_device" else SingleDeviceStrategy, name)
    record(L.LightningModule, "cpu")


def check(own: list[str]) -> None:
    """One engine's life: between its start and its last use nobody has touched the memory."""
    last = max(index for index, event in enumerate(own) if event == "use")
    life = own[own.index("start") : last + 1]
    assert set(life) == {"start", "use"}, own
    assert life.count("start") == 1
    assert any(event.startswith("CPUACCELERATOR.SETUP") for event in own[: own.index("start")])
    assert own[-1] == "close" or "close" in own[last:]


def recorded(config: Path) -> Path:
    content = yaml.safe_load(config.read_text())
    engine = {"class_path": "tests.modules.test_engine_life.RecordedEngine"}
    for callback in content["trainer"]["callbacks"]:
        if "engine" in callback.get("init_args", {}):
            callback["init_args"]["engine"] = engine
        if callback["class_path"] == "RolloutCallback":
            callback["init_args"]["probe"] = {"every": 100, "mean_gap": 1e9, "p99_gap": 1e9}
    config.write_text(yaml.safe_dump(content))
    return config


ALIGN = ("--data.batch_size=2", "--model.policy.path=embedded/digits", "--model.discriminator=DenseDiscriminator",
         "--trainer.max_steps=1", "--checkpoint.every_n_train_steps=1")  # fmt: skip


@pytest.mark.parametrize("strategy", ["auto", "fsdp2"])
def test_alignment_starts_its_engine_last_and_uses_it_before_the_teardown(tmp_path: Path, strategy: str) -> None:
    config = recorded(with_engine("align.yaml", tmp_path))
    fit(config, tmp_path / "run", *ALIGN, "--trainer.accelerator=cpu", f"--trainer.strategy={strategy}")
    assert finished_updates(tmp_path / "run") == 1
    check(events)
    # The last evaluation, too: its figures are there, and after it nothing but the teardown.
    assert logged(tmp_path / "run", "heldout/accuracy")[-1]["step"] == 1
    teardown = next(index for index, event in enumerate(events) if event.endswith("STRATEGY.TEARDOWN"))
    assert events[teardown - 1] == "use"
    assert {event for event in events[teardown:] if event.islower()} == {"close"}


def test_a_run_that_was_killed_after_its_last_update_starts_its_engine_after_the_teardown(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    class Killer(callbacks.RunFolder):
        def finish(self, trainer: Any, pl_module: Any) -> None:
            raise StopError

    config = recorded(with_engine("align.yaml", tmp_path))
    with pytest.raises(StopError):
        fit(config, tmp_path / "run", *ALIGN, run_folder=Killer)
    events.clear()
    fit(config, tmp_path / "run", *ALIGN)
    assert finished_updates(tmp_path / "run") == 1
    check(events)
    teardown = next(index for index, event in enumerate(events) if event.endswith("STRATEGY.TEARDOWN"))
    assert events.index("start") > teardown


def test_supervised_training_starts_its_own_engine_when_it_evaluates(tmp_path: Path) -> None:
    config = recorded(with_engine("sft.yaml", tmp_path))
    options = ["--trainer.max_steps=1", "--data.batch_size=4", "--trainer.callbacks.every=0"]
    fit(config, tmp_path / "run", *options, "--model.policy.path=embedded/digits")
    check(events)


def test_a_warm_up_closes_its_engine_before_the_models_are_set_up(tmp_path: Path, embedded: Path) -> None:
    content = yaml.safe_load(Path("configs/warmup.yaml").read_text().replace("runs/demo/base/model", EMBEDDED_NAME))
    rows = (embedded / "align.jsonl").read_text().splitlines(keepends=True)[:8]
    (tmp_path / "rows.jsonl").write_text("".join(rows))
    source = {"path": str(tmp_path / "rows.jsonl"), "image_root": "embedded/digits"}
    content["data"]["init_args"] |= {
        "path": source, "heldout_path": source, "num_heldout": 2, "batch_size": 4,
        "engine": {"class_path": "tests.modules.test_engine_life.RecordedEngine"},
    }  # fmt: skip
    content["trainer"]["val_check_interval"] = 1
    (tmp_path / "warmup.yaml").write_text(yaml.safe_dump(content))
    fit(tmp_path / "warmup.yaml", tmp_path / "run", "--trainer.max_steps=1", "--model.policy.path=embedded/digits")
    # After the device was chosen, before anything of Lightning's touches the memory.
    start, close = events.index("start"), events.index("close")
    assert set(events[start:close]) == {"start", "use"}
    assert events.index("CPUACCELERATOR.SETUP_DEVICE") < start
    assert "CPUACCELERATOR.SETUP" in events[close:]
    assert "use" not in events[close:]

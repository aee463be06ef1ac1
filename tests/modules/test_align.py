"""Alignment on the embedded task, a few updates each."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prism_pl.runs.files import read_lines
from tests.command_line import finish
from tests.modules.aligning import kill_after, metrics, start, write_config
from tests.modules.fits import finished_updates, fit, logged, with_engine
from tests.modules.small_stages import scripted, write


@pytest.mark.parametrize("mini_batches", [1, 2])
def test_align_stops_after_exactly_three_policy_updates(tmp_path: Path, sft: Path, warmup: Path, mini_batches: int) -> None:
    folder = tmp_path / "align"
    fit(
        with_engine("align.yaml", tmp_path), folder, "--trainer.max_steps", "3",
        "--model.policy.path", str(sft / "model"), "--model.discriminator.path", str(warmup / "model"),
        "--model.reuse.mini_batches", str(mini_batches), "--data.batch_size", "4",
    )  # fmt: skip
    assert finished_updates(folder) == 3
    steps = [line["step"] for line in logged(folder, "policy/loss")]
    # Two updates a batch: the second batch is left after its first.
    assert steps == ([1, 2, 3] if mini_batches == 1 else [2, 3])
    probes = [line["rollout/probe_gap"] for line in logged(folder, "rollout/probe_gap")]
    assert len(probes) == 1  # before the first update; the next would be due at the tenth
    assert probes[0] < 1e-4
    samples = read_lines(folder / "samples.jsonl")
    assert len(samples) == len(steps) * 4 * 16
    assert (folder / "discriminator" / "model.safetensors").exists()


def test_the_divergence_is_taken_from_the_policy_at_the_start(tmp_path: Path, sft: Path, warmup: Path) -> None:
    folder = tmp_path / "align"
    fit(
        with_engine("align.yaml", tmp_path), folder, "--trainer.max_steps", "2", "--data.batch_size", "2",
        "--model.policy.path", str(sft / "model"), "--model.discriminator.path", str(warmup / "model"),
        "--model.kl_weight", "0.1", "--model.optimizer.init_args.lr", "1e-3",
    )  # fmt: skip
    first, second = (line["policy/kl_reference"] for line in logged(folder, "policy/kl_reference"))
    # Half the squared difference of log-probabilities, and there is none before the first update.
    assert first == pytest.approx(0.0, abs=1e-9)
    assert second > 1e-5


@pytest.mark.parametrize("rest_above", [0.0, 0.99])
def test_the_discriminator_rests_while_it_is_ahead(tmp_path: Path, warmup: Path, rest_above: float) -> None:
    folder = tmp_path / "align"
    fit(
        write(scripted(), tmp_path / "align.yaml"), folder, "--trainer.max_steps", "2", "--data.batch_size", "8",
        "--model.policy.path", "embedded/digits", "--model.discriminator.path", str(warmup / "model"),
        "--model.cadence.rest_above", str(rest_above), "--model.replay.prompts_per_update", "0",
    )  # fmt: skip
    lines = logged(folder, "discriminator/rests")
    ahead = [all(line[f"accuracy/{aspect}"] > rest_above for aspect in ("perception", "reasoning")) for line in lines]
    assert [line["discriminator/rests"] == 1.0 for line in lines] == ahead
    assert all(ahead) == (rest_above == 0.0)
    learnt = [line["step"] for line in logged(folder, "discriminator/gradient_norm")]
    assert learnt == [line["step"] for line, rested in zip(lines, ahead, strict=True) if not rested]
    before, after = (load_file(path / "model.safetensors") for path in (warmup / "model", folder / "discriminator"))
    assert all(torch.equal(before[name], after[name]) for name in before) == all(ahead)


@pytest.mark.parametrize("name", ["SharedMixtureDiscriminator", "DenseDiscriminator", "TextOnlyDiscriminator"])
def test_align_runs_every_discriminator_by_its_class_alone(tmp_path: Path, sft: Path, name: str) -> None:
    folder = tmp_path / "align"
    fit(
        with_engine("align.yaml", tmp_path), folder, "--trainer.max_steps", "1", f"--model.discriminator={name}",
        "--model.policy.path", str(sft / "model"), "--data.batch_size", "2",
    )  # fmt: skip
    assert finished_updates(folder) == 1
    record = json.loads((folder / "discriminator" / "config.json").read_text())["prism_discriminator"]
    assert record["class"] == name
    (line,) = logged(folder, "discriminator/gradient_norm")
    assert line["discriminator/gradient_norm"] > 0
    # Another image changes the score of every discriminator but the one without eyes, which then has no preference either.
    effects = logged(folder, "image/swap_score_drop")
    assert effects
    blind = name == "TextOnlyDiscriminator"
    assert all((line["image/swap_score_drop"] == 0.0) == blind for line in effects)
    if blind:
        assert {line["image/swap_preference"] for line in effects} == {0.5}
        assert {line["image/swap_in_batch_accuracy_drop"] for line in effects} == {0.0}


def test_alignment_with_adapters_on_both_sides(tmp_path: Path, sft: Path) -> None:
    folder, lora = tmp_path / "align", "{rank: 4, alpha: 8}"
    fit(
        with_engine("align.yaml", tmp_path), folder, "--trainer.max_steps", "2", "--data.batch_size", "2",
        "--model.policy.path", str(sft / "model"), "--model.discriminator=DenseDiscriminator",
        "--model.policy.lora", lora, "--model.discriminator.lora", lora, "--model.discriminator_loss.in_batch_weight=1",
    )  # fmt: skip
    # The engine holds the merged weights: before the first update and after it.
    gaps = [line["mismatch/logp_gap_mean"] for line in logged(folder, "policy/loss")]
    assert len(gaps) == 2
    assert max(gaps) < 1e-4
    for name in ("model", "discriminator"):
        assert (folder / name / "adapter" / "adapter_config.json").exists()
        assert not [key for key in load_file(folder / name / "model.safetensors") if "lora" in key]
    before, after = (load_file(path / "model" / "model.safetensors") for path in (sft, folder))
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved
    assert all("language_model.layers" in key and "_proj" in key for key in moved)


def test_killed_and_resumed_alignment_gives_the_same_metrics(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    finish(start(config, tmp_path / "whole"))
    kill_after(start(config, tmp_path / "killed"), tmp_path / "killed", 3)
    finish(start(config, tmp_path / "killed"))
    whole, killed = metrics(tmp_path / "whole"), metrics(tmp_path / "killed")
    assert sorted(whole) == sorted(killed) == [1, 2, 3, 4, 5]
    for step in whole:
        # The engine is proven again after a resume: one probe more than in the whole run.
        own = {key: value for key, value in killed[step].items() if key in whole[step] or "probe_gap" not in key}
        assert own == whole[step], f"step {step}"
    assert "discriminator/gradient_norm" not in whole[3]
    assert whole[4]["discriminator/gradient_norm"] > 0
    assert "replay/accuracy/perception" not in whole[1]

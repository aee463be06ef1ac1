"""Every stage through the real command line on the embedded task, a few updates each."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

import callbacks
import datamodules  # noqa: F401
import modules  # noqa: F401
from prism_pl.cli import main
from prism_pl.commands.export import export
from prism_pl.discriminators import load_scorer
from prism_pl.runs.files import read_lines


def fit(*arguments: str) -> None:
    """One ``python -m prism_pl fit`` in this process."""
    saved = sys.argv
    sys.argv = ["prism_pl", "fit", *arguments, "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    try:
        main(always_on=[callbacks.RunFolder], metrics_logger=callbacks.JsonlLogger)
    finally:
        sys.argv = saved


def with_engine(config: str, folder: Path) -> Path:
    """The repository's configuration with the engine that needs no start-up, short responses and small evaluations."""
    content = yaml.safe_load((Path("configs") / config).read_text())
    for callback in content["trainer"].get("callbacks", []):
        options = callback.get("init_args", {})
        if callback["class_path"] == "RolloutCallback":
            options["engine"] = {"class_path": "TransformersEngine"}
            options["sampling"]["max_new_tokens"] = 48
        if callback["class_path"] == "EvaluationCallback":
            options |= {"max_new_tokens": 48, "num_prompts": 8, "num_final": 8}
        if callback["class_path"] == "ConvergenceProbe":
            options |= {"max_new_tokens": 48, "num_prompts": 8, "training": {"steps": 1}}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / config
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def sft(root: Path) -> Path:
    # A few updates at a high rate are enough for the format not to matter below: only the plumbing is looked at.
    config = with_engine("sft.yaml", root / "configs")
    fit(
        "--config", str(config), "--run_dir", str(root / "sft"), "--trainer.max_steps", "4",
        "--data.batch_size", "16", "--data.num_workers", "0", "--checkpoint.every_n_train_steps", "2",
    )  # fmt: skip
    return root / "sft"


@pytest.fixture(scope="module")
def warmup(root: Path, sft: Path) -> Path:
    config = with_engine("warmup.yaml", root / "configs")
    # The policy is untrained, so its side of a pair would be malformed: the teacher's own text stands in for it.
    folder = root / "warmup"
    folder.mkdir()
    for name, rows in (("pairs.jsonl", 1500), ("pairs_heldout.jsonl", 16)):
        source = Path("runs/embedded/digits-v1") / ("align.jsonl" if name == "pairs.jsonl" else "heldout.jsonl")
        teachers = [json.loads(line)["teacher"] for line in source.read_text().splitlines()[: rows + 1]]
        lines = [json.dumps({"row": i, "responses": [teachers[i]]}) for i in range(rows)]
        (folder / name).write_text("\n".join(lines) + "\n")
    fit(
        "--config", str(config), "--run_dir", str(folder), "--trainer.max_steps", "3", "--data.num_heldout", "16",
        "--model.base", str(sft / "model"), "--data.policy", str(sft / "model"), "--data.batch_size", "8",
    )  # fmt: skip
    return folder


def finished_updates(folder: Path) -> int:
    return json.loads((folder / "finished.json").read_text())["updates"]


def test_sft_lowers_the_loss_and_leaves_a_model_that_transformers_loads(sft: Path) -> None:
    assert finished_updates(sft) == 4
    losses = [line["sft/loss"] for line in read_lines(sft / "metrics.jsonl") if "sft/loss" in line]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    model = Qwen3VLForConditionalGeneration.from_pretrained(sft / "model")
    assert model.config.text_config.num_hidden_layers == 3
    assert AutoProcessor.from_pretrained(sft / "model").tokenizer.eos_token == "<|im_end|>"
    assert (sft / "config.yaml").exists()


def test_a_resumed_run_equals_an_uninterrupted_one(root: Path, sft: Path) -> None:
    """Two updates, a stop, two more: the same weights and metrics as four in a row."""
    config = with_engine("sft.yaml", root / "configs")
    common = ["--config", str(config), "--data.batch_size", "16", "--data.num_workers", "0",
              "--checkpoint.every_n_train_steps", "2", "--run_dir", str(root / "resumed")]  # fmt: skip

    class StopError(Exception):
        pass

    class Killer(callbacks.RunFolder):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
            if trainer.global_step == 3:
                raise StopError

    saved = sys.argv
    sys.argv = ["prism_pl", "fit", *common, "--trainer.max_steps=4", "--trainer.logger=false",
                "--trainer.enable_progress_bar=false"]  # fmt: skip
    try:
        with pytest.raises(StopError):
            main(always_on=[Killer], metrics_logger=callbacks.JsonlLogger)
    finally:
        sys.argv = saved
    assert not (root / "resumed" / "finished.json").exists()
    check_checkpoint_folder(root / "resumed", updates=2)
    fit(*common, "--trainer.max_steps", "4")
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (sft, root / "resumed"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    steps = [line["step"] for line in read_lines(root / "resumed" / "metrics.jsonl") if "sft/loss" in line]
    assert steps == [1, 2, 3, 4]  # the third was written twice, and cut once


def check_checkpoint_folder(run: Path, updates: int) -> None:
    """Beside the newest checkpoint lies what it holds, complete; ``export`` gives the same."""
    (folder,) = [path for path in (run / "checkpoints").iterdir() if path.is_dir()]
    assert folder.name == f"step={updates}"
    assert json.loads((folder / "run.json").read_text()).keys() == {"updates", "commit"}
    assert (folder / "config.yaml").read_text() == (run / "config.yaml").read_text()
    AutoProcessor.from_pretrained(folder / "model")
    (exported,) = export(str(run), str(run / "exported"))
    own, other = (load_file(path / "model.safetensors") for path in (folder / "model", exported))
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    loaded = Qwen3VLForConditionalGeneration.from_pretrained(exported)
    state = torch.load(folder.with_name(f"{folder.name}.ckpt"), weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, state[f"policy.vlm.{name}"]) for name, tensor in loaded.state_dict().items())


def test_warmup_counts_its_updates_and_saves_heads(warmup: Path) -> None:
    assert finished_updates(warmup) == 3
    discriminator = load_scorer(str(warmup / "model"), "test")
    assert discriminator.head.weight.shape == (2, 128)
    metrics = read_lines(warmup / "metrics.jsonl")
    assert [line["step"] for line in metrics if "discriminator/gradient_norm" in line] == [1, 2, 3]


@pytest.mark.parametrize("mini_batches", [1, 2])
def test_align_stops_after_exactly_three_policy_updates(root: Path, sft: Path, warmup: Path, mini_batches: int) -> None:
    config = with_engine("align.yaml", root / "configs")
    folder = root / f"align-{mini_batches}"
    fit(
        "--config", str(config), "--run_dir", str(folder), "--trainer.max_steps", "3",
        "--model.policy", str(sft / "model"), "--model.discriminator.path", str(warmup / "model"),
        "--model.reuse.mini_batches", str(mini_batches), "--data.batch_size", "4",
    )  # fmt: skip
    assert finished_updates(folder) == 3
    steps = [line for line in read_lines(folder / "metrics.jsonl") if "policy/loss" in line]
    # Two updates a batch: the second batch is left after its first.
    assert [line["step"] for line in steps] == ([1, 2, 3] if mini_batches == 1 else [2, 3])
    probes = [line["rollout/probe_gap"] for line in read_lines(folder / "metrics.jsonl") if "rollout/probe_gap" in line]
    assert len(probes) == 1  # before the first update; the next would be due at the tenth
    assert probes[0] < 1e-4
    samples = read_lines(folder / "samples.jsonl")
    assert len(samples) == len(steps) * 4 * 16
    assert (folder / "discriminator" / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["SharedMixtureDiscriminator", "DenseDiscriminator", "TextOnlyDiscriminator"])
def test_align_runs_every_discriminator_by_its_class_alone(root: Path, sft: Path, name: str) -> None:
    config = with_engine("align.yaml", root / "configs")
    folder = root / f"align-{name}"
    fit(
        "--config", str(config), "--run_dir", str(folder), "--trainer.max_steps", "1",
        f"--model.discriminator={name}", "--model.policy", str(sft / "model"), "--data.batch_size", "2",
    )  # fmt: skip
    assert finished_updates(folder) == 1
    record = json.loads((folder / "discriminator" / "config.json").read_text())["prism_discriminator"]
    assert record["class"] == name
    (line,) = [line for line in read_lines(folder / "metrics.jsonl") if "discriminator/gradient_norm" in line]
    assert line["discriminator/gradient_norm"] > 0
    # Another image changes the score of every discriminator but the one without eyes, which then has no preference either.
    effects = [line for line in read_lines(folder / "metrics.jsonl") if "image/swap_score_drop" in line]
    assert effects
    blind = name == "TextOnlyDiscriminator"
    assert all((line["image/swap_score_drop"] == 0.0) == blind for line in effects)
    if blind:
        assert {line["image/swap_preference"] for line in effects} == {0.5}
        assert {line["image/swap_in_batch_accuracy_drop"] for line in effects} == {0.0}


def test_alignment_with_adapters_on_both_sides(root: Path, sft: Path) -> None:
    config = with_engine("align.yaml", root / "configs")
    folder, lora = root / "align-lora", "{rank: 4, alpha: 8}"
    fit(
        "--config", str(config), "--run_dir", str(folder), "--trainer.max_steps", "2", "--data.batch_size", "2",
        "--model.policy", str(sft / "model"), "--model.discriminator=DenseDiscriminator",
        "--model.lora", lora, "--model.discriminator.lora", lora, "--model.objective.in_batch_weight=1",
    )  # fmt: skip
    # The engine holds the merged weights: before the first update and after it.
    gaps = [line["mismatch/logp_gap_mean"] for line in read_lines(folder / "metrics.jsonl") if "policy/loss" in line]
    assert len(gaps) == 2
    assert max(gaps) < 1e-4
    for name in ("model", "discriminator"):
        assert (folder / name / "adapter" / "adapter_config.json").exists()
        assert not [key for key in load_file(folder / name / "model.safetensors") if "lora" in key]
    before, after = (load_file(path / "model" / "model.safetensors") for path in (sft, folder))
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved
    assert all("language_model.layers" in key and "_proj" in key for key in moved)


ALGORITHMS = ["GRPO", "DAPO", "GSPO", "DrGRPO", "RLOO", "ReinforcePlusPlus", "CISPO", "SAPO"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rlvr_runs_every_algorithm_for_exactly_three_updates(root: Path, sft: Path, algorithm: str) -> None:
    config = with_engine("rlvr.yaml", root / "configs")
    folder = root / f"rlvr-{algorithm}"
    fit(
        "--config", str(config), "--run_dir", str(folder), "--trainer.max_steps=3", f"--model.algorithm={algorithm}",
        "--model.policy", str(sft / "model"), "--data.batch_size", "4",
    )  # fmt: skip
    assert finished_updates(folder) == 3
    assert (folder / "heldout.jsonl").read_text().count("\n") == 8
    # Only the one with a divergence has built a reference.
    measured = [line["seconds/reference"] for line in read_lines(folder / "metrics.jsonl") if "seconds/reference" in line]
    assert bool(measured) == (algorithm == "RLOO")


LENGTH_REWARD = """
def score(inputs):
    return [{"overall": (len(i["response"]) % 7) / 7, "extra": 1.0} for i in inputs]
"""


def rlvr_metrics(root: Path, sft: Path, name: str, *arguments: str) -> list[dict[str, float]]:
    """Metrics of a run whose reward is a function in a file, which differs between the responses of a group."""
    config = with_engine("rlvr.yaml", root / "configs")
    (root / "length.py").write_text(LENGTH_REWARD)
    reward = {"class_path": "PythonReward", "init_args": {"function": f"{root / 'length.py'}:score"}}
    fit(
        "--config", str(config), "--run_dir", str(root / name), "--model.policy", str(sft / "model"),
        "--data.batch_size", "4", f"--model.rewards={json.dumps([reward])}", "--model.optimizer.lr=3e-3", *arguments,
    )  # fmt: skip
    return [line for line in read_lines(root / name / "metrics.jsonl") if "policy/loss" in line]


@pytest.mark.parametrize("algorithm", ["GRPO", "DAPO", "GSPO"])
def test_ratios_and_clips_act_with_several_updates_a_batch_and_only_then(root: Path, sft: Path, algorithm: str) -> None:
    common = [f"--model.algorithm={algorithm}", "--model.schedule.kind=constant"]
    (one,) = rlvr_metrics(root, sft, f"once-{algorithm}", *common, "--trainer.max_steps=1", "--model.reuse.mini_batches=1")
    assert one["policy/ratio"] == 1.0
    assert one["policy/clipped_low"] == one["policy/clipped_high"] == 0.0
    assert one["reward/python"] > 0
    (four,) = rlvr_metrics(root, sft, f"four-{algorithm}", *common, "--trainer.max_steps=4", "--model.reuse.mini_batches=4")
    assert four["policy/ratio"] != 1.0
    assert four["policy/clipped_low"] + four["policy/clipped_high"] > 0
    assert four["mismatch/delta_p_max"] < 1e-4
    assert four["mismatch/effective_sample_size"] == pytest.approx(1, abs=1e-4)


def test_divergence_from_the_reference_is_zero_at_the_start_and_grows(root: Path, sft: Path) -> None:
    arguments = ["--model.algorithm=GRPO", "--model.algorithm.kl_weight=0.1", "--model.reuse.mini_batches=1"]
    first, second = rlvr_metrics(root, sft, "kl", *arguments, "--trainer.max_steps=2")
    assert first["policy/kl_reference"] == pytest.approx(0, abs=1e-6)
    assert second["policy/kl_reference"] > 1e-4
    # Every response has a gradient now, from the divergence.
    assert first["policy/trained_responses"] == 1.0


def test_a_batch_without_any_signal_goes_by(root: Path, sft: Path) -> None:
    # The policy is untrained: every reward is 0, so is every advantage, and nothing is sent through the model.
    weights = load_file(sft / "model" / "model.safetensors")
    config = with_engine("rlvr.yaml", root / "configs")
    folder = root / "flat"
    fit(
        "--config", str(config), "--run_dir", str(folder), "--trainer.max_steps=2", "--model.policy", str(sft / "model"),
        "--data.batch_size", "2",
    )  # fmt: skip
    lines = [line for line in read_lines(folder / "metrics.jsonl") if "policy/trained_responses" in line]
    assert [line["policy/trained_responses"] for line in lines] == [0.0]
    assert "policy/loss" not in lines[0]
    assert lines[0]["reward/zero_std_groups"] == 1.0
    after = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(weights[name], after[name]) for name in weights)


def test_the_entropy_bonus_raises_the_entropy(root: Path, sft: Path) -> None:
    # No reward signal: what moves the policy is the bonus alone.
    config = with_engine("rlvr.yaml", root / "configs")
    fit(
        "--config", str(config), "--run_dir", str(root / "entropy"), "--trainer.max_steps=3", "--model.policy",
        str(sft / "model"), "--data.batch_size", "2", "--model.algorithm.entropy_weight=1.0", "--model.optimizer.lr=3e-3",
        "--model.reuse.mini_batches=1",
    )  # fmt: skip
    entropy = [
        line["policy/entropy"] for line in read_lines(root / "entropy" / "metrics.jsonl") if "policy/entropy" in line
    ]
    assert entropy[-1] > entropy[0] + 0.01


def test_the_best_model_is_kept_with_figures_of_several_samples(root: Path, sft: Path) -> None:
    config = with_engine("rlvr.yaml", root / "best-configs")
    content = yaml.safe_load(config.read_text())
    for callback in content["trainer"]["callbacks"]:
        if callback["class_path"] == "EvaluationCallback":
            callback["init_args"] |= {"every": 1, "num_samples": 2, "keep_best": True}
    config.write_text(yaml.safe_dump(content))
    folder = root / "best"
    fit(
        "--config", str(config), "--run_dir", str(folder), "--trainer.max_steps=2", "--model.policy", str(sft / "model"),
        "--data.batch_size", "2", "--model.reuse.mini_batches=1",
    )  # fmt: skip
    # The untrained policy is never right, so nothing is better than the first evaluation.
    assert json.loads((folder / "best" / "best.json").read_text()) == {"updates": 1, "heldout/accuracy": 0.0}
    Qwen3VLForConditionalGeneration.from_pretrained(folder / "best" / "model")
    lines = [line for line in read_lines(folder / "metrics.jsonl") if "heldout/accuracy" in line]
    assert [line["heldout/pass@2"] for line in lines] == [0.0] * 4
    assert lines[-1]["heldout/accuracy_high"] == pytest.approx(3.841459 / (8 + 3.841459), abs=1e-6)  # Wilson for 0 of 8
    record = json.loads((folder / "heldout.jsonl").read_text().splitlines()[0])
    assert record["samples_correct"] == [0.0, 0.0]

"""RLVR on the embedded task, a few updates each."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import Qwen3VLForConditionalGeneration

from tests.command_line import captured
from tests.modules.fits import finished_updates, fit, logged, with_engine

ALGORITHMS = ["GRPO", "DAPO", "GSPO", "DrGRPO", "RLOO", "ReinforcePlusPlus", "CISPO", "SAPO"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rlvr_runs_every_algorithm_for_exactly_three_updates(tmp_path: Path, sft: Path, algorithm: str) -> None:
    folder = tmp_path / "rlvr"
    fit(
        with_engine("rlvr.yaml", tmp_path), folder, "--trainer.max_steps=3", f"--model.algorithm={algorithm}",
        "--model.policy.path", str(sft / "model"), "--data.batch_size", "4",
    )  # fmt: skip
    assert finished_updates(folder) == 3
    assert (folder / "heldout.jsonl").read_text().count("\n") == 8
    # Only the one with a divergence has built a reference.
    assert bool(logged(folder, "seconds/reference")) == (algorithm == "RLOO")


LENGTH_REWARD = """
def score(inputs):
    return [{"overall": (len(i["response"]) % 7) / 7, "extra": 1.0} for i in inputs]
"""


def rlvr_metrics(folder: Path, sft: Path, *arguments: str) -> list[dict[str, float]]:
    """Metrics of a run whose reward is a function in a file, which differs between the responses of a group."""
    config = with_engine("rlvr.yaml", folder)
    (folder / "length.py").write_text(LENGTH_REWARD)
    reward = {"class_path": "PythonReward", "init_args": {"function": f"{folder / 'length.py'}:score"}}
    fit(
        config, folder / "rlvr", "--model.policy.path", str(sft / "model"), "--data.batch_size", "4",
        f"--model.rewards={json.dumps([reward])}", "--model.optimizer.lr=3e-3", *arguments,
    )  # fmt: skip
    return logged(folder / "rlvr", "policy/loss")


@pytest.mark.parametrize("algorithm", ["GRPO", "DAPO", "GSPO"])
def test_ratios_and_clips_act_with_several_updates_a_batch_and_only_then(tmp_path: Path, sft: Path, algorithm: str) -> None:
    common = [f"--model.algorithm={algorithm}", "--model.schedule.kind=constant"]
    (one,) = rlvr_metrics(tmp_path / "one", sft, *common, "--trainer.max_steps=1", "--model.reuse.mini_batches=1")
    assert one["policy/ratio"] == 1.0
    assert one["policy/clipped_low"] == one["policy/clipped_high"] == 0.0
    assert one["reward/python"] > 0
    (four,) = rlvr_metrics(tmp_path / "four", sft, *common, "--trainer.max_steps=4", "--model.reuse.mini_batches=4")
    assert four["policy/ratio"] != 1.0
    assert four["policy/clipped_low"] + four["policy/clipped_high"] > 0
    assert four["mismatch/delta_p_max"] < 1e-4
    assert four["mismatch/effective_sample_size"] == pytest.approx(1, abs=1e-4)


OPPOSED_REWARDS = """
def first(inputs):
    return [(len(i["response"]) % 7) / 7 for i in inputs]

def second(inputs):
    return [1 - (len(i["response"]) % 7) / 14 for i in inputs]
"""


def test_each_reward_reaches_the_estimator(tmp_path: Path, sft: Path) -> None:
    # x + 2 (1 - x / 2) = 2 for every response: only who looks at each reward for itself finds a signal.
    file, functions = tmp_path / "opposed.py", (("first", 1.0), ("second", 2.0))
    file.write_text(OPPOSED_REWARDS)
    rewards = [
        {"class_path": "PythonReward", "init_args": {"function": f"{file}:{name}", "name": name, "weight": weight}}
        for name, weight in functions
    ]
    arguments = [f"--model.rewards={json.dumps(rewards)}", "--model.algorithm.advantage=DecoupledNormalised"]
    (line,) = rlvr_metrics(tmp_path, sft, *arguments, "--trainer.max_steps=1", "--model.reuse.mini_batches=1")
    assert line["reward/total"] == pytest.approx(2.0)
    assert line["policy/trained_responses"] > 0.5


def test_divergence_from_the_reference_is_zero_at_the_start_and_grows(tmp_path: Path, sft: Path) -> None:
    arguments = ["--model.algorithm=GRPO", "--model.algorithm.kl_weight=0.1", "--model.reuse.mini_batches=1"]
    first, second = rlvr_metrics(tmp_path, sft, *arguments, "--trainer.max_steps=2")
    assert first["policy/kl_reference"] == pytest.approx(0, abs=1e-6)
    assert second["policy/kl_reference"] > 1e-4
    # Every response has a gradient now, from the divergence.
    assert first["policy/trained_responses"] == 1.0


def test_a_batch_without_any_signal_goes_by(tmp_path: Path, sft: Path) -> None:
    # The policy is untrained: every reward is 0, so is every advantage, and nothing is sent through the model.
    weights = load_file(sft / "model" / "model.safetensors")
    folder = tmp_path / "flat"
    fit(
        with_engine("rlvr.yaml", tmp_path), folder, "--trainer.max_steps=2", "--model.policy.path", str(sft / "model"),
        "--data.batch_size", "2",
    )  # fmt: skip
    lines = logged(folder, "policy/trained_responses")
    assert [line["policy/trained_responses"] for line in lines] == [0.0]
    assert "policy/loss" not in lines[0]
    assert lines[0]["advantage/zero_std_groups"] == 1.0
    after = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(weights[name], after[name]) for name in weights)


def test_the_entropy_bonus_raises_the_entropy(tmp_path: Path, sft: Path) -> None:
    # No reward signal: what moves the policy is the bonus alone.
    folder = tmp_path / "entropy"
    fit(
        with_engine("rlvr.yaml", tmp_path), folder, "--trainer.max_steps=3", "--model.policy.path", str(sft / "model"),
        "--data.batch_size", "2", "--model.algorithm.entropy_weight=1.0", "--model.optimizer.lr=3e-3",
        "--model.reuse.mini_batches=1",
    )  # fmt: skip
    entropy = [line["policy/entropy"] for line in logged(folder, "policy/entropy")]
    assert entropy[-1] > entropy[0] + 0.01


def test_the_best_model_is_kept_with_figures_of_several_samples(tmp_path: Path, sft: Path) -> None:
    config = with_engine("rlvr.yaml", tmp_path)
    content = yaml.safe_load(config.read_text())
    for callback in content["trainer"]["callbacks"]:
        if callback["class_path"] == "EvaluationCallback":
            callback["init_args"] |= {"every": 1, "num_samples": 2, "keep_best": True}
    config.write_text(yaml.safe_dump(content))
    folder = tmp_path / "best"
    fit(
        config, folder, "--trainer.max_steps=2", "--model.policy.path", str(sft / "model"), "--data.batch_size", "2",
        "--model.reuse.mini_batches=1",
    )  # fmt: skip
    # The untrained policy is never right, so nothing is better than the first evaluation.
    assert json.loads((folder / "best" / "best.json").read_text()) == {"updates": 1, "heldout/accuracy": 0.0}
    Qwen3VLForConditionalGeneration.from_pretrained(folder / "best" / "model")
    lines = logged(folder, "heldout/accuracy")
    assert [line["heldout/pass@2"] for line in lines] == [0.0] * 4
    assert lines[-1]["heldout/accuracy_high"] == pytest.approx(3.841459 / (8 + 3.841459), abs=1e-6)  # Wilson for 0 of 8
    record = json.loads((folder / "heldout.jsonl").read_text().splitlines()[0])
    assert record["samples_correct"] == [0.0, 0.0]


def test_more_updates_a_batch_than_prompts_are_refused_before_the_first(
    tmp_path: Path, sft: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = captured(
        capsys, "fit", "--config", str(with_engine("rlvr.yaml", tmp_path)), "--run_dir", str(tmp_path / "rlvr"),
        "--model.policy.path", str(sft / "model"), "--data.batch_size=4", "--model.reuse.mini_batches=5",
    )  # fmt: skip
    assert code == 2
    said = (
        "model.reuse.mini_batches: 5 updates a batch need as many prompts on each device, and data.batch_size is 4 over 1."
    )
    assert f"{said} Make it 5 or more, or take fewer" in err
    assert not (tmp_path / "rlvr" / "samples.jsonl").exists()

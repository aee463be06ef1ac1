"""The full-size configurations parse, and the reference ones hold the numbers of PRISM's released script."""

from typing import Any

import pytest
import yaml

from tests.command_line import captured

SIZES = ["4b", "8b"]


def printed(config: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The complete configuration that ``fit --config qwen3_vl/<config>`` prints; an 8B one lies on top of its 4B one."""
    files = [config.replace("8b", "4b"), config] if "8b" in config else [config]
    chosen = [part for file in files for part in ("--config", f"qwen3_vl/{file}")]
    code, out, err = captured(capsys, "fit", *chosen, *arguments, "--print_config")
    assert code == 0, err
    return yaml.safe_load(out)


def own(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The options of a callback of the configuration."""
    (found,) = (c["init_args"] for c in config["trainer"]["callbacks"] if c["class_path"].endswith(f".{name}"))
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["", "_reference"])
def test_the_configuration_parses_and_fits_together(size: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(f"align_{size}{kind}.yaml", capsys)
    model, data, trainer = config["model"]["init_args"], config["data"]["init_args"], config["trainer"]
    name = f"prism-vlm/Qwen3-VL-{size.upper()}-Instruct-SFT"
    assert (config["run_dir"], model["policy"]["path"]) == (f"runs/qwen3_vl/align_{size}{kind}", name)
    assert "policy" not in data  # linked: the name is written once
    assert trainer["strategy"] == "fsdp2"
    assert trainer["precision"] == "bf16-mixed"
    # Prompts are shared out whole; a longest prompt with a longest response is one row.
    assert data["batch_size"] % trainer["devices"] == 0
    sampling = own(config, "RolloutCallback")["sampling"]
    assert model["max_tokens"] >= data["max_prompt_tokens"] + sampling["max_new_tokens"]
    # Past prompts are shared out over the devices, too.
    assert model["replay"]["prompts_per_update"] % trainer["devices"] == 0


@pytest.mark.parametrize("size", SIZES)
def test_the_reference_holds_the_numbers_of_the_released_script(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(f"align_{size}_reference.yaml", capsys)
    model, data, rollout = config["model"]["init_args"], config["data"]["init_args"], own(config, "RolloutCallback")
    for optimizer in (model["optimizer"], model["discriminator_optimizer"]):
        assert optimizer["class_path"] == "torch.optim.AdamW"
        options = optimizer["init_args"]
        assert (options["lr"], options["weight_decay"], options["betas"]) == (1e-6, 0.01, [0.9, 0.999])
    schedule = model["schedule"]
    assert (schedule["kind"], schedule["warmup_ratio"], schedule["warmup_steps"]) == ("constant", 0, 0)
    assert (model["clip_norm"], model["max_tokens"]) == (1.0, 8192)
    assert model["reuse"] == {"mini_batches": 1, "epochs": 1}
    assert model["mismatch"]["action"] == "off"
    assert model["advantage"]["class_path"].endswith(".ReleasedAdvantage")
    # Every token is credited with both aspects, as there.
    assert model["advantage"]["init_args"] == {"alpha": 0.5, "format_penalty": 1.5, "reward_to_go": False}
    assert model["discriminator"]["class_path"].endswith(".SharedMixtureDiscriminator")
    discriminator = model["discriminator"]["init_args"]
    assert discriminator["path"] == "prism-vlm/Qwen3-VL-2B-4X-Moe-warmup-120k"
    assert (discriminator["num_experts"], discriminator["top_k"], discriminator["score_clip"]) == (4, 2, 10.0)
    weights, cadence = model["discriminator_loss"], model["cadence"]
    assert (weights["score_penalty"], weights["balance_weight"], weights["in_batch_weight"]) == (0.001, 0.0, 0.0)
    assert model["replay"]["prompts_per_update"] == 0
    assert (cadence["policy_delay"], cadence["discriminator_every"], cadence["discriminator_updates"]) == (0, 1, 1)
    assert not any(model["policy"]["freeze"].values())
    # The 8B model takes eight devices, and a prompt each.
    assert (data["batch_size"], data["max_prompt_tokens"]) == ({"4b": 4, "8b": 8}[size], 2048)
    assert data["drop_too_long"]
    sampling = rollout["sampling"]
    assert (sampling["max_new_tokens"], sampling["group_size"], sampling["temperature"]) == (6144, 16, 1.0)
    # README and paper; the script's 1500 is three times this, at constant rates.
    assert config["trainer"]["max_steps"] == 500


@pytest.mark.parametrize("size", SIZES)
def test_the_corrected_one_takes_our_parts(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(f"align_{size}.yaml", capsys)
    model = config["model"]["init_args"]
    assert model["discriminator"]["class_path"].endswith(".DedicatedExpertsDiscriminator")
    assert model["discriminator"]["init_args"]["score_clip"] is None
    assert model["advantage"]["class_path"].endswith(".MixCentred")
    assert model["discriminator_loss"]["balance_weight"] == 0.01
    assert model["discriminator_loss"]["in_batch_weight"] > 0
    assert own(config, "ConvergenceProbe")["every"] == 100
    assert own(config, "HealthAlarm")


@pytest.mark.parametrize("kind", ["", "_reference"])
def test_the_sizes_differ_in_names_alone(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    small, large = (printed(f"align_{size}{kind}.yaml", capsys) for size in SIZES)
    small["trainer"].pop("logger"), large["trainer"].pop("logger")
    if kind:
        shared = [config.pop("devices") for config in (small["trainer"], large["trainer"])]
        assert shared == [config["data"]["init_args"].pop("batch_size") for config in (small, large)] == [4, 8]
    # On one side only: a name of the small model that the overlay forgot would be left on the other.
    assert yaml.safe_dump(small).replace("4B", "8B").replace("4b", "8b") == yaml.safe_dump(large)


RLVR = [f"rlvr_{algorithm}" for algorithm in ("grpo", "dapo", "gspo")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RLVR)
def test_rlvr_holds_the_numbers_of_the_released_script(name: str, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(f"{name}_{size}.yaml", capsys)
    model, data, rollout = config["model"]["init_args"], config["data"]["init_args"], own(config, "RolloutCallback")
    algorithm = model["algorithm"]
    options = algorithm["init_args"]
    assert algorithm["class_path"] == f"prism_pl.algorithms.{name.removeprefix('rlvr_').upper()}"
    # clip low and high, dual clip, aggregation; overlong buffer and its factor; rounds after the first.
    own_numbers = {
        "rlvr_grpo": (0.2, 0.2, 3.0, "token_mean", 0.0, 0),
        "rlvr_dapo": (0.2, 0.28, 10.0, "token_mean", 4096 / 8192, 9),
        "rlvr_gspo": (3e-4, 4e-4, None, "sequence_mean", 0.0, 0),
    }[name]
    found = (
        options["clip_low"], options["clip_high"], options.get("dual_clip"), options["aggregation"],
        options["overlong_share"], options["max_resampling"],
    )  # fmt: skip
    assert found == own_numbers
    assert options["overlong_penalty"] == 1.0
    assert (options["kl_weight"], options["entropy_weight"]) == (0, 0)
    optimizer = model["optimizer"]["init_args"]
    assert (optimizer["lr"], optimizer["weight_decay"]) == (1e-6, 0.01 if name == "rlvr_grpo" else 0.1)
    schedule = model["schedule"]
    warmup = schedule["warmup_steps"] + round(schedule["warmup_ratio"] * config["trainer"]["max_steps"])
    assert (schedule["kind"], warmup) == ("constant", {"rlvr_grpo": 0, "rlvr_dapo": 10, "rlvr_gspo": 75}[name])
    assert (model["clip_norm"], model["reuse"], config["trainer"]["max_steps"]) == (
        1.0, {"mini_batches": 1, "epochs": 1}, 1500,
    )  # fmt: skip
    assert [(r["class_path"].rsplit(".")[-1], r["init_args"]["weight"]) for r in model["rewards"]] == [
        ("AnswerReward", 0.8), ("FormatReward", 0.2),
    ]  # fmt: skip
    assert (data["batch_size"], data["max_prompt_tokens"], data["drop_too_long"]) == (32, 2048, True)
    sampling = rollout["sampling"]
    assert (sampling["max_new_tokens"], sampling["group_size"], sampling["temperature"]) == (8192, 16, 1.0)
    assert model["max_tokens"] == (20480 if name == "rlvr_gspo" else 10240)
    assert model["max_tokens"] >= data["max_prompt_tokens"] + sampling["max_new_tokens"]
    assert (own(config, "EvaluationCallback")["every"], config["checkpoint"]["every_n_train_steps"]) == (6, 120)
    assert (config["trainer"]["devices"], data["batch_size"] % config["trainer"]["devices"]) == (8, 0)


def test_sft_holds_the_numbers_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed("sft_4b.yaml", capsys)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert (model["optimizer"]["class_path"], model["optimizer"]["init_args"]["lr"]) == ("torch.optim.AdamW", 1e-5)
    assert (model["schedule"]["kind"], model["schedule"]["warmup_ratio"]) == ("cosine", 0.1)
    assert (data["max_response_tokens"], config["trainer"]["max_epochs"]) == (8192, 1)
    assert [source["path"] for source in data["path"]] == ["prism-vlm/gemini_distill", "prism-vlm/gemini_public_mmr1"]
    assert (model["policy"]["path"], data["batch_size"] % config["trainer"]["devices"]) == ("Qwen/Qwen3-VL-4B-Instruct", 0)
    assert model["max_tokens"] >= data["max_prompt_tokens"] + data["max_response_tokens"]


def test_warmup_holds_the_numbers_of_the_released_script(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed("warmup_4b.yaml", capsys)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    options = model["optimizer"]["init_args"]
    assert (options["lr"], options["weight_decay"]) == (1e-5, 0.01)
    assert (model["schedule"]["kind"], model["schedule"]["warmup_ratio"], model["clip_norm"]) == ("cosine", 0.1, 1.0)
    # 128 pairs: two a row.
    assert (2 * data["batch_size"], config["trainer"]["max_epochs"]) == (128, 1)
    assert (
        config["run_dir"] + "/model"
        == printed("align_4b.yaml", capsys)["model"]["init_args"]["discriminator"]["init_args"]["path"]
    )


@pytest.mark.parametrize("name", [*RLVR, "warmup"])
def test_overlays_change_names_alone(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    small, large = (printed(f"{name}_{size}.yaml", capsys) for size in SIZES)
    if name == "rlvr_grpo":
        assert large["data"]["init_args"]["path"] == "data/rl_training_data_10k.parquet"
        large["data"]["init_args"]["path"] = small["data"]["init_args"]["path"]
    assert yaml.safe_dump(small).replace("4B", "8B").replace("4b", "8b") == yaml.safe_dump(large)

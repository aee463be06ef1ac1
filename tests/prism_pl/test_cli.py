"""Mistakes of a command line: one paragraph each that names the key and what would be right, before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import Namespace

import modules  # noqa: F401 (registers the strategies)
from prism_pl.cli.refusals import refuse_half_precision, refuse_strategy
from prism_pl.errors import UserError
from tests.command_line import run

RLVR = ("fit", "--config", "rlvr.yaml")


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one paragraph on the error stream of a command line that ends with 2."""
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--data.batch_size=0", "data.batch_size: it is 0, and must be a whole number of at least 1."),
        ("--data.batch_size=2.5", "data.batch_size: it is 2.5, and must be a whole number of at least 1."),
        ("--data.num_workers=-1", "data.num_workers: it is -1, and must be a whole number of at least 0."),
        (
            "--model.algorithm.clip_low=-1",
            "model.algorithm.clip_low: it is -1, and must be a number of at least 0 and at most 1.",
        ),
        ("--model.algorithm.dual_clip=0.5", "dual_clip: it is 0.5, and must be a number of at least 1, or null."),
        ("--model.algorithm.kl_weight=nan", "kl_weight: it is 'nan', and must be a number of at least 0."),
        ("--model.mismatch.cap=0", "model.mismatch.cap: it is 0, and must be a number of more than 0."),
        ("--model.reuse.epochs=0", "model.reuse.epochs: it is 0, and must be a whole number of at least 1."),
        ("--model.algorithm.aggregation=mean", "must be one of token_mean, sequence_mean, length_limit."),
        ("--trainer.max_steps=many", "trainer.max_steps: it is 'many', and must be a whole number."),
    ],
)
def test_a_bad_value_is_named_with_key_and_range(argument: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in mistake(capsys, *RLVR, argument)
    # Apart from its key, too.
    assert message in mistake(capsys, *RLVR, *argument.split("="))


@pytest.mark.parametrize(
    ("argument", "messages"),
    [
        (
            "--model.algorithm=GRPOO",
            ["model.algorithm: there is no class GRPOO. Did you mean GRPO?", "CISPO, DAPO"],
        ),
        ("--model.algorithm.advantage=LeaveOne", ["Did you mean LeaveOneOut?", "Known are BatchWhitened, Decoupled"]),
        ("--model=RLVModule", ["model: there is no class RLVModule. Did you mean RLVRModule?", "SFTModule."]),
        ("--data=PromtDataModule", ["Did you mean PromptDataModule? Known are DemonstrationDataModule, PairDataModule"]),
        ("--model.optimizer=Adamw", ["model.optimizer: there is no class Adamw. Did you mean AdamW?"]),
        ("--trainer.logger=WandLogger", ["trainer.logger: there is no class WandLogger. Did you mean WandbLogger?"]),
        ("--model.algorithm=prism_pl.algorithms.Nope", ["there is no class prism_pl.algorithms.Nope", "Known are CISPO"]),
    ],
)
def test_an_unknown_class_is_named_with_the_known_ones(
    argument: str, messages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = mistake(capsys, *RLVR, argument)
    assert all(message in said for message in messages), said


@pytest.mark.parametrize(
    ("argument", "messages"),
    [
        (
            "--model.algorithm.clip_lo=0.1",
            ["model.algorithm.clip_lo: GRPO has no such key. Did you mean clip_low?"],
        ),
        ("--trainer.max_stps=3", ["trainer.max_stps: trainer has no such key. Did you mean max_steps?"]),
        ("--modl.algorithm=GRPO", ["modl: the command has no such key. Did you mean model?", "run_dir"]),
        ("--data.batchsize=3", ["data.batchsize: PromptDataModule has no such key. Did you mean batch_size?"]),
        ("--model.optimizer.lrr=1", ["AdamW has no such key. Did you mean lr?", "weight_decay"]),
        ("--trainer.callbacks.table_evry=1", ["trainer.callbacks[2].table_evry: SampleLog has no such key."]),
        (
            "--model.policy=runs/x",
            ["model.policy: it is 'runs/x', but it is a group of keys: freeze, gradient_chec", "path"],
        ),
        ("--model.algorithm.objective.clip_low=0.1", ["options are given, but no class.", "known are CappedWeight"]),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones(
    argument: str, messages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = mistake(capsys, *RLVR, argument)
    assert all(message in said for message in messages), said


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (["model", "init_args"], {"polcy": "x"}, "model.polcy: RLVRModule has no such key. Did you mean policy?"),
        (["model", "init_args", "algorithm"], {"class_path": "Nope"}, "model.algorithm: there is no class Nope. Known are"),
        (["model", "init_args", "algorithm"], {"clip_low": 0.1}, "model.algorithm.clip_low: options of GRPO belong under"),
        (["data"], {"class_path": "Nope"}, "data: there is no class Nope. Known are DemonstrationDataModule"),
        (["data", "init_args"], {"max_prompt_tokens": 0}, "data.max_prompt_tokens: it is 0, and must be a whole number"),
        ([], {"trainr": {"max_steps": 3}}, "trainr: the command has no such key. Did you mean trainer?"),
        (
            ["trainer", "callbacks", 0, "init_args", "sampling"], {"group_size": 0},
            "trainer.callbacks[0].sampling.group_size: it is 0, and must be a whole number of at least 1.",
        ),
        (["trainer", "callbacks", 1], {"class_path": "EvalCallback"}, "callbacks[1]: there is no class EvalCallback."),
        (["model", "init_args", "rewards", 1, "init_args"], {"wieght": 1}, "model.rewards[1].wieght: FormatReward has no"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_are_named_alike(
    place: list[Any], change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = inner = yaml.safe_load(Path("configs/rlvr.yaml").read_text())
    for key in place:
        inner = inner[key]
    inner |= change
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert message in mistake(capsys, "fit", "--config", str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer.callbacks+=HealthAlarm", "--trainer.callbacks.patience=0"], "trainer.callbacks[3].patience: it is 0"),
        (["--model.optimizer.betas.x=1"], "model.optimizer.betas"),
        (
            ["--trainer.callbacks=null", "--trainer.callbacks+=HealthAlrm"],
            "trainer.callbacks[0]: there is no class",
        ),
        # A number that YAML alone would read as text is none of the mistakes.
        (["--model.optimizer.lr=1e-3", "--data.batch_size=0"], "data.batch_size: it is 0"),
    ],
)
def test_lists_and_numbers_as_the_command_line_spells_them(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mistake(capsys, *RLVR, *arguments).startswith(f"error: {message}")


def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "run_dir: it is required" in mistake(capsys, "fit")
    assert "model.policy.lora.alpha: it is required" in mistake(capsys, *RLVR, "--model.policy.lora.rank=3")
    assert "model.policy.path: it is required" in mistake(capsys, *RLVR, "--model=null", "--model=RLVRModule")
    filtering = ["filter", "--config", "filter.yaml", "--policy=x", "--path=y", "--out=z", "--reward=JudgeReward"]
    assert mistake(capsys, *filtering) == (
        "error: reward.endpoint.base_url: it is required, and given neither on the command line nor in a configuration. "
        "JudgeReward takes at least `{class_path: JudgeReward, init_args: {endpoint: {base_url: BASE_URL, model: MODEL}}}`."
    )
    assert "reward.endpoint.model: it is required" in mistake(capsys, *filtering, "--reward.endpoint.base_url=http://a/v1")
    assert "out: it is required" in mistake(capsys, "filter", "--policy=x", "--path=y", "--sampling.max_new_tokens=3")


def test_a_mistyped_configuration_is_named_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--config", "aling.yaml"], ["--config=aling.yaml"]):
        said = mistake(capsys, "fit", *arguments)
        assert "--config: aling.yaml is neither in the current folder nor in configs/, which holds align.yaml" in said
        assert "warmup.yaml. Did you mean align.yaml?" in said


def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("model: [1\n")
    (tmp_path / "b.yaml").write_text("just words\n")
    assert "a.yaml is no YAML" in mistake(capsys, "fit", "--config", str(tmp_path / "a.yaml"))
    assert "b.yaml holds no keys" in mistake(capsys, "fit", "--config", str(tmp_path / "b.yaml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["filter", "--config", "filter.yaml", "--low=2"], "low: it is 2, and must be a number of at least 0"),
        (["filter", "--config", "filter.yaml", "--lwo=0"], "lwo: the command has no such key. Did you mean low?"),
        (["filter", "--config", "filter.yaml", "--engine=VLLM"], "there is no class VLLM. Did you mean VLLMEngine?"),
        (["pairs", "--config", "pairs.yaml", "--sampling.temperature=-1"], "sampling.temperature: it is -1, and must be"),
        (["curate", "--config", "curate.yaml", "--endpoint.concurrency=0"], "endpoint.concurrency: it is 0, and must be"),
        (["upcycle", "--model=x", "--out=y", "--top_k=0"], "top_k: it is 0, and must be a whole number of at least 1."),
        (["export", "--run_dr=x", "--out=y"], "run_dr: the command has no such key. Did you mean run_dir?"),
        (["pipeline", "--config", "demo.yaml", "--seed=-1"], "seed: it is -1, and must be a whole number of at least 0."),
        (["fitt", "--config", "rlvr.yaml"], "fitt is no command. Did you mean fit? The commands are fit, pipeline"),
    ],
)  # fmt: skip
def test_the_other_commands_say_it_alike(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in mistake(capsys, *arguments)


MIXED = {"class_path": "lightning.pytorch.plugins.MixedPrecision", "init_args": {"precision": "16-mixed", "device": "cpu"}}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("precision", "16-mixed"), ("precision", "16"), ("precision", "16-true"), ("plugins", json.dumps([MIXED])),
        ("precision", "transformer-engine-float16"),
    ],
)  # fmt: skip
def test_fp16_is_refused_at_once(key: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, *RLVR, "--run_dir", str(tmp_path / "run"), f"--trainer.{key}={value}")
    assert f"trainer.{key}: " in said
    assert "fp16" in said
    assert "Use `--trainer.precision bf16-mixed`" in said
    assert not (tmp_path / "run").exists()


def test_weights_in_bf16_are_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, *RLVR, "--run_dir", str(tmp_path / "run"), "--trainer.precision=bf16-true")
    assert "trainer.precision: bf16-true keeps the weights in bf16" in said
    assert "Use `--trainer.precision bf16-mixed`" in said


def test_autocast_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, *RLVR, "--run_dir", str(tmp_path / "run"), "--trainer.precision=bf16-mixed")
    assert "trainer.precision: bf16-mixed under SingleDeviceStrategy is autocast" in said
    assert "Add `--trainer.strategy fsdp2`" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true", 32, 64, "32", None])
def test_other_precisions_are_not(precision: str | int | None) -> None:
    refuse_half_precision(Namespace(precision=precision, plugins=None))
    refuse_half_precision(Namespace(precision=None, plugins=[Namespace(init_args=Namespace(precision=precision))]))
    refuse_half_precision(Namespace(precision=None, plugins=Namespace(init_args=Namespace())))


@pytest.mark.parametrize("strategy", ["ddp_find_unused_parameters_true", "ddp_spawn", "deepspeed_stage_1"])
def test_a_strategy_that_cannot_hold_a_stage_is_refused_at_once(
    strategy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A finished run, which a start would set aside.
    (tmp_path / "finished.json").write_text("{}")
    chosen = ["--trainer.accelerator=cpu", "--trainer.devices=2", f"--trainer.strategy={strategy}"]
    said = mistake(capsys, *RLVR, "--run_dir", str(tmp_path), *chosen)
    assert "trainer.strategy: D" in said
    assert "an update on 2 devices. Use `--trainer.strategy fsdp2`, or ddp, deepspeed_stage_2 or deepspeed_stage_3." in said
    assert (tmp_path / "finished.json").exists()


def options(**changes: Any) -> Namespace:
    return Namespace(
        **(
            {"accelerator": "cpu", "devices": 2, "num_nodes": 1, "strategy": "auto", "precision": None, "plugins": None}
            | changes
        )
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "fsdp2"},
        {"strategy": "ddp"},
        # Lightning's choice is ddp.
        {"devices": "3"},
        {"strategy": Namespace(class_path="modules.ReplicatedStrategy", init_args=Namespace(time_limit=60.0))},
        {"strategy": Namespace(class_path="modules.strategy.FSDP2Strategy", init_args=Namespace())},
        {"strategy": "deepspeed_stage_2"},
        {"strategy": "deepspeed_stage_3_offload", "devices": 1},
        {"devices": 1},
        {"devices": "auto"},
    ],
)
def test_what_can_run_is_not_refused(changes: dict[str, Any]) -> None:
    refuse_strategy(options(**changes))


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"devices": 1, "num_nodes": 4, "strategy": "ddp_find_unused_parameters_true"}, 4),
        ({"strategy": Namespace(class_path="lightning.pytorch.strategies.DDPStrategy", init_args=Namespace())}, 2),
    ],
)
def test_devices_are_counted_over_nodes(changes: dict[str, Any], count: int) -> None:
    with pytest.raises(UserError, match=rf"DDPStrategy cannot run several .* on {count} devices"):
        refuse_strategy(options(**changes))


@pytest.mark.parametrize("name", ["deepspeed", "deepspeed_stage_1", "deepspeed_stage_3_offload_nvme"])
def test_lightnings_own_deepspeed_is_refused_on_one_device_too(name: str) -> None:
    with pytest.raises(UserError, match=r"DeepSpeedStrategy cannot .* or ddp, deepspeed_stage_2 or deepspeed_stage_3"):
        refuse_strategy(options(strategy=name, devices=1))


@pytest.mark.parametrize("strategy", ["deepspeed_stage_3", "ddp"])
def test_bf16_that_would_round_scores_is_refused_at_once(strategy: str) -> None:
    with pytest.raises(
        UserError, match=r"trainer\.precision: (Zero|Replicated)Strategy computes in bf16-mixed with the weights"
    ):
        refuse_strategy(options(strategy=strategy, precision="bf16-mixed"))


def test_what_deepspeed_would_keep_elsewhere_is_refused_at_once() -> None:
    chosen = Namespace(zero={"stage": 1, "overlap_comm": True})
    with pytest.raises(UserError, match=r"trainer\.strategy\.zero: stage would change what DeepSpeed keeps where"):
        refuse_strategy(options(strategy=Namespace(class_path="modules.ZeroStrategy", init_args=chosen)))


def test_a_missing_deepspeed_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prism_pl.model.zero.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"trainer\.strategy: it needs the package deepspeed\. .*\[deepspeed\]"):
        refuse_strategy(options(strategy="deepspeed_stage_2"))


def test_a_strategy_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="trainer: You selected an invalid strategy name: `strategy='nonsense'`"):
        refuse_strategy(options(strategy="nonsense"))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--trainer.max_steps=-5", "trainer, checkpoint: `max_steps` must be a non-negative integer or -1"),
        ("--checkpoint.every_n_train_steps=-1", "trainer, checkpoint: Invalid value for every_n_train_steps=-1."),
        ("--trainer.num_nodes=0", "trainer: `num_nodes` must be a positive integer, but got 0."),
    ],
)
def test_what_lightning_refuses_is_one_line_too(
    argument: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*RLVR, "--run_dir", str(tmp_path), "--trainer.logger=false", argument) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"error: {message}")

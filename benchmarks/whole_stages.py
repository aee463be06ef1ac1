"""Whole steps against TRL's trainers, data loading and generation included: SFTTrainer and GRPOTrainer on the demo's data.

    make demo; python -m benchmarks.whole_stages

SFT: the embedded demonstrations, from the start model (1 M parameters, 64 an update) and from one of its kind with 100 M
(16). RLVR: 32 prompts x 8 responses, both sides generating with transformers, from the demo's SFT model. Learning rate 0,
so that both sides keep doing the same work. A step lasts from the end of the one before to its own end; printed is the
median, after two steps to warm up.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from transformers import AutoConfig, AutoProcessor, Qwen3VLForConditionalGeneration

from benchmarks.measure import measured
from benchmarks.synthetic import SIZES
from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.rewards.base import Reward
from prism_pl.runs.files import read_lines

WARM_UP = 2
PROMPTS, RESPONSES, MAX_NEW_TOKENS = 32, 8, 96
SFT_MODEL = Path("runs/demo/sft/model")
EVEN_LENGTH = {"class_path": "benchmarks.whole_stages.EvenLength"}
"""``EvenLength`` as a configuration names it."""


@dataclass(frozen=True)
class Case:
    """A stage, its model, rows of an update and timed steps."""

    stage: str
    size: str
    batch: int
    steps: int


CASES = {
    "SFT, 1 M": Case("sft", "1M", 64, 10),
    "SFT, 100 M": Case("sft", "100M", 16, 4),
    "RLVR, 1 M": Case("rlvr", "trained", PROMPTS, 10),
}


def model_folder(case: Case, scratch: Path) -> Path:
    """The start model, the trained one, or random weights for the same tokens in the layers of ``synthetic``'s 100 M."""
    if case.size == "trained":
        return SFT_MODEL
    start = embedded_folder() / "model"
    if case.size == "1M":
        return start
    config = AutoConfig.from_pretrained(start)
    hidden, layers, inner, vision_hidden, vision_layers, _ = SIZES[case.size]
    for key, value in {"hidden_size": hidden, "num_hidden_layers": layers, "intermediate_size": inner}.items():
        setattr(config.text_config, key, value)
    config.text_config.num_attention_heads, config.text_config.num_key_value_heads = hidden // 32, hidden // 64
    config.text_config.layer_types = ["full_attention"] * layers
    vision = config.vision_config
    vision.hidden_size, vision.depth, vision.intermediate_size = vision_hidden, vision_layers, 4 * vision_hidden
    vision.num_heads, vision.out_hidden_size = vision_hidden // 32, hidden
    torch.manual_seed(0)
    Qwen3VLForConditionalGeneration(config).save_pretrained(scratch / "model")
    AutoProcessor.from_pretrained(start).save_pretrained(scratch / "model")
    return scratch / "model"


@dataclass
class EvenLength(Reward):
    """One for a text of an even number of characters: half of any group, so that there is something to learn from."""

    weight: float = 1.0
    name: str = "even_length"

    def __call__(self, response: str, answer: str, options: Sequence[str] = (), question: str = "") -> float:
        return float(len(response) % 2 == 0)


class StepClock(L.Callback):
    """The time at which each training step ended, into a file of JSON.

    Args:
        file: where to write.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.times.append(time.perf_counter())

    def on_train_end(self, *_: Any) -> None:
        Path(self.file).write_text(json.dumps(self.times))


def ours(case: Case) -> dict[str, float]:
    """``python -m prism_pl fit`` as a user runs it, without evaluation."""
    folder = Path(tempfile.mkdtemp())
    callbacks: list[dict[str, Any]] = [
        {"class_path": "benchmarks.whole_stages.StepClock", "init_args": {"file": str(folder / "times.json")}}
    ]
    options = []
    if case.stage == "rlvr":
        sampling = {"max_new_tokens": MAX_NEW_TOKENS, "group_size": RESPONSES, "temperature": 1.0}
        engine = {"class_path": "TransformersEngine"}
        # First, so that the clock's step ends after the engine has taken the new weights.
        callbacks.insert(0, {"class_path": "RolloutCallback", "init_args": {"engine": engine, "sampling": sampling}})
        options = ["--model.reuse.mini_batches=1"]
    command = [
        sys.executable, "-m", "prism_pl", "fit", "--config", f"{case.stage}.yaml", "--run_dir", str(folder / "run"),
        "--trainer.max_steps", str(WARM_UP + case.steps), "--trainer.logger=false", "--data.batch_size", str(case.batch),
        "--model.policy.path", str(model_folder(case, folder)),
        "--model.optimizer.lr=0.0", f"--trainer.callbacks={json.dumps(callbacks)}", *options,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    lines = read_lines(folder / "run" / "metrics.jsonl")
    lengths = [line["response/tokens"] for line in lines if "response/tokens" in line]
    times = json.loads((folder / "times.json").read_text())
    return {"seconds": _step(times), "tokens": statistics.mean(lengths) if lengths else _demonstration_tokens()}


def theirs(case: Case) -> dict[str, float]:
    """TRL's trainer on the same rows."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.times.append(time.perf_counter())

    clock, folder = Clock(), Path(tempfile.mkdtemp())
    common: dict[str, Any] = {
        "output_dir": str(folder / "trl"), "max_steps": WARM_UP + case.steps, "learning_rate": 0.0, "use_cpu": True,
        "bf16": False, "gradient_checkpointing": False, "report_to": [], "save_strategy": "no", "logging_steps": 1,
        "disable_tqdm": True,
    }  # fmt: skip
    rows = Dataset.from_list(_rows(case.stage, (WARM_UP + case.steps) * case.batch))
    source = model_folder(case, folder)
    model = Qwen3VLForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(source)
    if case.stage == "sft":
        sft = SFTConfig(per_device_train_batch_size=case.batch, max_length=None, **common)
        trainer: Any = SFTTrainer(model, args=sft, train_dataset=rows, processing_class=processor, callbacks=[clock])
    else:
        grpo = GRPOConfig(
            per_device_train_batch_size=case.batch * RESPONSES, num_generations=RESPONSES, temperature=1.0, beta=0.0,
            max_completion_length=MAX_NEW_TOKENS, **common,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=model, reward_funcs=lambda completions, **_: [float(len(str(text)) % 2) for text in completions],
            args=grpo, train_dataset=rows, processing_class=processor, callbacks=[clock],
        )  # fmt: skip
    trainer.train()
    lengths = [
        entry["completions/mean_length"] for entry in trainer.state.log_history if "completions/mean_length" in entry
    ]
    return {"seconds": _step(clock.times), "tokens": statistics.mean(lengths) if lengths else _demonstration_tokens()}


def _rows(stage: str, count: int) -> list[dict[str, Any]]:
    """TRL's prompt-completion format, the image first in the user's turn."""
    rows = []
    for row in read_lines(embedded_folder() / f"{stage}.jsonl")[:count]:
        turns = [{**turn, "content": turn["content"].replace("<image>", "")} for turn in row["messages"]]
        prompt = [turn for turn in turns if turn["role"] != "assistant"]
        answer = {"completion": turns[len(prompt) :]} if stage == "sft" else {}
        rows.append({"prompt": prompt, **answer, "images": [_decoded(path) for path in row["images"]]})
    return rows


def _decoded(path: str) -> Any:
    from PIL import Image

    with Image.open(embedded_folder() / path) as image:
        return image.convert("RGB")


def _demonstration_tokens() -> float:
    """Mean length of a demonstration's response, the end-of-turn token included."""
    from prism_pl.data.conversation import PromptEncoder

    rows = read_lines(embedded_folder() / "sft.jsonl")[:1000]
    encoder = PromptEncoder(EMBEDDED_NAME, 256)
    return statistics.mean(encoder.count_response_tokens([row["messages"][-1]["content"] for row in rows]))


def _step(times: list[float]) -> float:
    return statistics.median(after - before for before, after in zip(times[WARM_UP - 1 :], times[WARM_UP:], strict=False))


def main() -> None:
    if not SFT_MODEL.is_dir():
        raise SystemExit(f"{SFT_MODEL} is missing: run `make demo` first.")
    print("| stage, model | TRL s a step | ours | ratio | TRL tokens a response | ours | TRL response tokens/s | ours |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, case in CASES.items():
        trl, own = (measured("benchmarks.whole_stages", kind, name) for kind in ("theirs", "ours"))
        size = case.batch * (RESPONSES if case.stage == "rlvr" else 1)
        print(
            f"| {name} | {trl['seconds']:.2f} | {own['seconds']:.2f} | {trl['seconds'] / own['seconds']:.1f} | "
            f"{trl['tokens']:.1f} | {own['tokens']:.1f} | {size * trl['tokens'] / trl['seconds']:,.0f} | "
            f"{size * own['tokens'] / own['seconds']:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"ours": ours, "theirs": theirs}[sys.argv[1]](CASES[sys.argv[2]])))
    else:
        main()

"""Whole steps against TRL's trainers, data loading and generation included: SFTTrainer and GRPOTrainer on the demo's data.

    make demo; python -m benchmarks.whole_stages

SFT: 64 demonstrations an update from the embedded start model. RLVR: 32 prompts x 8 responses, both sides generating with
transformers, from the demo's SFT model. Learning rate 0, so that both sides keep doing the same work. A step lasts from the
end of the one before to its own end; printed is the median, after two steps to warm up.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L

from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.run_files import read_lines

WARM_UP, STEPS = 2, 10
SFT_BATCH, PROMPTS, RESPONSES, MAX_NEW_TOKENS = 64, 32, 8, 96
SFT_MODEL = Path("runs/demo/sft/model")


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


def ours(stage: str) -> dict[str, float]:
    """``python -m prism_pl fit`` as a user runs it, without evaluation."""
    folder = Path(tempfile.mkdtemp())
    callbacks: list[dict[str, Any]] = [
        {"class_path": "benchmarks.whole_stages.StepClock", "init_args": {"file": str(folder / "times.json")}}
    ]
    options = []
    if stage == "rlvr":
        sampling = {"max_new_tokens": MAX_NEW_TOKENS, "group_size": RESPONSES, "temperature": 1.0}
        engine = {"class_path": "TransformersEngine"}
        # First, so that the clock's step ends after the engine has taken the new weights.
        callbacks.insert(0, {"class_path": "RolloutCallback", "init_args": {"engine": engine, "sampling": sampling}})
        options = [f"--model.policy={SFT_MODEL}", "--model.reuse.mini_batches=1", f"--data.batch_size={PROMPTS}"]
    command = [
        sys.executable, "-m", "prism_pl", "fit", "--config", f"{stage}.yaml", "--run_dir", str(folder / "run"),
        "--trainer.max_steps", str(WARM_UP + STEPS), "--trainer.logger=false",
        "--model.optimizer.lr=0.0", f"--trainer.callbacks={json.dumps(callbacks)}", *options,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    lines = read_lines(folder / "run" / "metrics.jsonl")
    lengths = [line["response/tokens"] for line in lines if "response/tokens" in line]
    times = json.loads((folder / "times.json").read_text())
    return {"seconds": _step(times), "tokens": statistics.mean(lengths) if lengths else _demonstration_tokens()}


def theirs(stage: str) -> dict[str, float]:
    """TRL's trainer on the same rows."""
    import torch
    from datasets import Dataset
    from transformers import AutoProcessor, Qwen3VLForConditionalGeneration, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.times.append(time.perf_counter())

    clock = Clock()
    common: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(), "max_steps": WARM_UP + STEPS, "learning_rate": 0.0, "use_cpu": True,
        "bf16": False, "gradient_checkpointing": False, "report_to": [], "save_strategy": "no", "logging_steps": 1,
        "disable_tqdm": True,
    }  # fmt: skip
    count = (WARM_UP + STEPS) * (SFT_BATCH if stage == "sft" else PROMPTS)
    rows = Dataset.from_list(_rows(stage, count))
    source = embedded_folder() / "model" if stage == "sft" else SFT_MODEL
    model = Qwen3VLForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(source)
    if stage == "sft":
        sft = SFTConfig(per_device_train_batch_size=SFT_BATCH, max_length=None, **common)
        trainer: Any = SFTTrainer(model, args=sft, train_dataset=rows, processing_class=processor, callbacks=[clock])
    else:
        grpo = GRPOConfig(
            per_device_train_batch_size=PROMPTS * RESPONSES, num_generations=RESPONSES, temperature=1.0, beta=0.0,
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
    from prism_pl.conversation import PromptEncoder

    rows = read_lines(embedded_folder() / "sft.jsonl")[:1000]
    encoder = PromptEncoder(EMBEDDED_NAME, 256)
    return statistics.mean(encoder.count_response_tokens([row["messages"][-1]["content"] for row in rows]))


def _step(times: list[float]) -> float:
    return statistics.median(after - before for before, after in zip(times[WARM_UP - 1 :], times[WARM_UP:], strict=False))


def main() -> None:
    if not SFT_MODEL.is_dir():
        raise SystemExit(f"{SFT_MODEL} is missing: run `make demo` first.")
    print("| stage | TRL s a step | ours | ratio | TRL tokens a response | ours | TRL response tokens/s | ours |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for stage, size in (("sft", SFT_BATCH), ("rlvr", PROMPTS * RESPONSES)):
        trl, own = (_child(kind, stage) for kind in ("theirs", "ours"))
        print(
            f"| {stage} | {trl['seconds']:.2f} | {own['seconds']:.2f} | {trl['seconds'] / own['seconds']:.1f} | "
            f"{trl['tokens']:.1f} | {own['tokens']:.1f} | {size * trl['tokens'] / trl['seconds']:,.0f} | "
            f"{size * own['tokens'] / own['seconds']:,.0f} |",
            flush=True,
        )


def _child(kind: str, stage: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.whole_stages", kind, stage]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr[-3000:])
    return json.loads(run.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"ours": ours, "theirs": theirs}[sys.argv[1]](sys.argv[2])))
    else:
        main()

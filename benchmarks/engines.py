"""Rollout engines side by side on the demo's SFT model: sampled tokens/s, seconds to start and to take new weights.

    make demo; python -m benchmarks.engines

32 prompts x 8 responses a call; the first call warms up and is told apart. Then the share of each phase in the demo's own
align and RLVR steps, from its metrics.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import measured
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import RolloutEngine, TransformersEngine, VLLMEngine
from prism_pl.model.policy import Policy
from prism_pl.runs.files import read_lines
from prism_pl.types import SamplingOptions

RUN = Path("runs/demo")
CALLS, PROMPTS, RESPONSES = 5, 32, 8
ENGINES: dict[str, Callable[[], RolloutEngine]] = {
    "VLLMEngine": lambda: VLLMEngine(dtype="float32", enforce_eager=True),
    "TransformersEngine": TransformersEngine,
}


def engine_figures(name: str) -> dict[str, float]:
    """Seconds of start, first call and sync, and the median tokens/s of the calls after the first."""
    model = str(RUN / "sft" / "model")
    encoder, data = PromptEncoder(EMBEDDED_NAME, 64), DataFile.open(f"{EMBEDDED_NAME}/rlvr.jsonl", "benchmark")
    prompts = encoder.encode([data.prompt_row(index) for index in range(PROMPTS)])
    sampling = SamplingOptions(max_new_tokens=96, group_size=RESPONSES, temperature=1.0)
    policy = Policy.load(model, "benchmark")
    start = time.perf_counter()
    engine = ENGINES[name]()
    engine.start(model, 64, sampling)
    figures = {"start": time.perf_counter() - start}
    speeds, syncs = [], []
    for call in range(CALLS + 1):
        start = time.perf_counter()
        batch = engine.answer(prompts, sampling, "benchmark", call)
        seconds = time.perf_counter() - start
        if call:
            speeds.append(sum(len(response.token_ids) for response in batch.flat_responses) / seconds)
        else:
            figures["first"] = seconds
        start = time.perf_counter()
        engine.sync(policy.weights())
        syncs.append(time.perf_counter() - start)
    engine.close()
    return figures | {"tokens": statistics.median(speeds), "sync": statistics.median(syncs)}


def phase_shares(stage: str) -> str:
    """Medians of the seconds that a step's phases took, largest first."""
    phases: dict[str, list[float]] = {}
    for line in read_lines(RUN / stage / "metrics.jsonl"):
        for key, value in line.items():
            if key.startswith("seconds/"):
                phases.setdefault(key.removeprefix("seconds/"), []).append(value)
    medians = {name: statistics.median(values) for name, values in phases.items()}
    total = sum(medians.values())
    shares = sorted(medians.items(), key=lambda item: -item[1])
    return f"{total:.2f} s: " + ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in shares)


def main() -> None:
    if not (RUN / "rlvr" / "finished.json").is_file():
        raise SystemExit(f"{RUN} has no finished RLVR: run `make demo` first.")
    print("| engine | start s | first call s | tokens/s | sync s |\n| --- | --- | --- | --- | --- |")
    for name in ENGINES:
        own = measured("benchmarks.engines", name)
        print(
            f"| {name} | {own['start']:.1f} | {own['first']:.2f} | {own['tokens']:,.0f} | {own['sync']:.3f} |", flush=True
        )
    for stage in ("align", "rlvr"):
        print(f"\na step of {stage}, {phase_shares(stage)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(engine_figures(sys.argv[1])))
    else:
        main()

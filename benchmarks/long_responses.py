"""Seconds an update where few responses are long: batches of whichever groups are finished, against whole batches.

    python -m benchmarks.long_responses
    python -m benchmarks.long_responses --updates 2 --prompts 4 --rounds 1      # whether it runs

RLVR (GRPO) with one vLLM server on the same machine, which all runs share, trainer and server with one thread each,
group_size 8. The policy is the embedded model with random weights and one changed row of its head, so that a response ends
at each token with a probability of 1 / ``--mean-tokens`` on average: few responses are long. The learning rate is 0, so all
sides keep doing the same work. In turn: the server waits for the trainer and is waited for. Ahead: ``overlap: 1``. Finished
first: ``overlap: 2`` and ``order: finished``. The sides take turns; printed are means over the updates of all rounds but
the first ones of each, from the end of one to that of the next.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.whole_stages import EVEN_LENGTH, WARM_UP
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines.own_servers import OwnServers
from prism_pl.hub import policy_folder
from prism_pl.model.policy import Policy
from prism_pl.runs.files import read_lines
from prism_pl.vllm_server import ServerOptions

SIDES: dict[str, dict[str, Any]] = {
    "in turn": {},
    "ahead": {"overlap": 1},
    "finished first": {"overlap": 2, "order": "finished"},
}
_SERVER = ServerOptions(dtype="float32", enforce_eager=True, max_num_seqs=512, threads=1)
LOGGED = ("response/tokens", "response/truncated", "policy/trained_responses", "rollout/staleness", "rollout/early_groups")
_PROMPT_TOKENS = 64
_SECONDS = 900
"""After which a run counts as one that hangs."""


@torch.no_grad()
def make_policy(mean_tokens: float, target: Path) -> None:
    """The embedded model, whose responses end after so many tokens on average."""
    source = policy_folder(EMBEDDED_NAME, "the benchmark")
    shutil.copytree(source, target)
    vlm = Policy.load(EMBEDDED_NAME, "the benchmark").vlm.eval()
    end = json.loads((Path(source) / "generation_config.json").read_text())["eos_token_id"][0]
    head_VH = vlm.get_output_embeddings().weight
    words = torch.randint(0, 256, (64, 64), generator=torch.Generator().manual_seed(0))
    hidden_NH = vlm.model(input_ids=words).last_hidden_state[:, 8:].flatten(0, 1)
    mean_H = hidden_NH.mean(0)
    low, high = 0.0, 1e4
    for _ in range(60):
        scale = (low + high) / 2
        head_VH[end] = scale * mean_H / mean_H.norm()
        share = float((hidden_NH @ head_VH.T).softmax(-1)[:, end].mean())
        low, high = (scale, high) if share < 1 / mean_tokens else (low, scale)
    vlm.save_pretrained(target)


def config(policy: Path, url: str, rollout: dict[str, Any], options: argparse.Namespace, folder: Path) -> Path:
    """The repository's RLVR with its rollouts alone."""
    content = yaml.safe_load(Path("configs/rlvr.yaml").read_text())
    own = next(c for c in content["trainer"]["callbacks"] if c["class_path"] == "RolloutCallback")
    own["init_args"] = {
        "engine": {"class_path": "VLLMServerEngine", "init_args": {"urls": [url]}},
        "sampling": {"max_new_tokens": options.max_new_tokens, "group_size": 8, "temperature": 1.0},
        **rollout,
    }
    clock = {"class_path": "benchmarks.whole_stages.StepClock", "init_args": {"file": str(folder / "times.json")}}
    content["trainer"] |= {"callbacks": [own, clock], "logger": False, "enable_progress_bar": False, "accelerator": "cpu"}
    content["trainer"]["log_every_n_steps"] = 1
    stage = content["model"]["init_args"]
    stage |= {"policy": {"path": str(policy)}, "reuse": {}, "rewards": [EVEN_LENGTH]}
    stage["optimizer"]["init_args"]["lr"] = 0.0
    content["data"]["init_args"]["batch_size"] = options.prompts
    (folder / "stage.yaml").write_text(yaml.safe_dump(content))
    return folder / "stage.yaml"


def measure(policy: Path, url: str, side: str, options: argparse.Namespace) -> tuple[list[float], dict[str, float]]:
    """Seconds of each update but the first ones, and means of what was logged."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [
            sys.executable, "-m", "prism_pl", "fit", "--config", str(config(policy, url, SIDES[side], options, folder)),
            "--run_dir", str(folder / "run"), "--trainer.max_steps", str(WARM_UP + options.updates),
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS)
        if run.returncode:
            raise RuntimeError(run.stderr[-2000:])
        times = json.loads((folder / "times.json").read_text())
        lines = [line for line in read_lines(folder / "run" / "metrics.jsonl") if line["step"] > WARM_UP]
    logged = {name: [line[name] for line in lines if name in line] for name in LOGGED}
    seconds = [after - before for before, after in zip(times[WARM_UP - 1 :], times[WARM_UP:], strict=False)]
    return seconds, {name: statistics.mean(values) for name, values in logged.items() if values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mean-tokens", type=float, default=40.0)
    parser.add_argument("--max-new-tokens", type=int, default=384)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=16, help="Of a batch.")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    logged: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as name:
        policy = Path(name) / "policy"
        make_policy(options.mean_tokens, policy)
        tokens = _PROMPT_TOKENS + options.max_new_tokens
        servers = OwnServers(str(policy), tokens, _SERVER, "gloo", [None], restarts=0, log_folder=name)
        try:
            servers.start()
            for _ in range(options.rounds):
                for side in SIDES:
                    seconds, logged_means = measure(policy, servers.servers[0].url, side, options)
                    found[side] += seconds
                    logged[side].append(logged_means)
        finally:
            servers.close()
    print(f"| rollouts | seconds an update | times faster than in turn | {' | '.join(LOGGED)} |")
    print(f"| --- |{' --- |' * (len(LOGGED) + 2)}")
    in_turn = statistics.mean(found["in turn"])
    for side in SIDES:
        own = statistics.mean(found[side])
        means = [statistics.mean(run.get(column, 0.0) for run in logged[side]) for column in LOGGED]
        print(f"| {side} | {own:.2f} | {in_turn / own:.2f} | {' | '.join(f'{mean:.2f}' for mean in means)} |")


if __name__ == "__main__":
    main()

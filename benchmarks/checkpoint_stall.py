"""How long training stands still for a checkpoint: gathered to one file, as before, and shared out in the background.

    python -m benchmarks.checkpoint_stall [100M] [2]

Ranks of gloo share a policy and AdamW's states, all fp32. "gathered": weights and states are gathered to the first rank,
which writes one file; it gathers the weights again for a Hugging Face folder in fp32, and everything once more to find
adapters. "background": prism_pl/runs/checkpoint_writer.py, with the folder in bf16. The two take turns in the same
processes. "copy" is what a step must wait for at least: the rank's bytes, copied once in memory.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from benchmarks.synthetic import make_model
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.model.exporting import write_network
from prism_pl.model.policy import Policy
from prism_pl.model.sharding import shard, whole
from prism_pl.runs.checkpoint import Checkpoint, split
from prism_pl.runs.checkpoint_writer import CheckpointWriter

_ROUNDS = 3


def gathered(policy: Policy, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """The whole of it, written before training goes on."""
    first = dist.get_rank() == 0
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: Any = {
        "state_dict": get_model_state_dict(policy, options=options),
        "optimizer_states": get_optimizer_state_dict(policy, optimizer, options=options),
    }
    folder.mkdir(exist_ok=True)
    if first:
        torch.save(state, folder / "step=1.ckpt")
    weights = {}
    for again in (False, True):
        for name, tensor in policy.vlm.state_dict().items():
            tensor = whole(tensor)
            if first and not again and name not in policy.vlm.all_tied_weights_keys:
                weights[name] = tensor
    if first:
        write_network(policy.vlm, folder / "model", EMBEDDED_NAME, weights)
    dist.barrier()


def export(policy: Policy, checkpoint: Path) -> None:
    """What the first rank does in the background after the write."""
    saved = Checkpoint(checkpoint)
    read = lambda name: saved.read(f"state_dict/{name}")  # noqa: E731
    weights = {name: tensor.bfloat16() for name, tensor in policy.weights(read)}
    own = {name: tensor for name, tensor in weights.items() if name not in policy.vlm.all_tied_weights_keys}
    write_network(policy.vlm, checkpoint / "model", EMBEDDED_NAME, own)


def timed(work: Callable[[], Any]) -> float:
    """Seconds of the slowest rank."""
    # Not behind what the one before has left to the system to write.
    os.sync()
    dist.barrier()
    start = time.perf_counter()
    work()
    seconds = torch.tensor(time.perf_counter() - start, dtype=torch.float64)
    dist.all_reduce(seconds, dist.ReduceOp.MAX)
    return float(seconds)


def rank_main(rank: int, world: int, size: str, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    policy = Policy(make_model(size))
    shard(policy, init_device_mesh("cpu", (world,)))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-4)
    for parameter in policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    writer = CheckpointWriter(lambda checkpoint: export(policy, checkpoint))

    def state() -> dict[str, Any]:
        return {"state_dict": policy.state_dict(keep_vars=True), "optimizer_states": [optimizer.state_dict()]}

    def copy() -> list[torch.Tensor]:
        tensors = split(state())[0].values()
        return [(tensor.to_local() if isinstance(tensor, DTensor) else tensor).clone() for tensor in tensors]

    seconds: dict[str, list[float]] = {"gathered": [], "background": [], "on disk": [], "copy": []}
    for number in range(_ROUNDS):
        seconds["gathered"].append(timed(lambda: gathered(policy, optimizer, folder / "gathered")))
        target = folder / f"step={number}.ckpt"
        os.sync()
        start = time.perf_counter()
        seconds["background"].append(timed(lambda target=target: writer.save(state(), target)))  # type: ignore[misc]
        writer.wait()
        dist.barrier()
        seconds["on disk"].append(time.perf_counter() - start)
        seconds["copy"].append(timed(copy))
        if rank == 0:
            shutil.rmtree(target)
            shutil.rmtree(folder / "gathered")
        dist.barrier()
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    if rank == 0:
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        print(json.dumps({"parameters": parameters} | medians))


def main(size: str = "100M", world: str = "2") -> None:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        command = [sys.executable, "-m", "benchmarks.checkpoint_stall", "rank"]
        ranks = [
            subprocess.Popen(
                [*command, str(rank), world, size, folder], stdout=None if rank else subprocess.PIPE, text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            for rank in range(int(world))
        ]  # fmt: skip
        output, _ = ranks[0].communicate()
        if any(rank.wait() for rank in ranks):
            raise SystemExit("a rank failed")
    found = json.loads(output.strip().splitlines()[-1])
    print("| parameters, ranks | gathered, s | background, s | ratio | copy alone, s | background, until written, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(
        f"| {found['parameters'] / 1e6:.0f} M, {world} | {found['gathered']:.2f} | {found['background']:.2f} | "
        f"{found['gathered'] / found['background']:.1f} | {found['copy']:.2f} | {found['on disk']:.2f} |"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["rank"]:
        rank_main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]).resolve())
    else:
        main(*sys.argv[1:])

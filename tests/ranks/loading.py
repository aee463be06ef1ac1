"""Loads a network as a stage does, and says how much memory of the process's own it took at most. One rank."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from prism_pl.discriminators import DenseDiscriminator
from prism_pl.model.adapters import LoraOptions
from prism_pl.model.policy import PolicyOptions
from prism_pl.model.sharding import shard


def own_bytes() -> int:
    """Memory that no other process shares: what is mapped from a file does not count until it is written to."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty:", "Swap:")))


def load(kind: str, folder: str, prepare: Callable[[Any], None]) -> nn.Module:
    """What a stage of several ranks calls."""
    if kind in ("policy", "adapted"):
        lora = LoraOptions(rank=4, alpha=8.0) if kind == "adapted" else None
        policy = PolicyOptions(path=folder, lora=lora).build("test", as_stored=True)
        prepare(policy)
        return policy
    # From the policy, or from a folder of its own.
    return DenseDiscriminator(noise=0.0).build(folder, "test", prepare=prepare, as_stored=True)


def main() -> None:
    kind, folder, store, rank, count = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
    mesh = init_device_mesh("cpu", (count,))
    ended, peak = threading.Event(), [0]

    def watch() -> None:
        while not ended.is_set():
            peak[0] = max(peak[0], own_bytes())
            time.sleep(0.02)

    dist.barrier()
    before = own_bytes()
    watcher = threading.Thread(target=watch)
    watcher.start()

    def prepare(model: Any) -> None:
        shard(model, mesh)
        model.float()

    model = load(kind, folder, prepare)
    dist.barrier()
    ended.set()
    watcher.join()
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4
    print(f"peak {peak[0] - before} weights {weights}", flush=True)


if __name__ == "__main__":
    main()

"""Loads a policy as a stage does, and says how much memory of the process's own it took at most. One rank."""

import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from prism_pl.model.policy import PolicyOptions
from prism_pl.model.sharding import shard


def own_bytes() -> int:
    """Memory that no other process shares: what is mapped from a file does not count until it is written to."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty:", "Swap:")))


def main() -> None:
    folder, store, rank, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
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
    policy = PolicyOptions(path=folder).build("test", as_stored=True)
    shard(policy, mesh)
    policy.float()
    dist.barrier()
    ended.set()
    watcher.join()
    weights = sum(parameter.numel() for parameter in policy.parameters()) * 4
    print(f"peak {peak[0] - before} weights {weights}", flush=True)


if __name__ == "__main__":
    main()

"""The debug switch: ranks that call different collectives are told so, instead of waiting or mixing tensors up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prism_pl.ranks import CHECK_VARIABLE

PROGRAM = """
import sys, torch, torch.distributed as dist
from datetime import timedelta
from prism_pl.ranks import check_collectives
rank, store, case = int(sys.argv[1]), sys.argv[2], sys.argv[3]
check_collectives()
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60))
dist.all_reduce(torch.zeros(4))
if case == "shape":
    dist.all_reduce(torch.zeros(3 - rank))
else:
    dist.broadcast(torch.zeros(2), 0) if rank else dist.all_reduce(torch.zeros(2))
print("went on")
"""


@pytest.mark.parametrize(
    ("case", "words"),
    [("shape", ["ALLREDUCE", "TensorShape=[3]", "TensorShape=[2]"]), ("name", ["ALLREDUCE", "BROADCAST"])],
)
def test_the_first_collective_that_differs_is_named(tmp_path: Path, case: str, words: list[str]) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(tmp_path / "store"), case],
            env=os.environ | {CHECK_VARIABLE: "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert all(process.returncode for process in processes), said
    assert "went on" not in "".join(said)
    assert "Detected mismatch between collectives on ranks" in "".join(said)
    assert all(word in "".join(said) for word in words), said
    assert "SequenceNumber=1" in "".join(said) or "SequenceNumber=2" in "".join(said)

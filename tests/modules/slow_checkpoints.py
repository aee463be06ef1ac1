"""``python -m prism_pl`` whose second rank stops in the middle of writing the checkpoint of update 4, and says so."""

import sys
import time
from typing import Any

import torch.distributed as dist

from prism_pl.__main__ import _stage_command
from prism_pl.command_line.front import run
from prism_pl.runs import checkpoint

_write_data = checkpoint._Writer.write_data


def _stop_half_way(self: Any, plan: Any, planner: Any) -> Any:
    result = _write_data(self, plan, planner)
    if dist.get_rank() == 1 and self._target.name == "step=4.ckpt":
        for file in self.path.glob("__1_*"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        (self.path / "half").touch()
        time.sleep(3600)
    return result


if __name__ == "__main__":
    checkpoint._Writer.write_data = _stop_half_way  # type: ignore[method-assign]
    run(sys.argv[1:], _stage_command)

"""An engine whose process is stopped in the middle of a rollout, as a failing machine would."""

import os
import signal
from collections.abc import Sequence

import torch.distributed as dist

from prism_pl.types import Prompt, Response, SamplingOptions
from tests.modules.scripted import ScriptedEngine


class StoppedEngine(ScriptedEngine):
    """The second rank stops in its second rollout: its third call, after the probe's."""

    _calls = 0

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        self._calls += 1
        if self._calls == 3 and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().generate(prompts, seeds, sampling)

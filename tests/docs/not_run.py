"""The commands of the pages that ``make docs-check`` does not run, and why. All others are run as they stand.

What is here is still looked at: a stage's and a command's arguments are parsed, files, targets and markers must exist.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class NotRun:
    """A regular expression that is found in the command, and the reason."""

    pattern: str
    reason: str

    def holds(self, text: str) -> bool:
        return re.search(self.pattern, text) is not None


NOT_RUN = [
    NotRun(r"^git clone ", "the reader's own address"),
    NotRun(r"^source ", "changes the reader's shell"),
    NotRun(r"^pip install ", "installs; a fresh clone's `make demo` and `make test` do the CPU's part"),
    NotRun(r"^make (demo|bench)", "twenty minutes and more; its stages are run small"),
    NotRun(r"^make (test|ranks|faults)", "the tests themselves"),
    NotRun(r"^make docs", "this, and the site: `make docs` in a checkout"),
    NotRun(r"^make gpu|benchmarks\.gpu", "a GPU"),
    NotRun(r"benchmarks[./](?!gpu)", "minutes each, with nothing else running: `make bench`"),
    NotRun(r"(^| )pytest ", "minutes on several processes: `make ranks`, `make faults`"),
    NotRun(r"^torchrun |^srun |^if |^scontrol ", "several GPUs or nodes; tests/ranks starts torchrun's processes on a CPU"),
    NotRun(r"--trainer\.devices 8", "eight GPUs"),
    NotRun(r"prism_pl fit .*qwen3_vl/", "GPUs, and models and data of the hub"),
    NotRun(r"--model Qwen/", "a model of the hub; tests/prism_pl/discriminators/test_upcycling.py has a small one"),
    NotRun(r"prism_pl curate ", "an endpoint; tests/prism_pl/curation plays one"),
    NotRun(
        r"(^| )vllm serve", "a model of the hub on a GPU; tests/prism_pl/engines/test_server_engine.py starts a small one"
    ),
    NotRun(r"^hf download ", "fetches a benchmark"),
    NotRun(r"-m lmms_eval ", "its packages; tests/prism_pl/evaluation/test_lmms_eval_tasks.py runs it where they are"),
    NotRun(r"prism_pl doctor", "judges the reader's machine; tests/prism_pl/commands/test_doctor.py"),
]


def reason(text: str) -> str | None:
    """Why a command is not run; None if it is."""
    return next((entry.reason for entry in NOT_RUN if entry.holds(text)), None)

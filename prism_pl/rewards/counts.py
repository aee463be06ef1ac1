"""What a reward counts beside its scores, such as a judge's questions: in a command's folder and in its last lines."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prism_pl.rewards.base import Reward
from prism_pl.runs.files import write_atomically

COUNTS_FILE = "reward_counts.json"


@contextmanager
def counted(reward: Reward, folder: Path) -> Iterator[dict[str, int]]:
    """The counts of all runs in ``folder``, whole when the block ends, however it ends; a reward that counts nothing writes
    no file."""
    totals: dict[str, int] = {}
    reward.take_counts()
    try:
        yield totals
    finally:
        file, new = folder / COUNTS_FILE, reward.take_counts()
        before = json.loads(file.read_text(encoding="utf-8"))["counts"] if new and file.exists() else {}
        totals |= {name: before.get(name, 0) + count for name, count in new.items()}
        # Where nothing was graded another process may be at work in the folder.
        if any(new.values()) or totals != before:
            write_atomically(file, json.dumps({"reward": reward.name, "counts": totals}) + "\n")


def counts_line(reward: Reward, totals: dict[str, int]) -> str:
    """One line with its end, or nothing.

    >>> from prism_pl.rewards import FormatReward
    >>> counts_line(FormatReward(), {"asked": 3, "failed": 0}), counts_line(FormatReward(), {})
    ('format: 3 asked, 0 failed\\n', '')
    """
    return f"{reward.name}: {', '.join(f'{count:,} {name}' for name, count in totals.items())}\n" if totals else ""

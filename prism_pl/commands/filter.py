"""The difficulty filter: prompts that the policy always or never solves carry no signal for group-relative RL.

pass rate = mean score of n samples;     kept: low <= pass rate <= high
"""

from collections import Counter
from pathlib import Path
from typing import Any

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.row_checks import Requirements, usable_rows
from prism_pl.data.row_files import write_rows
from prism_pl.engines import RolloutEngine
from prism_pl.engines.answer_file import answers
from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeInt, PositiveInt, Share
from prism_pl.rewards import AnswerReward, Reward
from prism_pl.types import Rollouts, SamplingOptions

_BAR = 40
_MOST_BINS = 20


def filter_prompts(
    policy: str,
    path: str | DataSource,
    out: str,
    engine: RolloutEngine,
    sampling: SamplingOptions,
    reward: Reward | None = None,
    low: Share = 0.2,
    high: Share = 0.8,
    max_prompt_tokens: PositiveInt = 2048,
    drop_too_long: bool = False,
    seed: NonNegativeInt = 0,
) -> None:
    """Writes ``pass_rates.jsonl`` as it samples, then ``all.parquet`` with the column ``pass_rate`` and ``kept.parquet``.

    The same command goes on where a run stopped; another policy, file, sampling or seed needs another folder.

    Args:
        policy: the model whose pass rates are wanted.
        path: data file with answers.
        out: folder to write.
        engine: ``VLLMEngine`` or ``TransformersEngine``.
        sampling: ``group_size`` samples a prompt.
        reward: what a response scores; null is ``AnswerReward``.
        low: smallest pass rate that is kept.
        high: largest pass rate that is kept.
        max_prompt_tokens: limit of a prompt, images included.
        drop_too_long: drop and count rows over the limit instead of stopping.
        seed: of sampling.
    """
    if not 0 <= low <= high <= 1:
        raise UserError(f"low and high: 0 <= low <= high <= 1 is needed, they are {low} and {high}.")
    folder, grader = Path(out), reward or AnswerReward()
    data, encoder = DataFile.open(path, "path"), PromptEncoder(policy, max_prompt_tokens)
    rows = usable_rows(data, encoder, Requirements(("answer",), drop_too_long=drop_too_long)).tolist()

    def record(rollouts: Rollouts) -> list[dict[str, Any]]:
        scores = grader.grade(rollouts.prompts, rollouts.texts)
        return [{"pass_rate": sum(own) / len(own), "scores": own} for own in scores]

    lines = answers(
        engine, policy, data, encoder, rows, folder / "pass_rates.jsonl", sampling, record, seed, "filter", "pass rates",
        reward=repr(grader),
    )  # fmt: skip
    rates = {row: line["pass_rate"] for row, line in lines.items()}
    kept = [row for row in rows if low <= rates[row] <= high]
    for name, chosen in (("all", rows), ("kept", kept)):
        write_rows(data, chosen, folder / f"{name}.parquet", {"pass_rate": [rates[row] for row in chosen]})
    print(histogram([rates[row] for row in rows], sampling.group_size, low, high))
    print(f"\nkept {len(kept)} of {len(rows)} prompts: {folder / 'kept.parquet'}, image_root: {data.root}")


def histogram(rates: list[float], num_samples: int, low: float, high: float) -> str:
    """A line for each possible pass rate, or for twenty bins if there are more; kept ones are marked.

    >>> print(histogram([0.0, 0.5, 0.5, 1.0], 2, 0.2, 0.8))
    pass rate  prompts
         0.00        1  ####################
         0.50        2  ########################################  kept
         1.00        1  ####################
    """
    steps = min(num_samples, _MOST_BINS)
    counts = Counter(round(rate * steps) for rate in rates)
    most = max(counts.values())
    lines = ["pass rate  prompts"]
    for step in range(steps + 1):
        mark = "  kept" if low <= step / steps <= high else ""
        bar = "#" * round(_BAR * counts[step] / most)
        lines.append(f"{step / steps:9.2f}  {counts[step]:7d}  {bar}{mark}".rstrip())
    return "\n".join(lines)

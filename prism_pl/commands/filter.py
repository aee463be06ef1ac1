"""The difficulty filter: prompts that the policy always or never solves carry no signal for group-relative RL.

pass rate = mean score of n samples;     kept: low <= pass rate <= high
"""

from collections import Counter
from pathlib import Path
from typing import Any

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.reading import as_json
from prism_pl.data.row_checks import Requirements, usable_rows
from prism_pl.data.row_files import write_rows
from prism_pl.engines import RolloutEngine, on_devices
from prism_pl.engines.answer_file import answers
from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeInt, PositiveInt, Share
from prism_pl.rewards import AnswerReward, Reward, counted, counts_line
from prism_pl.runs.files import FINISHED_MARK, finish
from prism_pl.runs.handover import KEPT
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
    devices: PositiveInt = 1,
) -> None:
    """Writes ``pass_rates.jsonl`` as it samples, then ``all.parquet`` with the column ``pass_rate`` and ``kept.parquet``.

    The same command goes on where a run stopped; another policy, file, sampling or seed needs another folder. Raises
    UserError with the pass rates if no prompt is kept.

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
        devices: GPUs that sample, each with an engine of its own; on a CPU processes, which share its threads.
    """
    if not 0 <= low <= high <= 1:
        raise UserError(f"low and high: 0 <= low <= high <= 1 is needed, they are {low} and {high}.")
    folder, grader = Path(out), reward or AnswerReward()
    data, encoder = DataFile.open(path, "path"), PromptEncoder(policy, max_prompt_tokens)
    rows = usable_rows(data, encoder, Requirements(("answer",), drop_too_long=drop_too_long)).tolist()

    def record(rollouts: Rollouts) -> list[dict[str, Any]]:
        scores = grader.grade(rollouts.prompts, rollouts.texts)
        return [{"pass_rate": sum(own) / len(own), "scores": own} for own in scores]

    with counted(grader, folder) as counts:
        lines = answers(
            on_devices(engine, devices), policy, data, encoder, rows, folder / "pass_rates.jsonl", sampling, record, seed,
            "filter", "pass rates", reward=repr(grader), written=data.written,
        )  # fmt: skip
    # Whoever is made from the kept prompts is made from these.
    (folder / FINISHED_MARK).unlink(missing_ok=True)
    rates = {row: line["pass_rate"] for row, line in lines.items()}
    kept = [row for row in rows if low <= rates[row] <= high]
    for name, chosen in (("all.parquet", rows), (KEPT, kept)):
        write_rows(data, chosen, folder / name, {"pass_rate": [rates[row] for row in chosen]})
    print(histogram([rates[row] for row in rows], sampling.group_size, low, high))
    print(counts_line(grader, counts), end="")
    if not kept:
        raise UserError(_nothing_kept([rates[row] for row in rows], sampling.group_size, policy, low, high))
    finish(folder, 0, None)
    print(f"\nkept {len(kept)} of {len(rows)} prompts: {folder / KEPT}{as_json(data.written)}")


def _nothing_kept(rates: list[float], num_samples: int, policy: str, low: float, high: float) -> str:
    counted = [f"{count} at {rate:.2f}" for rate, count in _binned(rates, num_samples).items() if count]
    if 2 * sum(rate < low for rate in rates) >= len(rates):
        cure = "Most are too hard: take a policy that solves more, easier prompts as `path`, or a smaller `low`"
    else:
        cure = "Most are too easy: take harder prompts as `path`, or a larger `high`"
    return (
        f"low, high: none of {len(rates)} prompts has a pass rate of {low} to {high} under {policy}. There are "
        f"{', '.join(counted)}. {cure}. More samples a prompt (`sampling.group_size`) tell rates near 0 and 1 apart."
    )


def histogram(rates: list[float], num_samples: int, low: float, high: float) -> str:
    """A line for each possible pass rate, or for twenty bins if there are more; kept ones are marked.

    >>> print(histogram([0.0, 0.5, 0.5, 1.0], 2, 0.2, 0.8))
    pass rate  prompts
         0.00        1  ####################
         0.50        2  ########################################  kept
         1.00        1  ####################
    """
    counts = _binned(rates, num_samples)
    most = max(counts.values())
    lines = ["pass rate  prompts"]
    for rate, count in counts.items():
        mark = "  kept" if low <= rate <= high else ""
        bar = "#" * round(_BAR * count / most)
        lines.append(f"{rate:9.2f}  {count:7d}  {bar}{mark}".rstrip())
    return "\n".join(lines)


def _binned(rates: list[float], num_samples: int) -> dict[float, int]:
    """Prompts by pass rate, or by the nearest of twenty-one rates if more are possible; all of them, in ascending order."""
    steps = min(num_samples, _MOST_BINS)
    counts = Counter(round(rate * steps) for rate in rates)
    return {step / steps: counts[step] for step in range(steps + 1)}

"""A second verdict on responses that are on disk, such as a judge's: told beside the first one, never instead of it."""

from collections.abc import Sequence
from pathlib import Path

from prism_pl.data.files import DataFile
from prism_pl.evaluation.figures import Outcome, figures
from prism_pl.evaluation.responses import Scores, gradable
from prism_pl.evaluation.results import Judged
from prism_pl.rewards import Reward
from prism_pl.runs.files import read_lines

_QUESTIONS_A_CALL = 64
"""A judge has a limit on the seconds of a call."""


def rescored(files: Sequence[Path], rows: Sequence[int], data: DataFile, judge: Reward) -> Scores:
    """The judge's scores of all responses to ``rows``."""
    wanted, scores = set(rows), Scores()
    for file in files:
        lines = [line for line in read_lines(file) if line["row"] in wanted]
        for start in range(0, len(lines), _QUESTIONS_A_CALL):
            part = lines[start : start + _QUESTIONS_A_CALL]
            prompts = [gradable(data.prompt_row(line["row"])) for line in part]
            own = judge.grade(prompts, [[one["text"] for one in line["responses"]] for line in part])
            scores |= {(file, line["row"]): given for line, given in zip(part, own, strict=True)}
    return scores


def second_opinion(first: Sequence[Outcome], second: Sequence[Outcome]) -> Judged:
    """The figures by the second verdict, and how many of the first ones it changes each way."""
    pairs = [
        (one.score > 0, other.score > 0)
        for own, again in zip(first, second, strict=True)
        for one, other in zip((own.greedy, *own.samples), (again.greedy, *again.samples), strict=True)
        if one is not None and other is not None
    ]
    accuracies = {name: value for name, value in figures(second).items() if name == "greedy" or "@" in name}
    return Judged(accuracies, raised=sum(b > a for a, b in pairs), lowered=sum(b < a for a, b in pairs))

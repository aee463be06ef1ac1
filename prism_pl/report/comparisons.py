"""Stages against each other on the held-out prompts that both answered: paired differences with 95% bootstrap intervals."""

from collections.abc import Callable
from dataclasses import dataclass

from prism_pl.metrics.bootstrap import Estimate, paired, stacked
from prism_pl.report.collect import Answered, Run, Stage


@dataclass(frozen=True)
class Comparison:
    """One stage's accuracy minus another's, from -1 to 1; the intervals are over the shared prompts."""

    own: Stage
    other: Stage
    prompts: int
    greedy: Estimate
    sampled: Estimate

    @property
    def sentence(self) -> str:
        """The greedy difference in words, in points (hundredths); says so if the interval does not tell the two apart."""
        points, low, high = (None if v is None else round(100 * v, 1) + 0.0 for v in vars(self.greedy).values())
        assert points is not None
        where = f"{abs(points):.1f} points {'below' if points < 0 else 'above'}" if points else "level with"
        interval = f" [{low:+.1f}, {high:+.1f}]" if low is not None and high is not None else ""
        apart = low is None or high is None or low > 0 or high < 0
        doubt = "" if apart else "; the interval holds 0, so these prompts do not tell them apart"
        return f"{self.own.title} is {where} {self.other.title}{interval}, greedy, {self.prompts} prompts{doubt}."


def compare(own: Stage, other: Stage) -> Comparison | None:
    """None if no prompt was answered by both."""
    said = {record.source: record for record in other.heldout}
    pairs = [(record, said[record.source]) for record in own.heldout if record.source in said]
    if not pairs:
        return None

    def difference(right: Callable[[Answered], bool]) -> Estimate:
        return paired(*(stacked([[float(right(pair[side])) for pair in pairs]]) for side in (0, 1)))

    return Comparison(
        own,
        other,
        len(pairs),
        greedy=difference(lambda record: record.greedy_correct),
        sampled=difference(lambda record: record.sampled_correct),
    )


def verdict(run: Run) -> Comparison | None:
    """RLVR after alignment against RLVR without it; None if the run has not both."""
    return compare(run.ends[1], run.ends[0]) if len(run.ends) > 1 else None


def gains(run: Run) -> list[Comparison]:
    """Each RLVR stage against the policy that it started from."""
    starts = [(stage, run.stages.get(stage.policy or "")) for stage in run.of_kind("rlvr")]
    found = [compare(stage, start) for stage, start in starts if start is not None]
    return [comparison for comparison in found if comparison]

"""Stages against each other on the held-out prompts that both answered: paired differences with 95% bootstrap intervals."""

from dataclasses import dataclass

from prism_pl.evaluation import comparison
from prism_pl.evaluation.figures import Outcome, Scored
from prism_pl.metrics.bootstrap import Estimate
from prism_pl.report.collect import Answered, Run, Stage


@dataclass(frozen=True)
class Comparison:
    """One stage's accuracy minus another's, from -1 to 1; the intervals are over the shared prompts."""

    own: Stage
    other: Stage
    prompts: int
    greedy: Estimate
    sampled: Estimate
    gained: int
    """Prompts that only ``own``'s greedy response solves."""
    lost: int
    """Prompts that only ``other``'s solves."""
    p_value: float | None
    """McNemar's exact one, of ``gained`` and ``lost``."""

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
    asked = {record.prompt for record in other.heldout}
    model = [_outcome(record) for record in own.heldout if record.prompt in asked]
    found = comparison.compare(model, [_outcome(record) for record in other.heldout])
    if found is None:
        return None
    greedy, sampled = (found.differences[name] for name in ("greedy", "avg@1"))
    return Comparison(own, other, found.questions, greedy, sampled, found.gained, found.lost, found.p_value)


def _outcome(record: Answered) -> Outcome:
    """The greedy response's length stands in no record; lengths are not compared here."""
    greedy = Scored(float(record.greedy_correct), None, record.greedy_sections is not None, False)
    sampled = Scored(float(record.sampled_correct), None, record.sections is not None, False)
    return Outcome(record.source, record.source, greedy, (sampled,))


def verdict(run: Run) -> Comparison | None:
    """RLVR after alignment against RLVR without it; None if the run has not both."""
    return compare(run.ends[1], run.ends[0]) if len(run.ends) > 1 else None


def gains(run: Run) -> list[Comparison]:
    """Each stage against the policy that it started from."""
    starts = [(stage, run.stages.get(stage.policy or "")) for stage in run.answering]
    found = [compare(stage, start) for stage, start in starts if start is not None]
    return [comparison for comparison in found if comparison]

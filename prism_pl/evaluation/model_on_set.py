"""One model on one set: its responses on disk, and what they come to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from prism_pl.evaluation.benchmarks.opening import memberships
from prism_pl.evaluation.benchmarks.sub_scores import sub_scores
from prism_pl.evaluation.figures import Outcome, figures
from prism_pl.evaluation.judged import rescored, second_opinion
from prism_pl.evaluation.responders import Responder
from prism_pl.evaluation.responses import Draw, Scores, read_outcomes
from prism_pl.evaluation.results import Result
from prism_pl.evaluation.subjects import OpenSet
from prism_pl.metrics.bootstrap import Estimate
from prism_pl.rewards import Reward
from prism_pl.runs.files import keep_settings

_BUDGETS = (8, 4, 2)
"""Parts of the length limit that accuracy is told at, unless budgets are given."""


@dataclass
class ModelOnSet:
    """Raises UserError for rows that the model cannot be asked about."""

    responder: Responder
    set: OpenSet
    greedy: Draw | None
    samples: Sequence[Draw]
    out: Path
    """The evaluation's folder."""
    failures: dict[int, str] = field(default_factory=dict)
    """Why a row got no answer."""

    def __post_init__(self) -> None:
        self.place = self.out / self.set.name / self.responder.name
        self.rows = self.responder.rows(self.set.data)[: self.set.options.num_prompts]
        self.draws = [*([self.greedy] if self.greedy else []), *self.samples]

    def answer(self, reward: Reward) -> None:
        """Fills the files. Raises UserError if they were made with other settings."""
        data = self.set.data
        own = {"path": data.name, "reading": data.reading.changes, "rows": len(data), "reward": repr(reward)}
        own |= {"benchmark": self.set.benchmark.name} if self.set.benchmark else {}
        for draw in self.draws:
            settings = self.responder.settings() | own | {"seed": draw.seed} | vars(draw.sampling)
            keep_settings(draw.settings_file(self.place), settings, "responses")
            print(f"{self.responder.name}, {self.set.name}, {draw.name}", flush=True)
            self.failures |= self.responder.answer(data, self.rows, draw, draw.file(self.place), reward)

    def outcomes(self, scores: Scores | None = None, samples: Sequence[Draw] | None = None) -> list[Outcome]:
        """The questions that have all their responses: by default of all files, with the scores in these."""
        greedy = self.greedy.file(self.place) if self.greedy and samples is None else None
        files = [draw.file(self.place) for draw in (self.samples if samples is None else samples)]
        return read_outcomes(greedy, files, self.rows, self.set.groups(self.rows), scores)

    def result(self, budgets: Sequence[int] | None, judge: Reward | None) -> Result:
        """The row of the table."""
        found, limit = self.outcomes(), self.draws[0].sampling.max_new_tokens
        chosen = [max(1, limit // part) for part in _BUDGETS] if budgets is None else budgets
        judged = None
        if judge is not None and found:
            files = [draw.file(self.place) for draw in self.draws]
            judged = second_opinion(found, self.outcomes(rescored(files, self.rows, self.set.data, judge)))
        seeds = {draw.seed: self.outcomes(samples=[draw]) for draw in self.samples}
        return Result(
            model=self.responder.name,
            set=self.set.name,
            questions=len(found),
            failed=len(self.failures),
            figures=figures(found, sorted(set(chosen))) if found else {},
            seeds={
                seed: mean(one.score for outcome in own for one in outcome.samples) for seed, own in seeds.items() if own
            },
            judged=judged,
            sub_scores=self._sub_scores(found),
        )

    def _sub_scores(self, found: Sequence[Outcome]) -> dict[str, Estimate]:
        """Of the samples, or of the greedy responses if there are none; a set that is no benchmark has none."""
        if self.set.benchmark is None:
            return {}
        data, every = self.set.data, range(len(self.set.data))
        row_of = {data.source(row): row for row in self.rows}
        scores = {
            row_of[own.source]: [one.score for one in own.samples or (own.greedy,) if one is not None] for own in found
        }
        return sub_scores(memberships(data, every), scores, self.set.groups(every), self.set.benchmark.unit_value)

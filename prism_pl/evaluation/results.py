"""Everything that an evaluation has found, as ``table.json`` and ``table.csv`` have it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prism_pl.evaluation.comparison import Comparison
from prism_pl.evaluation.published import BENCHMARKS, benchmark, published
from prism_pl.metrics.bootstrap import Estimate


@dataclass(frozen=True)
class Judged:
    """Accuracy by a second verdict, such as a judge's."""

    figures: dict[str, Estimate]
    raised: int
    """Responses that only the second verdict calls right."""
    lowered: int
    """Responses that only the first one calls right."""


@dataclass(frozen=True)
class Result:
    """One model on one set."""

    model: str
    set: str
    questions: int
    """With all their responses; the figures are of these."""
    failed: int
    """Questions that got no answer."""
    figures: dict[str, Estimate]
    seeds: dict[int, float]
    """The mean score of each seed's samples: what one evaluation with this seed alone would have told."""
    judged: Judged | None = None
    sub_scores: dict[str, Estimate] = field(default_factory=dict)
    """A benchmark's own figures beside the accuracy (``benchmarks/``); of the samples, if there are any."""


@dataclass(frozen=True)
class Compared:
    """One model against the reference on one set."""

    model: str
    reference: str
    set: str
    found: Comparison


@dataclass(frozen=True)
class Evaluation:
    """All results, in the order of models and sets."""

    results: Sequence[Result]
    comparisons: Sequence[Compared]

    @property
    def sets(self) -> list[str]:
        """Names of the sets."""
        return list(dict.fromkeys(result.set for result in self.results))

    @property
    def benchmarks(self) -> dict[str, str]:
        """The paper's benchmarks among the sets, in the paper's order: benchmark to set."""
        known = {benchmark(name): name for name in self.sets}
        return {name: known[name] for name in BENCHMARKS if name in known}

    def record(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The content of ``table.json``."""
        return {
            "settings": settings,
            "results": [asdict(result) for result in self.results],
            "comparisons": [
                {"model": own.model, "reference": own.reference, "set": own.set, **asdict(own.found)}
                for own in self.comparisons
            ],
            "published": {
                "source": "arXiv 2604.28123", "unit": "percent", "benchmarks": list(self.benchmarks),
                "rows": published(list(self.benchmarks)) if self.benchmarks else {},
            },
        }  # fmt: skip

    def csv(self) -> str:
        """A row a model, set and figure; the paper's figures, as shares, have ``published`` in the last column."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["model", "set", "questions", "failed", "figure", "value", "low", "high", "origin"])
        for result in self.results:
            for name, value in (result.figures | result.sub_scores).items():
                ends = ["" if end is None else end for end in (value.low, value.high)]
                counts = [result.questions, result.failed]
                writer.writerow([result.model, result.set, *counts, name, value.mean, *ends, "measured"])
        for model, percents in published(list(self.benchmarks)).items():
            for name, percent in zip(self.benchmarks.values(), percents, strict=True):
                writer.writerow([model, name, "", "", "accuracy", round(percent / 100, 3), "", "", "published"])
        return out.getvalue()

"""The page of several runs: results, paired differences, curves over each other, and the prompts whose answers changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from prism_pl.report.browser import samples_section
from prism_pl.report.charts import accuracies_chart, difference_chart
from prism_pl.report.collect import Run, Stage
from prism_pl.report.comparisons import Comparison
from prism_pl.report.cost import cost_table, differing_settings
from prism_pl.report.curves import branches_chart
from prism_pl.report.frame import charts_section, document, missing_section
from prism_pl.report.results import differences, results_table
from prism_pl.report.samples import Choice, Policy, choose, policy_of
from prism_pl.report.scores import StageGaps
from prism_pl.report.several import Labelled, shared_stages
from prism_pl.report.table import Row
from prism_pl.types import ASPECTS


@dataclass(frozen=True)
class _Curve:
    title: str
    unit: str
    key: str
    reference: float
    """A level to compare with."""
    heldout: bool = False
    """A share, of a few evaluations."""


_ACCURACY = [
    _Curve("Held-out accuracy, greedy", "share of prompts", "heldout/accuracy", 1.0, heldout=True),
    _Curve("Held-out accuracy, sampled", "share of prompts", "heldout/accuracy_sampled", 1.0, heldout=True),
]
_DISCRIMINATOR = "heldout/discriminator/accuracy/"
_CURVES = {
    "sft": [_Curve("Loss", "nats a token", "sft/loss", 0.0), *_ACCURACY],
    "warmup": [
        _Curve(f"Held-out accuracy, {aspect}", "share of pairs", f"heldout/accuracy/{aspect}", 0.5, heldout=True)
        for aspect in ASPECTS
    ],
    "align": [
        *(_Curve(f"Reward gap, {own}", "score, teacher - policy", f"reward_gap/{own}", 0.0) for own in ASPECTS),
        *(
            _Curve(f"Discriminator, {own}", "share of pairs", f"{_DISCRIMINATOR}{own}", 0.5, heldout=True)
            for own in ASPECTS
        ),
        _Curve("Caption items", "total variation to the teacher", "convergence/tv_caption_items", 0.0, heldout=True),
        _Curve("Reasoning steps", "total variation to the teacher", "convergence/tv_reasoning_steps", 0.0, heldout=True),
        *_ACCURACY,
    ],
    "rlvr": [
        _Curve("Training reward", "mean a response", "reward/total", 1.0),
        _Curve("Response length", "tokens", "response/tokens", 0.0),
        *_ACCURACY,
    ],
}
"""By kind of stage."""
_SCORER_NOTE = "All runs' responses are scored by one discriminator, the first run's, so that their gaps can be compared."


def render_several(
    runs: Sequence[Labelled],
    rows: Sequence[Row],
    compared: Sequence[Comparison],
    gaps: Sequence[StageGaps],
    missing: Sequence[str],
    samples: int,
) -> str:
    """The whole page as one text; ``gaps`` are those of each run under one discriminator."""
    shared = shared_stages(runs)
    titles = {name: own.titles[name] for own in reversed(runs) for name in own.titles}
    answered = {name: stages for name, stages in shared.items() if any(stage.heldout for stage in stages)}
    parts = [
        _title(runs),
        missing_section(missing),
        results_table(rows, gaps[:1], _SCORER_NOTE),
        differences(compared, None),
        charts_section("Accuracy of the stages", [accuracies_chart(answered, titles), difference_chart(compared)]),
        *(_curves(titles[name], stages) for name, stages in shared.items()),
        cost_table(stage for stages in shared.values() for stage in stages),
        differing_settings(shared, titles),
        samples_section(_choice(runs, list(answered), gaps, samples), gaps[0].title),
    ]
    return document(", ".join(str(own.run.folder) for own in runs), parts)


def _title(runs: Sequence[Labelled]) -> str:
    items = "".join(
        f'<li><i style="background:{_colour(own.run)}"></i>{escape(own.label)}: '
        f"<code>{escape(str(own.run.folder))}</code></li>"
        for own in runs
    )
    return (
        f'<header><h1>PRISM: {len(runs)} runs</h1><ul class="runs">{items}</ul>'
        f"<p>Compared with {escape(runs[0].label)}, stages of one name with each other.</p></header>"
    )


def _colour(run: Run) -> str:
    return next(iter(run.stages.values())).colour


def _curves(title: str, stages: Sequence[Stage]) -> str:
    """A stage's metrics with a line a run; nothing for a stage of another kind, or in which nothing was logged."""
    charts = [
        branches_chart(
            stages, own.title, own.unit, own.key, reference=own.reference, fraction=own.heldout, heldout=own.heldout
        )
        for own in _CURVES.get(stages[0].kind, [])
        # One evaluation at the end is no curve, and stands in the table.
        if any(len(stage.series(own.key).steps) > 1 for stage in stages)
    ]
    return charts_section(f"Curves: {title}", charts) if charts else ""


def _choice(runs: Sequence[Labelled], names: Sequence[str], gaps: Sequence[StageGaps], samples: int) -> Choice | None:
    """All runs' responses in their shared stages; compared are the first two runs, where the first run's last line ends."""
    chosen = [stage.name for stage in runs[0].run.ends if stage.name in names] or list(names)
    policies: list[Policy] = []
    first = 0
    for name in names:
        first = len(policies) if name == chosen[-1] else first
        policies += [
            policy_of(own.run.stages[name], scored)
            for own, scored in zip(runs, gaps, strict=True)
            if name in own.run.stages and own.run.stages[name].heldout
        ]
    return choose(policies, first, min(first + 1, len(policies) - 1), samples)

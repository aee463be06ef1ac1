"""The page of one run. Every text that a model, a file or a user wrote goes through ``escape``."""

import math
from collections.abc import Sequence
from html import escape

from prism_pl.report import monitors
from prism_pl.report.browser import samples_section
from prism_pl.report.charts import accuracy_chart, difference_chart, proxy_chart, seconds_chart
from prism_pl.report.collect import Run
from prism_pl.report.comparisons import Comparison
from prism_pl.report.cost import cost_table, settings_section
from prism_pl.report.curves import branches_chart, gap_lines, line_chart
from prism_pl.report.densities import density_chart
from prism_pl.report.distribution import make_proxies
from prism_pl.report.drawing import Chart
from prism_pl.report.frame import charts_section, document, missing_section
from prism_pl.report.monitors import alarms, monitor_charts
from prism_pl.report.results import GAP_NOTE, differences, results_table
from prism_pl.report.samples import choose_of_run
from prism_pl.report.scores import StageGaps
from prism_pl.report.table import Row
from prism_pl.types import ASPECTS

_PROXY_NOTE = (
    "Items and steps are counted in well-formed sampled responses, lengths in all. TV is the total-variation distance "
    "to the teacher's distribution: 0 is equal, 1 is disjoint. Below each chart stands what two halves of the "
    "teacher's own responses give, with the middle 95 % of random splits: so far apart is what has not drifted at all. "
    "Densities are smoothed by a Gaussian kernel with Silverman's bandwidth, at least half a unit."
)
_ACCURACY_NOTE = "Pairs in which the teacher scores higher; 0.5 is chance."
_RLVR_NOTE = "Training rewards are those of each stage's own prompts, which may differ; the held-out prompts are the same."


def render(
    run: Run,
    rows: Sequence[Row],
    gains: Sequence[Comparison],
    verdict: Comparison | None,
    gaps_by_scorer: Sequence[StageGaps],
    tokens: Sequence[int],
    missing: Sequence[str],
    samples: int,
) -> str:
    """The whole page as one text, with at most so many ``samples``."""
    # The last is the discriminator that the policy has learnt from to the end.
    scorer = next((own for own in reversed(gaps_by_scorer) if own.responses), None)
    way = {stage.name for stage in run.shown}
    shown = [one for one in (*([verdict] if verdict else []), *gains) if one.own.name in way]
    parts = [
        _title(run),
        missing_section(missing),
        results_table(rows, gaps_by_scorer),
        differences(gains, verdict),
        charts_section("Accuracy per stage", [accuracy_chart(run, rows), difference_chart(shown)]),
        charts_section("Reward gaps in alignment", _gap_charts(run), GAP_NOTE),
        charts_section("Discriminator accuracy", _accuracy_charts(run), _ACCURACY_NOTE),
        charts_section("Is it real?", monitor_charts(run), monitors.NOTE),
        alarms(run),
        charts_section("RLVR", _rlvr_charts(run), _RLVR_NOTE if len(run.ends) > 1 else ""),
        charts_section("Shape of the responses", _shape_charts(run, tokens), _PROXY_NOTE),
        charts_section("Time", [seconds_chart(stage) for stage in run.shown if stage.kind in ("align", "rlvr")]),
        cost_table(run.stages.values()),
        _probe(run),
        samples_section(choose_of_run(run, scorer, samples), scorer.title if scorer else ""),
        settings_section(list(run.stages.values())),
    ]
    return document(str(run.folder), parts)


def _title(run: Run) -> str:
    stages: dict[str, list[str]] = {}
    for stage in run.stages.values():
        stages.setdefault(stage.commit or "not recorded", []).append(stage.phase)
    commits = "; ".join(
        f"<code>{escape(commit)}</code>" + (f" ({escape(', '.join(names))})" if len(stages) > 1 else "")
        for commit, names in stages.items()
    )
    updates = [
        f"{stage.phase} {stage.updates if stage.updates is not None else 'unfinished'}" for stage in run.stages.values()
    ]
    return (
        f"<header><h1>PRISM run <code>{escape(str(run.folder))}</code></h1>\n"
        f"<p>{'Commits' if len(stages) > 1 else 'Commit'}: {commits}<br>"
        f"Updates: {escape(', '.join(updates))}</p></header>"
    )


def _gap_charts(run: Run) -> list[Chart | None]:
    lines = gap_lines("reward_gap/", "heldout/discriminator/reward_gap/")
    return [
        line_chart(
            run.first("align"),
            f"Reward gap, {aspect}",
            "score, teacher - policy",
            [line for line in lines if line.key.endswith(aspect)],
            reference=0.0,
        )
        for aspect in ASPECTS
    ]


def _accuracy_charts(run: Run) -> list[Chart | None]:
    warmup = gap_lines("accuracy/", "heldout/accuracy/")
    align = gap_lines("accuracy/", "heldout/discriminator/accuracy/")
    unit = "share of pairs"
    return [
        line_chart(run.first("warmup"), "Warm-up", unit, warmup, reference=0.5, fraction=True),
        line_chart(run.first("align"), "Alignment", unit, align, reference=0.5, fraction=True),
    ]


def _shape_charts(run: Run, tokens: Sequence[int]) -> list[Chart | None]:
    """The shares of counts with their distances, below them the densities."""
    proxies = make_proxies(run, tokens)
    return [draw(run, proxy) for draw in (proxy_chart, density_chart) for proxy in proxies]


def _rlvr_charts(run: Run) -> list[Chart | None]:
    """The lines of RLVR over each other."""
    training = [("Training reward", "total"), ("Reward for right answers", "accuracy"), ("Reward for the format", "format")]
    heldout = [("Held-out accuracy, greedy", "accuracy"), ("Held-out accuracy, sampled", "accuracy_sampled")]
    return [
        *(
            branches_chart(run.ends, title, "mean a response", f"reward/{name}", reference=1.0, fraction=name != "total")
            for title, name in training
        ),
        *(
            branches_chart(
                run.ends, title, "share of prompts", f"heldout/{name}", reference=1.0, fraction=True, heldout=True
            )
            for title, name in heldout
        ),
    ]


def _probe(run: Run) -> str:
    """The largest difference between the engine's and the trainer's log-probabilities."""
    sentences = []
    for stage in run.stages.values():
        gaps = stage.series("rollout/probe_gap").values
        if gaps:
            worst = math.nan if any(math.isnan(gap) for gap in gaps) else max(gaps)
            sentences.append(f"{worst:.1e} in {stage.phase} ({len(gaps)} probe{'s' if len(gaps) > 1 else ''})")
    text = (
        f"The largest |log p (engine) - log p (trainer)| of a sampled token was {', '.join(sentences)}."
        if sentences
        else "No probe was logged."
    )
    return f"<section><h2>Log-prob probe</h2><p>{escape(text)}</p></section>"

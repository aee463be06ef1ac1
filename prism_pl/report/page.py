"""The page. Every text that a model, a file or a user wrote goes through ``escape``; nothing is loaded from outside."""

import math
from collections.abc import Sequence
from html import escape

from prism_pl.report import monitors
from prism_pl.report.charts import accuracy_chart, difference_chart, proxy_chart, seconds_chart
from prism_pl.report.collect import Answered, Run
from prism_pl.report.comparisons import Comparison
from prism_pl.report.curves import branches_chart, gap_lines, line_chart
from prism_pl.report.distribution import make_proxies
from prism_pl.report.drawing import Chart
from prism_pl.report.monitors import alarms, monitor_charts
from prism_pl.report.results import GAP_NOTE, differences, results_table
from prism_pl.report.samples import Choice, Shown, choose, image_uri
from prism_pl.report.scores import StageGaps
from prism_pl.report.style import STYLE
from prism_pl.report.table import Row
from prism_pl.types import ASPECTS

_PROXY_NOTE = (
    "Items and steps are counted in well-formed sampled responses, lengths in all. TV is the total-variation distance "
    "to the teacher's distribution: 0 is equal, 1 is disjoint. Below each chart stands what two halves of the "
    "teacher's own responses give, with the middle 95 % of random splits: so far apart is what has not drifted at all."
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
) -> str:
    """The whole page as one text."""
    way = {stage.name for stage in run.shown}
    shown = [one for one in (*([verdict] if verdict else []), *gains) if one.own.name in way]
    parts = [
        _title(run),
        _missing(missing),
        results_table(run, rows, gaps_by_scorer),
        differences(gains, verdict),
        _section("Accuracy per stage", [accuracy_chart(run, rows), difference_chart(shown)]),
        _section("Reward gaps in alignment", _gap_charts(run), GAP_NOTE),
        _section("Discriminator accuracy", _accuracy_charts(run), _ACCURACY_NOTE),
        _section("Is it real?", monitor_charts(run), monitors.NOTE),
        alarms(run),
        _section("RLVR", _rlvr_charts(run), _RLVR_NOTE if len(run.ends) > 1 else ""),
        _section("Shape of the responses", [proxy_chart(run, proxy) for proxy in make_proxies(run, tokens)], _PROXY_NOTE),
        _section("Time", [seconds_chart(stage) for stage in run.shown if stage.kind in ("align", "rlvr")]),
        _probe(run),
        _samples(run, choose(run)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # A second lock behind the escaping: the page runs no script and loads nothing.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>PRISM: {escape(str(run.folder))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


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


def _missing(missing: Sequence[str]) -> str:
    if not missing:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in missing)
    return f'<section class="missing"><h2>What is missing</h2><ul>{items}</ul></section>'


def _section(title: str, charts: Sequence[Chart | None], note: str = "") -> str:
    """A row of charts; what could not be drawn is said."""
    drawn = [chart for chart in charts if chart]
    figures = "".join(
        f'<figure><figcaption>{escape(chart.title)}</figcaption><img src="{chart.uri}" alt="{escape(chart.title)}">'
        f"<p>{escape(chart.note)}</p></figure>"
        for chart in drawn
    )
    lost = len(charts) - len(drawn)
    sentence = f"{lost} of {len(charts)} charts left out: what they show is missing from the run."
    absent = f'<p class="absent">{sentence}</p>' if lost else ""
    text = f"<p>{escape(note)}</p>" if note else ""
    return f'<section><h2>{escape(title)}</h2>{text}<div class="charts">{figures}</div>{absent}</section>'


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


def _samples(run: Run, choice: Choice | None) -> str:
    if choice is None or not choice.shown:
        return '<section><h2>Samples</h2><p class="absent">No prompt was answered by all stages.</p></section>'
    first, last = run.title(choice.first), run.title(choice.last)
    note = (
        f"Sampled responses to held-out prompts. No random choice: prompts that {first} answered wrong and {last} right "
        f"come first. Of all {choice.total} prompts there are {choice.mended} of these, and {choice.spoilt} the other way "
        f"round."
        if choice.first != choice.last
        else "Sampled responses to held-out prompts."
    )
    articles = "".join(_sample(run, shown) for shown in choice.shown)
    return f"<section><h2>Samples</h2><p>{escape(note)}</p>{articles}</section>"


def _sample(run: Run, shown: Shown) -> str:
    uri = image_uri(shown.prompt.image)
    if uri:
        image = f'<img src="{uri}" alt="image of the prompt">'
    else:
        image = f'<p class="absent">image {escape(shown.prompt.image)} cannot be read</p>' if shown.prompt.image else ""
    said = "".join(_response(run, name, record) for name, record in shown.responses.items())
    return (
        f'<article><div class="prompt">{image}<p><strong>{escape(shown.prompt.question)}</strong><br>'
        f"Answer: <strong>{escape(shown.prompt.answer)}</strong><br>"
        f"<small>{escape(shown.prompt.source)}</small></p></div>"
        f'<div class="said">{said}</div></article>'
    )


def _response(run: Run, name: str, record: Answered) -> str:
    mark = '<b class="right">✓ correct</b>' if record.sampled_correct else '<b class="wrong">✗ wrong</b>'
    malformed = "" if record.sections else " <small>malformed</small>"
    return (
        f'<div style="border-color:{run.colour(name)}"><h3>{escape(run.title(name))} {mark}{malformed}</h3>'
        f"<pre>{escape(record.sampled)}</pre></div>"
    )

"""The page. Every text that a model, a file or a user wrote goes through ``escape``; nothing is loaded from outside."""

import math
from collections.abc import Sequence
from html import escape

from prism_pl.report import monitors
from prism_pl.report.charts import (
    COLOURS,
    Chart,
    Line,
    accuracy_chart,
    gap_lines,
    line_chart,
    proxy_chart,
    seconds_chart,
)
from prism_pl.report.collect import PHASES, STAGES, TITLES, Answered, Run
from prism_pl.report.distribution import make_proxies
from prism_pl.report.monitors import alarms, monitor_charts
from prism_pl.report.samples import Choice, Shown, choose, image_uri
from prism_pl.report.scores import StageGaps
from prism_pl.report.style import STYLE
from prism_pl.report.table import NOTHING, Row, cells
from prism_pl.types import ASPECTS

_GAP_NOTE = (
    "The reward gap is the discriminator's mean score of the teacher minus that of the policy: at 0 it prefers neither."
)
_PROXY_NOTE = (
    "Items and steps are counted in well-formed sampled responses, lengths in all. TV is the total-variation distance "
    "to the teacher's distribution: 0 is equal, 1 is disjoint."
)
_ACCURACY_NOTE = "Pairs in which the teacher scores higher; 0.5 is chance."


def render(
    run: Run, rows: Sequence[Row], gaps_by_scorer: Sequence[StageGaps], tokens: Sequence[int], missing: Sequence[str]
) -> str:
    """The whole page as one text."""
    parts = [
        _title(run),
        _missing(missing),
        _table(rows, gaps_by_scorer),
        _section("Accuracy per stage", [accuracy_chart(rows)]),
        _section("Reward gaps in alignment", _gap_charts(run), _GAP_NOTE),
        _section("Discriminator accuracy", _accuracy_charts(run), _ACCURACY_NOTE),
        _section("Is it real?", monitor_charts(run), monitors.NOTE),
        alarms(run),
        _section("RLVR", _rlvr_charts(run)),
        _section("Shape of the responses", [proxy_chart(proxy) for proxy in make_proxies(run, tokens)], _PROXY_NOTE),
        _section("Time", [seconds_chart(run, name, COLOURS[name]) for name in ("align", "rlvr")]),
        _probe(run),
        _samples(choose(run)),
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
    for name, stage in run.stages.items():
        stages.setdefault(stage.commit or "not recorded", []).append(PHASES[name])
    commits = "; ".join(
        f"<code>{escape(commit)}</code>" + (f" ({', '.join(names)})" if len(stages) > 1 else "")
        for commit, names in stages.items()
    )
    updates = [
        f"{PHASES[name]} {run.stages[name].updates if run.stages[name].updates is not None else 'unfinished'}"
        for name in STAGES
        if name in run.stages
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


def _table(rows: Sequence[Row], gaps_by_scorer: Sequence[StageGaps]) -> str:
    if not rows:
        return "<section><h2>Held-out results</h2><p>No stage has held-out responses.</p></section>"
    plain = ("stage", "prompts", "accuracy, greedy [95%]", "accuracy, sampled", "format rate", "tokens")
    first = "".join(f'<th rowspan="2" scope="col">{name}</th>' for name in plain)
    for scorer in gaps_by_scorer:
        first += f'<th colspan="{len(ASPECTS)}" scope="colgroup">gap, {escape(scorer.title)}</th>'
    second = "".join(f'<th scope="col">{aspect}</th>' for _ in gaps_by_scorer for aspect in ASPECTS)
    body = "".join(
        f'<tr><th scope="row"><i style="background:{COLOURS[row.name]}"></i>{TITLES[row.name]}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in cells(row, len(gaps_by_scorer)))
        + "</tr>"
        for row in rows
    )
    return (
        "<section><h2>Held-out results</h2>\n"
        f'<div class="wide"><table><thead><tr>{first}</tr><tr>{second}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>\n"
        f"<p>{_GAP_NOTE} Each pair of columns has one scorer for all stages, on the sampled responses; ± is half a 95% "
        f"interval. Format rate and tokens are those of the sampled responses; the teacher has one response a prompt. "
        f"“{NOTHING}”: no value.</p></section>"
    )


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
            run,
            "align",
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
        line_chart(run, "warmup", "Warm-up", unit, warmup, reference=0.5, fraction=True),
        line_chart(run, "align", "Alignment", unit, align, reference=0.5, fraction=True),
    ]


def _rlvr_charts(run: Run) -> list[Chart | None]:
    rewards = [
        Line("reward/total", "total", COLOURS["rlvr"]),
        Line("reward/accuracy", "accuracy", COLOURS["accuracy"]),
        Line("reward/format", "format", COLOURS["format"]),
    ]
    heldout = [
        Line("heldout/accuracy", "greedy", COLOURS["rlvr"], heldout=True),
        Line("heldout/accuracy_sampled", "sampled", COLOURS["rlvr sampled"], heldout=True),
    ]
    return [
        line_chart(run, "rlvr", "Training reward", "mean reward a response", rewards, reference=1.0),
        line_chart(run, "rlvr", "Held-out accuracy", "share of prompts", heldout, reference=1.0, fraction=True),
    ]


def _probe(run: Run) -> str:
    """The largest difference between the engine's and the trainer's log-probabilities."""
    sentences = []
    for name in ("align", "rlvr"):
        gaps = run.series(name, "rollout/probe_gap").values
        if gaps:
            worst = math.nan if any(math.isnan(gap) for gap in gaps) else max(gaps)
            sentences.append(f"{worst:.1e} in {PHASES[name]} ({len(gaps)} probe{'s' if len(gaps) > 1 else ''})")
    text = (
        f"The largest |log p (engine) - log p (trainer)| of a sampled token was {', '.join(sentences)}."
        if sentences
        else "No probe was logged."
    )
    return f"<section><h2>Log-prob probe</h2><p>{escape(text)}</p></section>"


def _samples(choice: Choice | None) -> str:
    if choice is None or not choice.shown:
        return '<section><h2>Samples</h2><p class="absent">No prompt was answered by all stages.</p></section>'
    first, last = TITLES[choice.first], TITLES[choice.last]
    note = (
        f"Sampled responses to held-out prompts. No random choice: prompts that {first} answered wrong and {last} right "
        f"come first. Of all {choice.total} prompts {choice.mended} went from wrong to right and {choice.spoilt} from "
        f"right to wrong."
        if choice.first != choice.last
        else "Sampled responses to held-out prompts."
    )
    articles = "".join(_sample(shown) for shown in choice.shown)
    return f"<section><h2>Samples</h2><p>{escape(note)}</p>{articles}</section>"


def _sample(shown: Shown) -> str:
    uri = image_uri(shown.prompt.image)
    if uri:
        image = f'<img src="{uri}" alt="image of the prompt">'
    else:
        image = f'<p class="absent">image {escape(shown.prompt.image)} cannot be read</p>' if shown.prompt.image else ""
    said = "".join(_response(name, record) for name, record in shown.responses.items())
    return (
        f'<article><div class="prompt">{image}<p><strong>{escape(shown.prompt.question)}</strong><br>'
        f"Answer: <strong>{escape(shown.prompt.answer)}</strong><br>"
        f"<small>{escape(shown.prompt.source)}</small></p></div>"
        f'<div class="said">{said}</div></article>'
    )


def _response(name: str, record: Answered) -> str:
    mark = '<b class="right">✓ correct</b>' if record.sampled_correct else '<b class="wrong">✗ wrong</b>'
    malformed = "" if record.sections else " <small>malformed</small>"
    return (
        f'<div style="border-color:{COLOURS[name]}"><h3>{TITLES[name]} {mark}{malformed}</h3>'
        f"<pre>{escape(record.sampled)}</pre></div>"
    )

"""The page's tables: held-out results of every policy, and the stages against each other."""

from collections.abc import Sequence
from html import escape

from prism_pl.metrics.bootstrap import with_interval
from prism_pl.report.comparisons import Comparison
from prism_pl.report.scores import StageGaps
from prism_pl.report.table import NOTHING, Row, cells
from prism_pl.types import ASPECTS

GAP_NOTE = (
    "The reward gap is the discriminator's mean score of the teacher minus that of the policy: at 0 it prefers neither."
)
_TEXT = ' class="text"'
_DIFFERENCE_NOTE = (
    "Accuracy of the first minus that of the second, over the held-out prompts that both answered: the prompts are paired, "
    "and the 95% intervals are the bootstrap's over them. Gained are the prompts that only the first solves greedily, lost "
    "those that only the second does, and p is McNemar's exact one of the two. They say nothing of other seeds: a study "
    "compares several."
)


def results_table(rows: Sequence[Row], gaps_by_scorer: Sequence[StageGaps], note: str = "") -> str:
    """A row a policy, the teacher's first."""
    if not rows:
        return "<section><h2>Held-out results</h2><p>No stage has held-out responses.</p></section>"
    plain = ("stage", "prompts", "accuracy, greedy [95%]", "accuracy, sampled [95%]", "format rate", "tokens")
    first = "".join(f'<th rowspan="2" scope="col">{name}</th>' for name in plain)
    for scorer in gaps_by_scorer:
        first += f'<th colspan="{len(ASPECTS)}" scope="colgroup">gap, {escape(scorer.title)}</th>'
    second = "".join(f'<th scope="col">{aspect}</th>' for _ in gaps_by_scorer for aspect in ASPECTS)
    body = "".join(
        f'<tr><th scope="row"><i style="background:{row.colour}"></i>{escape(row.title)}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in cells(row, len(gaps_by_scorer), intervals=True))
        + "</tr>"
        for row in rows
    )
    return (
        "<section><h2>Held-out results</h2>\n"
        f'<div class="wide"><table><thead><tr>{first}</tr><tr>{second}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>\n"
        f"<p>{GAP_NOTE} Each pair of columns has one scorer for all stages, on the sampled responses; ± is half a 95% "
        f"interval. Format rate and tokens are those of the sampled responses; the teacher has one response a prompt. "
        f"“{NOTHING}”: no value. {escape(note)}</p></section>"
    )


def differences(gains: Sequence[Comparison], verdict: Comparison | None) -> str:
    """The verdict in words, then a row a comparison; nothing if nothing could be compared."""
    compared = [*([verdict] if verdict else []), *gains]
    if not compared:
        return ""
    names = (
        "stage", "compared with", "prompts", "accuracy, greedy [95%]", "accuracy, sampled [95%]",
        "gained", "lost", "p",
    )  # fmt: skip
    header = "".join(f'<th scope="col"{_TEXT if name == names[1] else ""}>{name}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{_named(comparison)}</th><td{_TEXT}>{escape(comparison.other.title)}</td>'
        f"<td>{comparison.prompts}</td><td>{with_interval(comparison.greedy, 3, '+')}</td>"
        f"<td>{with_interval(comparison.sampled, 3, '+')}</td><td>{comparison.gained}</td><td>{comparison.lost}</td>"
        f"<td>{NOTHING if comparison.p_value is None else f'{comparison.p_value:.2g}'}</td></tr>"
        for comparison in compared
    )
    said = f'<p class="verdict">{escape(verdict.sentence)}</p>' if verdict else ""
    return (
        f"<section><h2>Differences</h2>{said}\n"
        f'<div class="wide"><table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>\n'
        f"<p>{_DIFFERENCE_NOTE}</p></section>"
    )


def _named(comparison: Comparison) -> str:
    return f'<i style="background:{comparison.own.colour}"></i>{escape(comparison.own.title)}'

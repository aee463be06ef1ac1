"""From a run's folder to its page."""

from pathlib import Path

from prism_pl.report.collect import collect
from prism_pl.report.comparisons import gains, verdict
from prism_pl.report.page import render
from prism_pl.report.scores import score_run, teacher_tokens
from prism_pl.report.table import make_rows, plain_table
from prism_pl.runs.files import write_atomically


def build_report(run_dir: Path) -> Path:
    """Writes ``report.html`` into the run's folder, prints the table, the differences and the verdict; the page's path.

    The page holds all it shows: no other file, no network. Parts whose files are missing are left out, and named.
    """
    run = collect(run_dir)
    warmup, align = run.first("warmup"), run.first("align")
    gaps_by_scorer = [
        score_run(run, run_dir / warmup.name / "model" if warmup else None, "warm-up discriminator"),
        score_run(run, run_dir / align.name / "discriminator" if align else None, "final discriminator"),
    ]
    tokens = teacher_tokens(run)
    rows = make_rows(run, tokens, gaps_by_scorer)
    each, ends = gains(run), verdict(run)
    missing = [*run.missing, *(scorer.problem for scorer in gaps_by_scorer if scorer.problem)]
    target = run_dir / "report.html"
    write_atomically(target, render(run, rows, each, ends, gaps_by_scorer, tokens, missing))
    for line in (plain_table(rows) if rows else "No stage has held-out responses.", *missing):
        print(line, flush=True)
    for comparison in (*each, *([ends] if ends else [])):
        print(comparison.sentence, flush=True)
    return target

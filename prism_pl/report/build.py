"""From a run's folder to its page."""

from pathlib import Path

from prism_pl.report.collect import collect
from prism_pl.report.page import render
from prism_pl.report.scores import score_run, teacher_tokens
from prism_pl.report.table import make_rows, plain_table
from prism_pl.runs.files import write_atomically


def build_report(run_dir: Path) -> Path:
    """Writes ``report.html`` into the run's folder, prints the table and returns the page's path.

    The page holds all it shows: no other file, no network. Parts whose files are missing are left out, and named.
    """
    run = collect(run_dir)
    gaps_by_scorer = [
        score_run(run, run_dir / "warmup" / "model", "warm-up discriminator"),
        score_run(run, run_dir / "align" / "discriminator", "final discriminator"),
    ]
    tokens = teacher_tokens(run)
    rows = make_rows(run, tokens, gaps_by_scorer)
    missing = [*run.missing, *(scorer.problem for scorer in gaps_by_scorer if scorer.problem)]
    target = run_dir / "report.html"
    write_atomically(target, render(run, rows, gaps_by_scorer, tokens, missing))
    for line in (plain_table(rows) if rows else "No stage has held-out responses.", *missing):
        print(line, flush=True)
    return target

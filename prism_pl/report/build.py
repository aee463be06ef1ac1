"""From the folders of runs to their page."""

from collections.abc import Sequence
from pathlib import Path

from prism_pl.report.collect import collect
from prism_pl.report.comparisons import Comparison, gains, verdict
from prism_pl.report.page import render
from prism_pl.report.scores import score_run, teacher_tokens
from prism_pl.report.several import Labelled, across, label_runs
from prism_pl.report.several_page import render_several
from prism_pl.report.table import Row, make_rows, plain_table
from prism_pl.runs.files import write_atomically


def build_report(run_dir: Path, out: Path | None = None, samples: int = 100) -> Path:
    """Writes the page, prints the table, the differences and the verdict; the page's path.

    ``out`` is the page; None is ``report.html`` in the run's folder. It shows at most so many ``samples``, and holds all it
    shows: no other file, no network. Parts whose files are missing are left out, and named.
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
    target = out or run_dir / "report.html"
    write_atomically(target, render(run, rows, each, ends, gaps_by_scorer, tokens, missing, samples))
    _print(rows, missing, [*each, *([ends] if ends else [])])
    return target


def build_comparison(run_dirs: Sequence[Path], out: Path | None = None, samples: int = 100) -> Path:
    """The same for several runs, compared with the first; None is ``comparison.html`` in the first one's folder."""
    runs = label_runs(run_dirs)
    folder, title = _scorer(runs[0])
    gaps = [score_run(own.run, folder, title) for own in runs]
    rows = [row for own, scored in zip(runs, gaps, strict=True) for row in make_rows(own.run, (), [scored])]
    # The teacher's row once: the first run's.
    rows = [row for place, row in enumerate(rows) if not place or row.name != "teacher"]
    compared = across(runs)
    missing = [sentence for own in runs for sentence in own.run.missing]
    missing += dict.fromkeys(scored.problem for scored in gaps if scored.problem)
    if not compared:
        missing.append(f"No held-out prompt of {runs[0].label} was answered by a stage of the same name in another run.")
    target = out or run_dirs[0] / "comparison.html"
    write_atomically(target, render_several(runs, rows, compared, gaps, missing, samples))
    _print(rows, missing, compared)
    return target


def _scorer(labelled: Labelled) -> tuple[Path | None, str]:
    """A run's final discriminator, or else that of its warm-up, and how it is called."""
    run = labelled.run
    for kind, model, word in (("align", "discriminator", "final"), ("warmup", "model", "warm-up")):
        stage = run.first(kind)
        if stage is not None and (folder := run.folder / stage.name / model).is_dir():
            return folder, f"{word} discriminator of {labelled.label}"
    return None, "discriminator"


def _print(rows: Sequence[Row], missing: Sequence[str], compared: Sequence[Comparison]) -> None:
    for line in (plain_table(rows) if rows else "No stage has held-out responses.", *missing):
        print(line, flush=True)
    for comparison in compared:
        print(comparison.sentence, flush=True)

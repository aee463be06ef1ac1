"""``report``: the table and the page of a pipeline's run."""

from pathlib import Path


def report(run_dir: str) -> None:
    """Prints the table and writes ``report.html`` into the run's folder.

    Args:
        run_dir: folder of all stages.
    """
    # Here, so that the pipeline's stages do not wait for it.
    from prism_pl.report import build_report

    print(f"\n{build_report(Path(run_dir))}")

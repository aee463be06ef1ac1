"""``report``: the table and the page of a pipeline's run, or of several runs side by side."""

from pathlib import Path

from prism_pl.errors import UserError
from prism_pl.ranges import PositiveInt
from prism_pl.runs.tracking import log_page


def report(runs: list[str], out: str | None = None, samples: PositiveInt = 100, wandb: str | None = None) -> None:
    """Prints the table and writes one page; several runs are compared with the first.

    Args:
        runs: folders of all stages of a run.
        out: the page; null is report.html in the run's folder, of several runs comparison.html in the first one's.
        samples: held-out prompts on the page at most, with every stage's response.
        wandb: project of Weights & Biases that gets the page as an artifact, in the group of the first run's stages.
    """
    # Here, so that the pipeline's stages do not wait for it.
    from prism_pl.report import build_comparison, build_report

    if not runs:
        raise UserError("runs: no run is given.")
    folders, target = [Path(run) for run in runs], Path(out) if out else None
    page = build_comparison(folders, target, samples) if len(folders) > 1 else build_report(folders[0], target, samples)
    # Before it is sent: a W&B that fails must not hide where the page is.
    print(f"\n{page}", flush=True)
    if wandb:
        log_page(page, folders[0], wandb)

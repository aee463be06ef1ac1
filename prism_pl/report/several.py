"""Several runs side by side: what each is called, and their stages of one name against each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, takewhile
from pathlib import Path

from prism_pl.errors import UserError
from prism_pl.report.collect import Run, Stage, collect
from prism_pl.report.comparisons import Comparison, compare

# Okabe and Ito's; a run has one in all charts.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Labelled:
    """A run whose stages carry its label in their titles, its label as their phase, and its colour."""

    label: str
    run: Run
    titles: dict[str, str]
    """Of the stages, without the label."""


def label_runs(folders: Sequence[Path]) -> list[Labelled]:
    """In the order given; the first is the one that the others are compared with."""
    return [
        _labelled(collect(folder), label, colour)
        for folder, label, colour in zip(folders, labels(folders), cycle(_COLOURS), strict=False)
    ]


def labels(folders: Sequence[Path]) -> list[str]:
    """What of the paths differs. Raises UserError for a folder that is given twice.

    >>> labels([Path("/a/seed0/demo"), Path("/a/seed1/demo")]), labels([Path("/a"), Path("/a/b")])
    (['seed0', 'seed1'], ['a', 'a/b'])
    """
    parts = [folder.resolve().parts for folder in folders]
    if twice := next((folder for folder, own in zip(folders, parts, strict=True) if parts.count(own) > 1), None):
        raise UserError(f"{twice} is given twice. A run cannot be compared with itself.")
    shortest = min(map(len, parts))
    start = min(_num_shared(parts), shortest - 1)
    end = min(_num_shared([own[::-1] for own in parts]), shortest - 1 - start)
    return ["/".join(own[start : len(own) - end]) for own in parts]


def _num_shared(parts: Sequence[tuple[str, ...]]) -> int:
    """How many the parts have in common from their start."""
    return len(list(takewhile(lambda place: len(set(place)) == 1, zip(*parts, strict=False))))


def _labelled(run: Run, label: str, colour: str) -> Labelled:
    stages = {
        name: replace(stage, title=f"{label}: {stage.title}", phase=label, colour=colour)
        for name, stage in run.stages.items()
    }
    missing = tuple(f"{label}: {sentence}" for sentence in run.missing)
    return Labelled(
        label, replace(run, stages=stages, missing=missing), {n: stage.title for n, stage in run.stages.items()}
    )


def shared_stages(runs: Sequence[Labelled]) -> dict[str, list[Stage]]:
    """The stages that at least two runs have, by name, in the order of the first run that has them."""
    names = dict.fromkeys(name for labelled in runs for name in labelled.run.stages)
    found = {name: [own.run.stages[name] for own in runs if name in own.run.stages] for name in names}
    return {name: stages for name, stages in found.items() if len(stages) > 1}


def across(runs: Sequence[Labelled]) -> list[Comparison]:
    """Each run's stages against those of one name in the first run, and the last ones where their names differ."""
    first, *others = runs
    pairs = [
        (stage, first.run.stages[name])
        for other in others
        for name, stage in other.run.stages.items()
        if name in first.run.stages
    ]
    lasts = [labelled.run.answering[-1] for labelled in runs if labelled.run.answering]
    pairs += [(last, lasts[0]) for last in lasts[1:] if last.name != lasts[0].name]
    found = [compare(own, other) for own, other in pairs]
    return [comparison for comparison in found if comparison]

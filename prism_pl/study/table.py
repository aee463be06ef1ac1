"""A study as tables: Markdown for people, CSV with a row for each arm and seed."""

import csv
import io
from collections.abc import Sequence

from prism_pl.metrics.bootstrap import DRAWS, estimate, num_above, paired, with_interval
from prism_pl.study.collect import ArmResult
from prism_pl.study.figures import ACCURACIES, DISTANCES, OF_PROMPTS

NOTHING = "-"
"""Stands where there is no value."""
_FIGURES = (*OF_PROMPTS, *DISTANCES)


def markdown(results: Sequence[ArmResult], missing: Sequence[str]) -> str:
    """A row an arm, then each arm's difference to the one it is compared with; what is missing is said."""
    measured = [result for result in results if result.runs]
    parts = ["# Arms", _grid(["arm", "seeds", *OF_PROMPTS, "updates", "seconds"], [_row(result) for result in measured])]
    parts += ["# Distances to the teachers", _grid(["arm", "seeds", *DISTANCES], [*map(_far, measured), *_floor(measured)])]
    by_name = {result.name: result for result in measured}
    compared = [(own, by_name[own.against]) for own in measured if own.against in by_name]
    if compared:
        header = ["arm", "compared with", "seeds", *(text for name in ACCURACIES for text in (name, "above"))]
        parts += ["# Differences", _grid(header, [_difference(own, other) for own, other in compared])]
    parts += ["# How to read it", "\n".join(f"- {note}" for note in _notes(measured))]
    if missing:
        parts += ["# Missing", "\n".join(f"- {sentence}" for sentence in missing)]
    return "\n\n".join(parts) + "\n"


def csv_rows(results: Sequence[ArmResult]) -> str:
    """A row an arm and seed; an empty cell is a figure that could not be measured."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["arm", "stage", "seed", "prompts", *_FIGURES, "updates", "seconds"])
    for result in results:
        for seed, run in result.runs.items():
            values = [run.figures.get(name, "") for name in _FIGURES]
            writer.writerow([result.name, result.stage, seed, len(run.prompts), *values, run.updates, run.seconds])
    return out.getvalue()


def _row(result: ArmResult) -> list[str]:
    updates, seconds = result.cost
    return [
        result.name, str(len(result.runs)), *(_figure(result, name) for name in OF_PROMPTS),
        f"{updates:.0f}", f"{seconds:.0f}",
    ]  # fmt: skip


def _far(result: ArmResult) -> list[str]:
    return [result.name, str(len(result.runs)), *(_figure(result, name) for name in DISTANCES)]


def _floor(results: Sequence[ArmResult]) -> list[list[str]]:
    """The teachers against themselves: the same for all runs, which have the same prompts."""
    floors = next((run.floors for result in results for run in result.runs.values() if run.floors), {})
    row = [NOTHING if name not in floors else str(floors[name]) for name in DISTANCES]
    return [["teachers, half against half", NOTHING, *row]] if floors else []


def _figure(result: ArmResult, name: str) -> str:
    seeds = result.seeds_with(name)
    return with_interval(estimate(result.values(name, seeds)), 1 if name == "tokens" else 3) if seeds else NOTHING


def _difference(own: ArmResult, other: ArmResult) -> list[str]:
    seeds = common_seeds(own, other)
    texts: list[str] = []
    for name in ACCURACIES:
        if not seeds:
            texts += [NOTHING, NOTHING]
            continue
        mine, theirs = own.values(name, seeds), other.values(name, seeds)
        texts += [with_interval(paired(mine, theirs), 3, "+"), f"{num_above(mine, theirs)}/{len(seeds)}"]
    return [own.name, other.name, str(len(seeds)), *texts]


def common_seeds(own: ArmResult, other: ArmResult) -> list[int]:
    """The seeds that both arms have."""
    return [seed for seed in own.runs if seed in other.runs]


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *([text.replace("|", "\\|") for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _notes(results: Sequence[ArmResult]) -> list[str]:
    samples = "n samples a prompt at temperature 1"
    notes = [
        f"greedy, sampled (mean over {samples}), nucleus (one sample, temperature 1, top-p 0.7), pass@n (any of the n is "
        f"right): share of right answers. format, tokens: of the n samples.",
        "Distances of the n samples to the teachers, 0 for equal: tv total variation and js Jensen-Shannon, at most 1; w1 "
        "Wasserstein, in items, steps or tokens; kl in nats. Half against half: what random halves of the teachers' "
        "responses give, with the middle 95 %. Larger samples give less: about the most of no drift.",
        f"[low, high]: 95 % bootstrap interval over seeds and prompts, {DRAWS:,} draws; of distances over seeds alone.",
        "Differences are paired, over the same seeds and prompts. above: in how many seeds the arm's mean is higher.",
        "updates, seconds: of the steps of all stages behind the model, mean over seeds.",
    ]
    single = [result.name for result in results if len({run.folder for run in result.runs.values()}) == 1]
    if single:
        notes.append(
            f"One model, so the interval is over prompts alone and says nothing of other seeds: {', '.join(single)}."
        )
    untaught = [result.name for result in results if not any(result.seeds_with(name) for name in DISTANCES)]
    if untaught:
        notes.append(f"No distances, for lack of teachers or of well-formed responses: {', '.join(untaught)}.")
    return notes

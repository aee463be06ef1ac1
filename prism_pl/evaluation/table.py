"""An evaluation as text for a terminal."""

from collections.abc import Iterator, Sequence
from statistics import mean

from prism_pl.evaluation.published import BENCHMARKS, published
from prism_pl.evaluation.results import Compared, Evaluation, Judged, Result
from prism_pl.metrics.bootstrap import Estimate, with_interval

_NOTHING = "-"


def text(evaluation: Evaluation) -> str:
    """A table a set, then the differences, then the paper's layout if a set is one of its benchmarks."""
    parts = []
    for name in evaluation.sets:
        own_results = [result for result in evaluation.results if result.set == name]
        parts.append(_of_set(name, own_results))
        detailed = [_sub_scores(result) for result in own_results if result.sub_scores]
        parts += ["\n".join(detailed)] if detailed else []
        judged = [_judged(result.model, result.judged) for result in own_results if result.judged is not None]
        parts += ["\n".join(judged)] if judged else []
        compared = [own for own in evaluation.comparisons if own.set == name]
        parts += ["\n".join(map(_difference, compared))] if compared else []
    if evaluation.benchmarks:
        parts.append(_as_the_paper(evaluation))
    return "\n\n".join(parts)


def _of_set(name: str, results: Sequence[Result]) -> str:
    names = list(dict.fromkeys(figure for result in results for figure in result.figures))
    # Of pass@k the largest k; what is said of the greedy responses beside their score is in the JSON, if there are samples.
    passes = [figure for figure in names if figure.startswith("pass@")]
    sampled = any(figure.startswith("avg@") for figure in names)
    shown = [figure for figure in names if figure not in passes[:-1] and not (sampled and figure.startswith("greedy_"))]
    header = ["model", "questions", "failed", *(figure.replace("_", " ") for figure in shown)]
    rows = [
        [result.model, str(result.questions), str(result.failed), *(_cell(figure, result.figures) for figure in shown)]
        for result in results
    ]
    return f"{name}\n{_grid([header, *rows])}"


def _cell(name: str, found: dict[str, Estimate]) -> str:
    if name not in found:
        return _NOTHING
    digits = 1 if name.endswith("tokens") else 3
    if name == "greedy" or "@" in name:
        return with_interval(found[name], digits)
    return f"{found[name].mean:.{digits}f}"


def _sub_scores(result: Result) -> str:
    return f"{result.model}: {'; '.join(f'{name} {with_interval(own, 3)}' for name, own in result.sub_scores.items())}"


def _judged(model: str, own: Judged) -> str:
    accuracies = [f"{name} {with_interval(value, 3)}" for name, value in own.figures.items() if "pass@" not in name]
    return f"{model} by the judge: {'; '.join([*accuracies, f'{own.raised} raised, {own.lowered} lowered'])}"


def _difference(own: Compared) -> str:
    figures = [name for name in own.found.differences if name == "greedy" or name.startswith("avg@")]
    parts = [f"{name} {with_interval(own.found.differences[name], 3, '+')}" for name in figures]
    if own.found.p_value is not None:
        parts.append(f"greedy: {own.found.gained} gained, {own.found.lost} lost, McNemar's p {own.found.p_value:.3g}")
    return f"{own.model} against {own.reference}, {own.found.questions} questions: {'; '.join(parts)}"


def _as_the_paper(evaluation: Evaluation) -> str:
    """Accuracy in percent: avg@n where there are samples, else greedy."""
    names = list(evaluation.benchmarks)
    rows = [["", *names, "Avg", ""]]
    for model in dict.fromkeys(result.model for result in evaluation.results):
        own = {result.set: result.figures for result in evaluation.results if result.model == model}
        values = [_accuracy(own.get(evaluation.benchmarks[name], {})) for name in names]
        rows.append([model, *_percents(values), "measured"])
    for model, shares in published(names).items():
        rows.append([model, *_percents(shares), "published"])
    return f"Accuracy in percent, as arXiv 2604.28123 tells it\n{_grid(rows)}"


def _accuracy(found: dict[str, Estimate]) -> float | None:
    name = next((name for name in found if name.startswith("avg@")), "greedy")
    return 100 * found[name].mean if name in found else None


def _percents(values: Sequence[float | None]) -> Iterator[str]:
    """Each, and the mean of all seven; fewer have none that is the paper's."""
    yield from (_NOTHING if value is None else f"{value:.1f}" for value in values)
    known = [value for value in values if value is not None]
    yield f"{mean(known):.1f}" if len(known) == len(BENCHMARKS) else _NOTHING


def _grid(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if not place else cell.rjust(width) for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join(line.rstrip() for line in lines)

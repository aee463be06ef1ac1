"""What a run was made with and what it cost: configurations, versions, and seconds, tokens and memory of each stage."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import yaml

from prism_pl.report.collect import Stage
from prism_pl.report.table import NOTHING, mean

_NOTE = (
    "Sums over the logged batches, with neither start nor evaluation. Tokens are those that the main network of one device "
    "learnt from; memory is the most that torch held at once on one GPU, an engine's part left out."
)
_RATE = "throughput/tokens_per_second_per_device"


def seconds_by_step(stage: Stage) -> dict[int, float]:
    """All phases of a step together."""
    total: dict[int, float] = {}
    for key in stage.keys("seconds/"):
        series = stage.series(key)
        for step, value in zip(series.steps, series.values, strict=True):
            total[step] = total.get(step, 0.0) + value
    return total


def tokens_of(stage: Stage) -> float | None:
    """A device's, over all steps with a rate and their seconds; None without any."""
    seconds, rate = seconds_by_step(stage), stage.series(_RATE)
    found = [rate * seconds[step] for step, rate in zip(rate.steps, rate.values, strict=True) if step in seconds]
    return sum(found) if found else None


def cost_table(stages: Iterable[Stage]) -> str:
    """A row a stage."""
    names = ("stage", "updates", "batches logged", "seconds", "tokens a device", "tokens a second", "peak memory, GiB")
    header = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row"><i style="background:{stage.colour}"></i>{escape(stage.title)}</th>'
        + "".join(f"<td>{text}</td>" for text in _cells(stage))
        + "</tr>"
        for stage in stages
    )
    return (
        f'<section><h2>Cost</h2><div class="wide"><table><thead><tr>{header}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div><p>{_NOTE} “{NOTHING}”: not logged.</p></section>"
    )


def _cells(stage: Stage) -> list[str]:
    seconds, tokens = seconds_by_step(stage), tokens_of(stage)
    peaks = [value for key in stage.keys("memory_gib/") for value in stage.series(key).values]
    rate = mean(stage.series(_RATE).values)
    return [
        NOTHING if stage.updates is None else str(stage.updates),
        str(len(seconds)),
        f"{sum(seconds.values()):,.0f}" if seconds else NOTHING,
        NOTHING if tokens is None else f"{tokens:,.0f}",
        NOTHING if rate is None else f"{rate:,.0f}",
        f"{max(peaks):.1f}" if peaks else NOTHING,
    ]


def settings_section(stages: Sequence[Stage]) -> str:
    """Versions, and each configuration behind its name."""
    made: dict[str, list[str]] = {}
    for stage in stages:
        text = ", ".join(f"{name} {value}" for name, value in stage.versions.items())
        made.setdefault(text or "versions not recorded", []).append(stage.title)
    versions = "".join(f"<li>{escape(', '.join(names))}: {escape(text)}</li>" for text, names in made.items())
    configs = "".join(
        f"<details><summary>{escape(stage.title)}</summary><pre>{escape(stage.config)}</pre></details>" for stage in stages
    )
    return f'<section><h2>Versions and configurations</h2><ul class="versions">{versions}</ul>{configs}</section>'


def differing_settings(stages: Mapping[str, Sequence[Stage]], titles: Mapping[str, str]) -> str:
    """A row each key in which the runs' configurations of one stage differ."""
    rows = "".join(
        f'<tr><th scope="row">{escape(titles[name])}</th><td class="text"><code>{escape(key)}</code></td>'
        f'<td class="text">{_values(values)}</td></tr>'
        for name, group in stages.items()
        for key, values in differing(group).items()
    )
    if not rows:
        return "<section><h2>Settings that differ</h2><p>None.</p></section>"
    return (
        '<section><h2>Settings that differ</h2><div class="wide"><table><thead><tr><th scope="col">stage</th>'
        '<th scope="col" class="text">key</th><th scope="col" class="text">values</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _values(values: Mapping[str, str]) -> str:
    return "<br>".join(f"{escape(run)}: <code>{escape(value)}</code>" for run, value in values.items())


def differing(stages: Sequence[Stage]) -> dict[str, dict[str, str]]:
    """By key, as the command line spells it, what each run has, by the phase's name."""
    flat = {stage.phase: dict(_settings(yaml.safe_load(stage.config))) for stage in stages}
    keys = dict.fromkeys(key for own in flat.values() for key in own)
    found = {key: {run: own.get(key, NOTHING) for run, own in flat.items()} for key in keys}
    return {key: values for key, values in found.items() if len(set(values.values())) > 1}


def _settings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The leaves; an entry of a list goes by its class, or else by its place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _settings(inner, key if name == "init_args" else f"{key}.{name}".removeprefix("."))
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for place, inner in enumerate(value):
            name = inner["class_path"].rpartition(".")[2] if isinstance(inner, dict) and "class_path" in inner else place
            yield from _settings(inner, f"{key}.{name}")
    else:
        yield key, str(value)

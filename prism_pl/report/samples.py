"""Which prompts the page shows with their responses, and their images."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image

from prism_pl.report.collect import Answered, Run

_LONGEST_SIDE = 640
"""Larger images are scaled down, so that the page stays small."""


@dataclass(frozen=True)
class Shown:
    """One prompt and what each drawn stage said to it."""

    prompt: Answered
    responses: dict[str, Answered]


@dataclass(frozen=True)
class Choice:
    """The prompts shown, and between which two stages answers differ over all prompts."""

    shown: list[Shown]
    first: str
    last: str
    mended: int
    """Prompts with a wrong answer of the first stage and a right one of the last."""
    spoilt: int
    """The other way round."""
    total: int


def choose(run: Run, count: int = 6) -> Choice | None:
    """Prompts that all drawn stages answered: those that the second of two stages mended come first; questions alternate.

    The two are the run's ends if it has both, else the first and the last stage.
    """
    if not run.drawn:
        return None
    said = {stage.name: {record.source: record for record in stage.heldout} for stage in run.drawn}
    compared = [stage for stage in run.ends if stage.heldout]
    first, last = (stage.name for stage in (compared if len(compared) > 1 else (run.drawn[0], run.drawn[-1])))
    common = [source for source in said[first] if all(source in records for records in said.values())]

    def right(stage: str, source: str) -> bool:
        return said[stage][source].sampled_correct

    mended = [source for source in common if not right(first, source) and right(last, source)]
    others = [source for source in common if source not in set(mended)]
    order = _alternate([said[first][s] for s in mended]) + _alternate([said[first][s] for s in others])
    shown = [Shown(record, {name: own[record.source] for name, own in said.items()}) for record in order[:count]]
    spoilt = sum(right(first, source) and not right(last, source) for source in common)
    return Choice(shown, first, last, len(mended), spoilt, len(common))


def _alternate(records: Sequence[Answered]) -> list[Answered]:
    """One record of each question, then a second of each, and so on."""
    ranked = []
    for _, group in groupby(sorted(records, key=lambda r: r.question), key=lambda r: r.question):
        ranked += list(enumerate(group))
    return [record for _, record in sorted(ranked, key=lambda pair: pair[0])]


def image_uri(path: str | None) -> str | None:
    """A PNG inlined; None if there is no image or it cannot be read any more."""
    if path is None or not Path(path).is_file():
        return None
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except OSError:
        return None
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

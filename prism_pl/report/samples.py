"""Which prompts the page shows with their responses, and their images."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from pathlib import Path

from PIL import Image

from prism_pl.report.collect import Answered, Run, Stage
from prism_pl.report.scores import ResponseScores, StageGaps

_LONGEST_SIDE = 640
"""Larger images are scaled down, so that the page stays small."""
_LOSSLESS_BYTES = 60_000
"""What is larger as a PNG, such as a photograph, is written as a JPEG."""


@dataclass(frozen=True)
class Policy:
    """A model with its responses, by the ``source`` of the prompt."""

    title: str
    colour: str
    said: Mapping[str, Answered]
    scores: Mapping[str, ResponseScores] = field(default_factory=dict)
    """Of the sampled responses; malformed ones have none."""

    def answered(self, asked: Answered) -> Answered | None:
        """Its record of another one's prompt."""
        own = self.said.get(asked.source)
        return own if own is not None and own.prompt == asked.prompt else None


@dataclass(frozen=True)
class Choice:
    """The prompts shown, and what changed between two policies over all prompts that both answered."""

    policies: Sequence[Policy]
    shown: list[Answered]
    """One record a prompt, for what depends on the prompt alone."""
    first: int
    """Place of the policy that the other one is compared with."""
    last: int
    mended: int
    """Prompts with a wrong sampled answer of the first policy and a right one of the last."""
    spoilt: int
    """The other way round."""
    total: int


def policy_of(stage: Stage, gaps: StageGaps | None) -> Policy:
    """A stage's model."""
    said = {record.source: record for record in stage.heldout}
    return Policy(stage.title, stage.colour, said, gaps.responses.get(stage.name, {}) if gaps else {})


def choose_of_run(run: Run, gaps: StageGaps | None, count: int) -> Choice | None:
    """Of the drawn stages; compared are the run's ends if it has both, else the first and the last."""
    names = [stage.name for stage in run.drawn]
    ends = [names.index(stage.name) for stage in run.ends if stage.heldout]
    first, last = ends if len(ends) > 1 else (0, len(names) - 1)
    return choose([policy_of(stage, gaps) for stage in run.drawn], first, last, count)


def choose(policies: Sequence[Policy], first: int, last: int, count: int) -> Choice | None:
    """At most ``count`` of the prompts that the first and the last policy answered; None if there are none.

    Prompts that the last policy mended come first, then those that it spoilt, malformed, wrong and other ones. Where not
    all are shown each of these has its turn, and in each the questions alternate.
    """
    if not policies:
        return None
    pairs = [(record, policies[last].answered(record)) for record in policies[first].said.values()]
    common = [(before, after) for before, after in pairs if after is not None]
    kinds: dict[str, list[Answered]] = {name: [] for name in ("mended", "spoilt", "malformed", "wrong", "right")}
    for before, after in common:
        kinds[_kind(before, after)].append(before)
    if not common:
        return None
    ordered = {name: _alternate(records) for name, records in kinds.items()}
    turns = [record for turn in zip_longest(*ordered.values()) for record in turn if record is not None]
    kept = {record.source for record in turns[:count]}
    shown = [record for records in ordered.values() for record in records if record.source in kept]
    return Choice(policies, shown, first, last, len(kinds["mended"]), len(kinds["spoilt"]), len(common))


def _kind(before: Answered, after: Answered) -> str:
    if before.sampled_correct != after.sampled_correct:
        return "mended" if after.sampled_correct else "spoilt"
    if after.sections is None:
        return "malformed"
    return "right" if after.sampled_correct else "wrong"


def _alternate(records: Sequence[Answered]) -> list[Answered]:
    """One record of each question, then a second of each, and so on."""
    ranked = []
    for _, group in groupby(sorted(records, key=lambda r: r.question), key=lambda r: r.question):
        ranked += list(enumerate(group))
    return [record for _, record in sorted(ranked, key=lambda pair: pair[0])]


def image_uri(path: str | None) -> str | None:
    """An image inlined; None if there is none or it cannot be read any more."""
    if path is None or not Path(path).is_file():
        return None
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except OSError:
        return None
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    kind, content = "png", _encoded(picture, "PNG")
    if len(content) > _LOSSLESS_BYTES:
        kind, content = "jpeg", _encoded(picture, "JPEG", quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=form, **options)
    return buffer.getvalue()

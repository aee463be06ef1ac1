"""What a policy answered to the held-out prompts: greedily, by n samples, and by one sample as the paper evaluates."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.engines import RolloutEngine
from prism_pl.rewards import Reward
from prism_pl.runs.files import append_lines, read_lines
from prism_pl.types import Prompt, SamplingOptions

PAPER_TOP_P = 0.7
"""With temperature 1 the sampling of the paper's evaluation (arXiv 2604.28123)."""
_PROMPTS_A_CALL = 64


@dataclass(frozen=True)
class Graded:
    """One response and its score."""

    text: str
    tokens: int
    """End token included."""
    score: float
    """In [0, 1]; above 0 is right."""


@dataclass(frozen=True)
class Answered:
    """One held-out prompt with a policy's responses."""

    row: int
    source: str
    teacher: str | None
    teacher_tokens: int | None
    greedy: Graded
    sampled: tuple[Graded, ...]
    """n samples at temperature 1."""
    nucleus: Graded
    """One sample at temperature 1 and ``PAPER_TOP_P``."""


def answer_heldout(
    engine: RolloutEngine,
    policy: str,
    data: DataFile,
    encoder: PromptEncoder,
    rows: Sequence[int],
    file: Path,
    max_new_tokens: int,
    num_samples: int,
    reward: Reward,
    seed: int,
) -> list[Answered]:
    """The prompts with their responses, sampled by ``policy`` where ``file`` lacks them; a kill costs one call's work."""
    greedy = SamplingOptions(max_new_tokens=max_new_tokens, group_size=1, temperature=0.0)
    sampled = replace(greedy, temperature=1.0, group_size=num_samples)
    nucleus = replace(sampled, group_size=1, top_p=PAPER_TOP_P)
    done = {line["row"] for line in read_lines(file)}
    todo = [row for row in rows if row not in done]
    if todo:
        engine.start(policy, encoder.max_prompt_tokens, sampled)
        with tqdm(total=len(rows), initial=len(done), desc=file.stem, unit="prompt") as bar:
            size = _PROMPTS_A_CALL * engine.num_devices
            for start in range(0, len(todo), size):
                own = todo[start : start + size]
                prompts = encoder.encode([data.prompt_row(row) for row in own])
                groups = [
                    _graded(engine, prompts, sampling, reward, seed, name)
                    for name, sampling in (("greedy", greedy), ("sampled", sampled), ("nucleus", nucleus))
                ]
                answered = [
                    Answered(
                        row=row,
                        source=prompt.source,
                        teacher=prompt.teacher,
                        teacher_tokens=None if prompt.teacher is None else len(encoder.response_ids(prompt.teacher)),
                        greedy=one[0],
                        sampled=tuple(several),
                        nucleus=other[0],
                    )
                    for row, prompt, one, several, other in zip(own, prompts, *groups, strict=True)
                ]
                append_lines(file, [json.dumps(asdict(record)) for record in answered])
                bar.update(len(own))
        engine.close()
    return read_answers(file)


def read_answers(file: Path) -> list[Answered]:
    """In the order of the rows."""
    return sorted((_record(line) for line in read_lines(file)), key=lambda record: record.row)


def _graded(
    engine: RolloutEngine, prompts: Sequence[Prompt], sampling: SamplingOptions, reward: Reward, seed: int, name: str
) -> list[list[Graded]]:
    rollouts = engine.answer(prompts, sampling, seed, "measure", name)
    scores = reward.grade(rollouts.prompts, rollouts.texts)
    return [
        [Graded(response.text, len(response.token_ids), float(score)) for response, score in zip(group, own, strict=True)]
        for group, own in zip(rollouts.responses, scores, strict=True)
    ]


def _record(line: dict[str, Any]) -> Answered:
    read = {name: Graded(**line[name]) for name in ("greedy", "nucleus")}
    return Answered(**(line | read | {"sampled": tuple(Graded(**one) for one in line["sampled"])}))

"""Responses on disk: a file for the greedy ones and one for each seed's samples, a line of JSON a question.

    {"row", "source", "question", "answer", "responses": [{"text", "tokens", "truncated", "score"}, ..]}

Whoever writes such lines, whatever has answered and graded, gets the same figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prism_pl.data.conversation import PromptRow
from prism_pl.evaluation.figures import Outcome, Scored
from prism_pl.rewards import Reward
from prism_pl.runs.files import read_lines
from prism_pl.segments import parse_response
from prism_pl.types import Prompt, SamplingOptions

Scores = dict[tuple[Path, int], list[float]]
"""Of each file and row."""
_SEED_WORD = "heldout"
"""As in EvaluationCallback: with its sampling the responses are those of a run's own evaluation."""


@dataclass(frozen=True)
class Reply:
    """One response before it is graded."""

    text: str
    tokens: int | None
    """End token included; None if whoever answered does not tell."""
    truncated: bool


@dataclass(frozen=True)
class Draw:
    """One file of responses: how they are sampled."""

    name: str
    seed: int
    sampling: SamplingOptions

    def file(self, folder: Path) -> Path:
        """Where they are."""
        return folder / f"{self.name}.jsonl"

    def settings_file(self, folder: Path) -> Path:
        """What they depend on is beside them."""
        return folder / f"{self.name}.json"

    @property
    def seed_words(self) -> tuple[int, str]:
        """What a prompt's random stream is a function of, beside the prompt."""
        return self.seed, _SEED_WORD


def graded(prompts: Sequence[Prompt], replies: Sequence[Sequence[Reply]], reward: Reward) -> list[dict[str, Any]]:
    """The lines of some questions, without their rows."""
    scores = reward.grade(prompts, [[reply.text for reply in group] for group in replies])
    return [
        {
            "source": prompt.source,
            "question": prompt.question,
            "answer": prompt.answer,
            "responses": [
                {"text": reply.text, "tokens": reply.tokens, "truncated": reply.truncated, "score": float(score)}
                for reply, score in zip(group, own, strict=True)
            ],
        }
        for prompt, group, own in zip(prompts, replies, scores, strict=True)
    ]


def read_outcomes(
    greedy: Path | None,
    samples: Sequence[Path],
    rows: Sequence[int],
    groups: dict[int, str],
    scores: Scores | None = None,
) -> list[Outcome]:
    """The questions of ``rows`` that every file has; the samples of several seeds one after the other.

    ``scores`` are taken instead of those in the files.
    """
    files = ([greedy] if greedy else []) + list(samples)
    answered = [{line["row"]: line for line in read_lines(file)} for file in files]
    outcomes = []
    for row in rows:
        lines = [found[row] for found in answered if row in found]
        if len(lines) < len(answered):
            continue
        given = [
            [one["score"] for one in line["responses"]] if scores is None else scores[file, row]
            for file, line in zip(files, lines, strict=True)
        ]
        read = [
            [_scored(one, score) for one, score in zip(line["responses"], own, strict=True)]
            for line, own in zip(lines, given, strict=True)
        ]
        best = read.pop(0)[0] if greedy else None
        drawn = tuple(one for responses in read for one in responses)
        outcomes.append(Outcome(lines[0]["source"], groups[row], best, drawn))
    return outcomes


def gradable(row: PromptRow) -> Prompt:
    """What a reward looks at; nothing is tokenised here."""
    return Prompt(
        source=row.source, question=row.question, input_ids=(), engine_ids=(),
        positions_3T=torch.zeros(3, 0, dtype=torch.long), answer=row.answer, also_right=row.also_right, options=row.options,
    )  # fmt: skip


def _scored(response: dict[str, Any], score: float) -> Scored:
    well_formed = parse_response(response["text"]) is not None
    return Scored(score, response["tokens"], well_formed, response["truncated"])

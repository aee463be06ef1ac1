"""What is scored: the segments of a batch, and their scores by role.

Teacher and policy take the same path from text to segment, and end in the same token. A malformed response has no segments,
so it has no scores.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from prism_pl.discriminators.reading import Reading
from prism_pl.discriminators.routing import Usage
from prism_pl.errors import UserError
from prism_pl.model.packing import Group, PackedBatch, make_groups
from prism_pl.segments import Sections, parse_response, segment_ids
from prism_pl.types import ASPECTS, Prompt


@dataclass(frozen=True)
class ScoringBatch:
    """Everything the discriminator reads of a batch, N segments in prompt-major order: teacher first, then the policy."""

    groups: list[Group]
    aspect_N: torch.Tensor
    """Which aspect each segment is scored for."""
    teacher_PK: torch.Tensor
    """Index in N of the teacher's segments."""
    policy_PGK: torch.Tensor
    """Index in N of each response's segments, 0 where malformed."""
    valid_PG: torch.Tensor
    """False for malformed responses, and where a prompt has fewer responses than others."""


@dataclass(frozen=True)
class Scores:
    """Scores of a batch; ``policy_PGK`` is 0 where ``valid_PG`` is False."""

    teacher_PK: torch.Tensor
    policy_PGK: torch.Tensor
    valid_PG: torch.Tensor

    @property
    def margin_MK(self) -> torch.Tensor:
        """Teacher minus policy for the M pairs with a well-formed response: the reward gap is its mean."""
        return (self.teacher_PK[:, None] - self.policy_PGK)[self.valid_PG]

    def part(self, prompts: slice, responses: slice) -> "Scores":
        """Of some prompts and some of their responses."""
        return Scores(self.teacher_PK[prompts], self.policy_PGK[prompts, responses], self.valid_PG[prompts, responses])


def make_scoring_batch(
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    reading: Reading,
    last_tokens: int | None = None,
) -> ScoringBatch:
    """Segments of the teacher and of all well-formed responses of each prompt (P lists of at most G texts).

    ``last_tokens`` shortens every segment to its end, for the test that nothing but content tells the roles apart.
    """
    segments: list[list[tuple[int, ...]]] = []
    teacher, policy = [], []
    count, size = 0, max(len(texts) for texts in responses)

    def pieces(sections: Sections) -> list[tuple[int, ...]]:
        perception, reasoning = segment_ids(sections, tokenizer, reading.reasoning_sees_caption)
        return [ids[-last_tokens:] if last_tokens else ids for ids in (perception, reasoning)]

    for prompt, texts in zip(prompts, responses, strict=True):
        reference = parse_response(prompt.teacher or "")
        if reference is None:
            raise UserError(
                f"{prompt.source}: the teacher's response is missing or malformed. Alignment needs a `teacher` with the "
                f"sections caption, think and answer, once each and in this order."
            )
        own = pieces(reference)
        teacher.append([count, count + 1])
        indices: list[list[int] | None] = []
        for text in texts:
            sections = parse_response(text)
            indices.append([count + len(own), count + len(own) + 1] if sections else None)
            if sections:
                own += pieces(sections)
        segments.append(own)
        policy.append(indices + [None] * (size - len(texts)))
        count += len(own)
    return ScoringBatch(
        groups=make_groups([reading.show(prompt) for prompt in prompts], segments),
        aspect_N=torch.arange(count) % len(ASPECTS),
        teacher_PK=torch.tensor(teacher),
        policy_PGK=torch.tensor([[index or [0, 0] for index in row] for row in policy]),
        valid_PG=torch.tensor([[index is not None for index in row] for row in policy]),
    )


def arrange(score_N: torch.Tensor, scoring: ScoringBatch) -> Scores:
    """Scores by role."""
    policy_PGK = score_N[scoring.policy_PGK] * scoring.valid_PG[:, :, None]
    return Scores(score_N[scoring.teacher_PK], policy_PGK, scoring.valid_PG)


@torch.no_grad()
def score_batch(
    discriminator: torch.nn.Module, scoring: ScoringBatch, rounds: Iterable[tuple[PackedBatch, bool]]
) -> tuple[torch.Tensor, Usage | None]:
    """``(score_N, usage)`` on the CPU: the one way to score, for warm-up, reward, update and report.

    ``rounds`` are the packed micro-batches of ``trial.groups`` on the discriminator's device, each with whether it counts.
    """
    score_N = torch.zeros(len(scoring.aspect_N))
    usage: Usage | None = None
    for packed, counts in rounds:
        aspect_B = scoring.aspect_N.to(packed.order_B.device)[packed.order_B]
        score_B, part = discriminator(packed, aspect_B)
        if counts:
            score_N[packed.order_B.cpu()] = score_B.cpu()
            usage = part if usage is None or part is None else usage + part
    return score_N, usage

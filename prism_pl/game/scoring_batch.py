"""What is scored: the segments of a batch, and their scores by role.

Teacher and policy take the same path from text to segment, and end in the same token. A malformed response has no segments,
so it has no scores.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from prism_pl.discriminators import Reading, Scorer
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
    def lost_PG(self) -> torch.Tensor:
        """True for well-formed responses of which some score is NaN or infinite: no advantage can be had from it."""
        return self.valid_PG & ~self.policy_PGK.isfinite().all(-1)

    @property
    def margin_MK(self) -> torch.Tensor:
        """Teacher minus policy for the M pairs with a well-formed response: the reward gap is its mean."""
        return (self.teacher_PK[:, None] - self.policy_PGK)[self.valid_PG]

    @property
    def columns(self) -> dict[str, torch.Tensor]:
        """Scores (P, G) of the responses by aspect, NaN where there is none that is finite."""
        score_PGK = self.policy_PGK.masked_fill((~self.valid_PG | self.lost_PG)[..., None], torch.nan)
        return dict(zip(ASPECTS, score_PGK.unbind(-1), strict=True))

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


def arrange(score_N: torch.Tensor, batch: ScoringBatch) -> Scores:
    """Scores by role."""
    # Not by a product: a malformed response points at the teacher's segment, and 0 times NaN is NaN.
    policy_PGK = score_N[batch.policy_PGK].masked_fill(~batch.valid_PG[:, :, None], 0.0)
    return Scores(score_N[batch.teacher_PK], policy_PGK, batch.valid_PG)


@dataclass(frozen=True)
class Scored:
    """What one pass over a scoring batch gives."""

    score_N: torch.Tensor
    """The score of each segment, on the CPU."""
    usage: Usage | None
    """How the segments' tokens used a mixture's experts; None of a dense network."""


@torch.no_grad()
def score(scorer: Scorer, batch: ScoringBatch, micro_batches: Iterable[tuple[PackedBatch, bool]]) -> Scored:
    """The one way to score, for warm-up, reward, update and report.

    ``micro_batches`` are those of ``batch.groups`` on the scorer's device, each with whether it is filler.
    """
    score_N = torch.zeros(len(batch.aspect_N))
    usage: Usage | None = None
    for packed, is_filler in micro_batches:
        score_B, part = scorer(packed, _aspects(batch, packed, is_filler))
        if not is_filler:
            score_N[packed.order_B.cpu()] = score_B.cpu()
            usage = part if usage is None or part is None else usage + part
    return Scored(score_N, usage)


def differentiate(
    scorer: Scorer,
    batch: ScoringBatch,
    gradient_N: torch.Tensor,
    micro_batches: Iterable[tuple[PackedBatch, bool]],
    backward: Callable[[torch.Tensor], None],
    routing_loss: Callable[[Usage], torch.Tensor] | None = None,
    backward_filler: Callable[[torch.Tensor], None] | None = None,
) -> None:
    """The gradient of a loss of all scores, micro-batch by micro-batch: the one way to differentiate.

        dL/dtheta = sum_n dL/dscore_n . dscore_n/dtheta

    A pair's two segments may lie in different micro-batches, so the loss is differentiated in two exact steps:
    ``gradient_N`` is dL/dscore, known from a pass without gradient; ``backward`` gets the micro-batch's dL/dscore . score,
    ``backward_filler``, which a single process does not need, a filler's scores. ``routing_loss`` is added for a mixture.
    """
    for packed, is_filler in micro_batches:
        score_B, usage = scorer(packed, _aspects(batch, packed, is_filler))
        if is_filler:
            assert backward_filler is not None
            backward_filler(score_B)
            continue
        surrogate = (gradient_N.to(score_B)[packed.order_B] * score_B).sum()
        if routing_loss is not None and usage is not None:
            surrogate = surrogate + routing_loss(usage)
        backward(surrogate)


def _aspects(batch: ScoringBatch, packed: PackedBatch, is_filler: bool) -> torch.Tensor:
    return torch.zeros_like(packed.order_B) if is_filler else aspects_of(batch, packed)


def aspects_of(batch: ScoringBatch, packed: PackedBatch) -> torch.Tensor:
    """The aspect (B,) that each packed segment is scored for."""
    return batch.aspect_N.to(packed.order_B.device)[packed.order_B]

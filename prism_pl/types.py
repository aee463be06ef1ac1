"""Records that pass between the parts, and the legend of the shape suffixes.

    P  prompts of a batch        G  responses a prompt (the group)    B  responses, B = P * G, prompt-major; segments
    T  tokens of the longest one N  any flat count; packed tokens     V  vocabulary
    K  aspects that are scored (perception, reasoning)                M  pairs
    Q  prompts of all ranks      J  in-batch negatives of a prompt    R  ranks
    L  layers                    E  experts of a mixture              C  kinds of token (prompt, perception, reasoning)
    H  width of a hidden state   A  attention heads                   D  width of a head
    U  tokens of the longest prefix                                   S  keys that a query may see

In packing and attention a segment is what a response is to the policy, hence B. ``logp_CV`` in logprobs.py: C is a chunk.

A name ends in the axes of its tensor: ``logp_BT`` is (responses, tokens). A name without a suffix is a scalar or no tensor.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image

from prism_pl.ranges import NonNegativeFloat, PositiveInt, PositiveShare

ASPECTS = ("perception", "reasoning")
"""The K aspects that are scored, in the order of every ``_K`` axis."""


@dataclass(frozen=True)
class Prompt:
    """One question about its images, tokenised once: trainer and engine both start from these ids."""

    source: str
    """Where it came from, ``file:row``; errors name it."""
    question: str
    """The user's text, without image placeholders."""
    input_ids: tuple[int, ...]
    """Token ids up to and including the assistant's header, one id per image patch group."""
    engine_ids: tuple[int, ...]
    """The same with one placeholder an image: the engine expands it, and must arrive at ``input_ids``."""
    positions_3T: torch.Tensor
    """M-RoPE positions (temporal, height, width) of ``input_ids``."""
    images: tuple[Image.Image, ...] = ()
    image_paths: tuple[str, ...] = ()
    """Where the images came from; for bytes in a data file the row."""
    pixel_values: torch.Tensor | None = None
    """(patches, patch features), or None without images."""
    image_grid: torch.Tensor | None = None
    """(images, 3): temporal, height and width in patches."""
    answer: str | None = None
    """The verifiable answer."""
    also_right: tuple[str, ...] = ()
    """Further answers that are as right as ``answer``."""
    options: tuple[str, ...] = ()
    """Of a multiple-choice question, in their order; with its own mark (``B. a cat``) or without."""
    teacher: str | None = None
    """The teacher's response."""
    learnt: tuple[tuple[int, int], ...] = ()
    """Of a demonstration: from where to before where in ``input_ids`` earlier turns are learnt, end tokens included."""

    @property
    def answers(self) -> tuple[str, ...]:
        """All that are right; one empty text if none is known."""
        return (self.answer or "", *self.also_right)

    @property
    def num_learnt(self) -> int:
        """Tokens of the earlier turns that are learnt."""
        return sum(end - start for start, end in self.learnt)


@dataclass(frozen=True)
class Response:
    """One sampled response."""

    token_ids: tuple[int, ...]
    """Generated ids, the end token included when it was generated."""
    engine_logp: tuple[float, ...]
    """Log-probability of each id under the engine's weights and temperature."""
    text: str
    """Decoded without special tokens."""
    truncated: bool
    """Cut at the length limit."""
    version: int = 0
    """Updates that the weights had which sampled it."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How responses are sampled from the policy."""

    max_new_tokens: PositiveInt
    """Length limit of a response, in tokens."""
    group_size: PositiveInt = 16
    """G, responses a prompt."""
    temperature: NonNegativeFloat = 1.0
    """Softmax temperature; 0 is greedy."""
    top_p: PositiveShare = 1.0
    """Samples from the smallest set of tokens with this probability together; 1 is all. Rollouts take 1 only: the trainer's
    log-probabilities are those of all tokens."""


@dataclass(frozen=True)
class Rollouts:
    """P prompts with G sampled responses each."""

    prompts: tuple[Prompt, ...]
    responses: tuple[tuple[Response, ...], ...]
    sampling: SamplingOptions
    """How they were sampled."""
    places: tuple[int, ...] | None = None
    """Each prompt's place in the whole batch, over all ranks; None: rank r of w has every w-th from r on."""

    @cached_property
    def texts(self) -> list[list[str]]:
        """P lists of G decoded responses."""
        return [[response.text for response in group] for group in self.responses]

    @cached_property
    def length_PG(self) -> torch.Tensor:
        """Tokens of each response."""
        return torch.tensor([[len(response.token_ids) for response in group] for group in self.responses])

    @cached_property
    def flat_responses(self) -> list[Response]:
        """The B responses, prompt-major."""
        return [response for group in self.responses for response in group]


@dataclass
class PromptBatch:
    """P prompts as the data module gives them; the rollout callback fills ``rollouts`` before the step.

    Its prompts need not be those of ``rollouts``: an algorithm may have a group replaced that carries no signal.
    """

    prompts: list[Prompt]
    rollouts: Rollouts | None = None


@dataclass(frozen=True)
class Sample:
    """One response as the sample log keeps it."""

    source: str
    question: str
    image: str | None
    response: str
    tokens: int
    truncated: bool
    advantage: float
    reward: float | None = None
    accuracy: float | None = None
    perception: float | None = None
    """Perception score; None without a discriminator or for a malformed response."""
    reasoning: float | None = None


@dataclass(frozen=True)
class Demonstration:
    """One supervised sample: a prompt and the ids of its response, end token included."""

    prompt: Prompt
    response_ids: tuple[int, ...]

    @property
    def num_learnt(self) -> int:
        """Tokens that the loss is over: the response's, and those of earlier turns."""
        return len(self.response_ids) + self.prompt.num_learnt


@dataclass(frozen=True)
class Pair:
    """A prompt with its teacher's response, and the policy's: what the discriminator is warmed up on."""

    prompt: Prompt
    policy: str

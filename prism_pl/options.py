"""Groups of options that several stages share. Each field is documented once, below it, and so in ``--help``."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How responses are sampled from the policy."""

    max_new_tokens: int
    """Length limit of a response, in tokens."""
    group_size: int = 16
    """G, responses a prompt."""
    temperature: float = 1.0
    """Softmax temperature; 0 is greedy."""


@dataclass(frozen=True, kw_only=True)
class FreezeOptions:
    """Parts of the policy that are not trained (LLaMA-Factory's defaults, which PRISM's SFT used)."""

    vision_tower: bool = True
    projector: bool = True
    language_model: bool = False


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """The learning rate over policy updates."""

    kind: str = "constant"
    """``constant`` or ``cosine`` (to zero)."""
    warmup_ratio: float = 0.0
    """Share of the updates over which the rate rises linearly from zero."""
    warmup_steps: int = 0
    """The same in updates; used when ``warmup_ratio`` is 0."""


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """The proof that the engine samples from the trainer's weights."""

    every: int = 10
    """In policy updates; the probe also runs before the first one and after a resume."""
    max_gap: float = 1e-4
    """Largest |log p (engine) - log p (trainer)| over the probe's tokens. 1e-4 suits fp32; bf16 needs about 0.3."""


@dataclass(frozen=True, kw_only=True)
class CadenceOptions:
    """Who learns when, in rollout batches."""

    discriminator_every: int = 1
    """Batches from one update of the discriminator to the next."""
    discriminator_updates: int = 1
    """Its updates on such a batch."""
    policy_delay: int = 0
    """Batches at the start on which only the discriminator learns (GAD, arXiv 2511.10643, takes 10)."""


@dataclass(frozen=True, kw_only=True)
class ReuseOptions:
    """How often the policy learns from a rollout batch. With one update every ratio is 1, and no clip acts."""

    mini_batches: int = 1
    """Updates in one pass over the batch, each on its share of the prompts."""
    epochs: int = 1
    """Passes over the batch."""


@dataclass(frozen=True, kw_only=True)
class MismatchOptions:
    """Correction for the difference between the engine's and the trainer's probabilities."""

    level: Literal["token", "sequence"] = "token"
    """Weights of single tokens, or the product over a response for all of its tokens."""
    action: Literal["truncate", "mask", "off"] = "truncate"
    """``truncate`` weights at ``cap``; ``mask`` takes out those outside of ``low`` to ``cap``; ``off`` has none."""
    cap: float = 2.0
    """Largest weight (TRL's default)."""
    low: float = 0.5
    """Smallest weight that ``mask`` keeps."""

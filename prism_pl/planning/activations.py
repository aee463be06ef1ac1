"""Bytes that forward and backward hold of a packed micro-batch, counted from the operations of transformers' layers.

What autograd saves of a text layer, for each token, in numbers of the widths H (hidden), Q (queries), K (keys), I (feed-forward)
and of S, the keys that a token's bucket holds for each token (1 for a lone segment, more where a prompt is repeated):

    fp32        6 H + 5 Q + 2 K + 2 Q S + 4 I           of 4 bytes
    autocast    26 H + 12 Q + 6 K + 4 Q S + 8 I         bytes: norms and the residual stream stay fp32

of a mixture's feed-forward part with top-k experts, whose weights are fp32: 4 (2 k H + 4 k I) + its input; and of a vision block,
for each patch, 44 h + 8 i bytes in fp32 and 26 h + 4 i under autocast. With checkpointing a layer keeps its input alone, and one
layer at a time has all of this, with the gradients that pass through it on top.
"""

from dataclasses import dataclass

from prism_pl.model.logprobs import CHUNK_TOKENS
from prism_pl.planning.architecture import Architecture

FP32, BF16 = 4, 2


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A micro-batch of N packed tokens."""

    tokens: int
    targets: int
    """Tokens whose log-probability is wanted; 0 of a discriminator."""
    images: int
    """Tokens of images among them."""
    keys: float
    """S."""
    mask: float = 0.0
    """Elements of the buckets' masks."""

    @classmethod
    def of(cls, max_tokens: int, prompt: int, segment: int, segments: int, image_share: float, *, learnt: bool) -> "Shape":
        """Of prompts with so many segments each, packed into at most ``max_tokens`` tokens, as ``packing.micro_batches``
        does: a group over the limit is split and its prompt repeated."""
        fitting = max(1, min(segments, (max_tokens - prompt) // max(segment, 1)))
        group = prompt + fitting * segment
        groups = max(1, max_tokens // group)
        lone = fitting == 1
        keys = 1.0 if lone else (prompt + fitting * (prompt + segment)) / group
        mask = 0.0 if lone else float(groups * fitting * segment * (prompt + segment))
        tokens = groups * group
        targets = groups * fitting * segment if learnt else 0
        return cls(
            tokens=tokens, targets=targets, images=round(groups * prompt * image_share), keys=keys, mask=mask
        )  # fmt: skip


@dataclass(frozen=True)
class Held:
    """Bytes of activations at the two places where a pass holds most."""

    inside: float
    """In the middle of a layer's backward pass."""
    at_head: float
    """When the head begins its backward pass."""
    logits: float
    """Of the head's chunk, at that place."""


def held(arch: Architecture, shape: Shape, *, autocast: bool, checkpointing: bool, tower: bool = True) -> Held:
    """Of a training pass. ``tower`` is whether a gradient goes through the vision tower."""
    patches = shape.images * arch.merge**2
    text, vision = _text_saved(arch, shape.keys, autocast), _vision_saved(arch, autocast)
    cast = BF16 if autocast else 0
    copies = cast * (arch.attention + (0 if arch.experts else arch.feed_forward))
    if checkpointing:
        kept = arch.layers * FP32 * arch.hidden * shape.tokens
        kept += arch.vision_layers * (BF16 if autocast else FP32) * arch.vision_hidden * patches if tower else 0
        layer = text * shape.tokens + copies
    else:
        kept = arch.layers * (text * shape.tokens + copies)
        kept += arch.vision_layers * (vision * patches + cast * arch.vision_block) if tower else 0
        layer = 0.0
    # The mask is kept as booleans, and once more as what the kernel adds.
    kept += shape.mask * (1 + cast)
    kept += _merger_saved(arch, autocast) * shape.images if tower else 0
    last = 3 * FP32 * arch.hidden * shape.tokens + FP32 * arch.hidden * shape.targets
    return Held(
        inside=kept + layer + _passing(arch, shape.keys, autocast) * shape.tokens,
        at_head=kept + last + FP32 * arch.hidden * (shape.tokens + shape.targets),
        logits=_logits(arch, shape, autocast),
    )


def forward_only(arch: Architecture, shape: Shape, *, autocast: bool) -> float:
    """Of a pass without gradient: one layer's forward, and a head's chunk."""
    width = BF16 if autocast else FP32
    stream = 3 * FP32 * arch.hidden
    attention = stream + (FP32 + width) * arch.query * (1 + 2 * shape.keys) + 2 * FP32 * arch.query
    inner = FP32 * (4 * arch.top_k * arch.inner + 2 * arch.top_k * arch.hidden) if arch.experts else 3 * width * arch.inner
    copies = BF16 * arch.layer if autocast and not arch.experts else 0
    chunk = 3 * FP32 * arch.vocabulary * min(CHUNK_TOKENS, shape.targets)
    return max(attention, stream + inner) * shape.tokens + copies + shape.mask + chunk


def _text_saved(arch: Architecture, keys: float, autocast: bool) -> float:
    h, q, k, i = arch.hidden, arch.query, arch.key, arch.inner
    if arch.experts:
        inside = FP32 * arch.top_k * (2 * h + 4 * i)
        return inside + (
            24 * h + 12 * q + 6 * k + 4 * q * keys if autocast else FP32 * (6 * h + 5 * q + 2 * k + 2 * q * keys)
        )
    if autocast:
        return 26 * h + 12 * q + 6 * k + 4 * q * keys + 8 * i
    return FP32 * (6 * h + 5 * q + 2 * k + 2 * q * keys + 4 * i)


def _passing(arch: Architecture, keys: float, autocast: bool) -> float:
    """Gradients on their way through a layer, for each token: of the feed-forward part, where all that is saved is there."""
    if arch.experts:
        return FP32 * (2 * arch.hidden + arch.top_k * (2 * arch.hidden + 4 * arch.inner))
    return 2 * FP32 * arch.hidden + 2 * (BF16 if autocast else FP32) * arch.inner


def _vision_saved(arch: Architecture, autocast: bool) -> float:
    h, i = arch.vision_hidden, arch.vision_inner
    return 26 * h + 4 * i if autocast else FP32 * (11 * h + 2 * i)


def _merger_saved(arch: Architecture, autocast: bool) -> float:
    wide = arch.merge**2 * arch.vision_hidden
    return (1 + arch.deepstack) * ((BF16 if autocast else FP32) * (3 * wide + arch.hidden) + FP32 * wide)


def _logits(arch: Architecture, shape: Shape, autocast: bool) -> float:
    """A chunk computed again, its gradient, and the head's bf16 copy and gradient."""
    if arch.score_heads:
        return 0.0
    chunk = min(CHUNK_TOKENS, shape.targets) * arch.vocabulary
    return 7 * FP32 * chunk + (2 * BF16 * arch.embedding if autocast else 0)

"""Bytes that forward and backward hold of a packed micro-batch, counted from the operations of transformers' layers.

What autograd saves of a text layer, for each token, in numbers of the widths H (hidden), Q (queries), K (keys),
I (feed-forward) and of S, the keys that attention holds for each token (1 for a lone segment, more where prompts repeat):

    fp32    4 (6 H + 5 Q + 2 K + 2 Q S + 4 I)             bf16    20 H + 12 Q + 6 K + 4 Q S + 8 I: norms work in fp32

in a mixture's layer 2 k H + 4 k I in the place of 4 I, for the top k experts; and of a vision block, for each patch,
11 h + 2 i numbers. With checkpointing a layer keeps its input alone, and one layer at a time has all of this, with the
gradients that pass through it on top.
"""

from dataclasses import dataclass

from prism_pl.model.logprobs import TILING
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


def held(arch: Architecture, shape: Shape, *, width: int, checkpointing: bool, tower: bool = True) -> Held:
    """Of a training pass in numbers of ``width`` bytes. ``tower`` is whether a gradient goes through the vision tower."""
    patches = shape.images * arch.merge**2
    text = _text_saved(arch, shape.keys, width)
    vision = width * (11 * arch.vision_hidden + 2 * arch.vision_inner)
    if checkpointing:
        kept = float(width * arch.layers * arch.hidden * shape.tokens)
        kept += width * arch.vision_layers * arch.vision_hidden * patches if tower else 0
        layer = text * shape.tokens + width * shape.mask
    else:
        kept = arch.layers * (text * shape.tokens + width * shape.mask) + (
            arch.vision_layers * vision * patches if tower else 0
        )
        layer = 0.0
    # The mask is kept as booleans, and in each layer as what the kernel adds to its products.
    kept += shape.mask + FP32 * arch.patch_inputs * patches
    kept += _merger_saved(arch, width) * shape.images if tower else 0
    norm = (FP32 + 2 * width) * arch.hidden * shape.tokens
    return Held(
        inside=kept + layer + _passing(arch, width) * shape.tokens,
        at_head=kept + norm + width * arch.hidden * (shape.tokens + 2 * shape.targets),
        logits=_logits(arch, shape),
    )


def forward_only(arch: Architecture, shape: Shape, *, width: int) -> float:
    """Of a pass without gradient: one layer's forward, and a head's chunk."""
    stream = (FP32 + 2 * width) * arch.hidden
    attention = stream + width * arch.query * (4 + 4 * shape.keys)
    inner = 4 * arch.top_k * arch.inner + 2 * arch.top_k * arch.hidden if arch.experts else 3 * arch.inner
    chunk = 0 if arch.score_heads else 2 * FP32 * min(TILING["cuda"].tile, arch.vocabulary * shape.targets)
    return max(attention, stream + width * inner) * shape.tokens + shape.mask + chunk


def _text_saved(arch: Architecture, keys: float, width: int) -> float:
    h, q, k, i, top = arch.hidden, arch.query, arch.key, arch.inner, arch.top_k
    # Norms keep their input as fp32; a router reads it once more.
    cast = 0 if width == FP32 else FP32 * (2 * h + q + k)
    inner = 2 * top * h + 4 * top * i if arch.experts else 4 * i
    router = FP32 * h if arch.experts and width != FP32 else 0
    own = (6 * h + 5 * q + 2 * k) if width == FP32 else (6 * h + 4 * q + k)
    return cast + router + width * (own + 2 * q * keys + inner)


def _passing(arch: Architecture, width: int) -> float:
    """Gradients on their way through the feed-forward part, a token's, when all that is saved is there."""
    # What the experts have put out is dead when their widest gradients are there.
    return width * (arch.hidden + 2 * arch.top_k * arch.inner if arch.experts else 2 * arch.hidden + 2 * arch.inner)


def _merger_saved(arch: Architecture, width: int) -> float:
    wide = arch.merge**2 * arch.vision_hidden
    return (1 + arch.deepstack) * width * (4 * wide + arch.hidden)


def _logits(arch: Architecture, shape: Shape) -> float:
    """A chunk computed again, and its gradient."""
    if arch.score_heads:
        return 0.0
    return 3 * FP32 * min(TILING["cuda"].tile, shape.targets * arch.vocabulary)

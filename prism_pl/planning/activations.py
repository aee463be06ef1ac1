"""Bytes that forward and backward hold of a packed micro-batch, counted from the operations of transformers' layers.

What autograd saves of a text layer, for each token, in numbers of the widths H (hidden), Q (queries), K (keys) and
I (feed-forward), A and B being the heads of queries and of keys:

    fp32    4 (6 H + 4 Q + 4 K + 4 I + 2 A + B + 2)
    bf16    16 H + 10 Q + 10 K + 8 I + 8 A + 4 B + 8, for norms work in fp32

Of attention these are q, k, v, the merged output and one logarithm of a sum a head, however many segments share a prompt.
In a mixture's layer 2 k H + 4 k I stand in the place of 4 I, for the top k experts; a vision block has 11 h + 2 i numbers
a patch. With checkpointing a layer keeps its input alone, and one layer at a time has all of this, with the gradients that
pass through it on top. If inputs
wait on the host, two are on the device: the layer's, and the next one's on its way.
The head holds what its tiling says (prism_pl/model/logprobs.py).
"""

from dataclasses import dataclass

from prism_pl.model.attention import BLOCK
from prism_pl.model.logprobs import TILING
from prism_pl.planning.architecture import Architecture

FP32, BF16 = 4, 2


@dataclass(frozen=True, kw_only=True)
class Pass:
    """How a network goes through a micro-batch."""

    device: str
    """``cpu`` or ``cuda``."""
    width: int
    """Bytes of a number of weights as they are gathered, and of activations."""
    shards: bool
    """Whether weights are gathered for it."""
    ranks: int = 1
    """Over which they are shared out."""
    offload: bool = False
    """Whether shards come from the host, where the optimizer steps."""
    likelihood: bool = False
    """Whether the head's loss is the sum of all log-probabilities, whose gradient is taken going forward."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A micro-batch of N packed tokens."""

    tokens: int
    targets: int
    """Tokens whose log-probability is wanted; 0 of a discriminator."""
    images: int
    """Tokens of images among them."""

    @classmethod
    def of(
        cls, max_tokens: int, prompt: int, segment: int, segments: int, image_share: float, *, learnt: bool, padded: bool
    ) -> "Shape":
        """Of prompts with so many segments each, packed into at most ``max_tokens`` tokens, as ``packing.micro_batches``
        does: a group over the limit is split and its prompt repeated. ``padded`` up to the limit and to whole blocks, as
        for FlexAttention."""
        fitting = max(1, min(segments, (max_tokens - prompt) // max(segment, 1)))
        group = prompt + fitting * segment
        groups = max(1, max_tokens // group)
        tokens = groups * group
        targets = groups * fitting * segment if learnt else 0
        if padded:
            tokens = -(-max(max_tokens, tokens) // BLOCK) * BLOCK
        return cls(tokens=tokens, targets=targets, images=round(groups * prompt * image_share))


@dataclass(frozen=True)
class Held:
    """Bytes of activations at the two places where a pass holds most."""

    inside: float
    """In the middle of a layer's backward pass."""
    at_head: float
    """While the head takes gradients."""
    logits: float
    """The head's own, at that place."""


def held(
    arch: Architecture, shape: Shape, own: Pass, *, checkpointing: bool, tower: bool = True, offload: bool = False
) -> Held:
    """Of a training pass. ``tower`` is whether a gradient goes through the vision tower, ``offload`` whether what
    checkpointing keeps waits on the host; a CPU's is there anyway."""
    width, patches = own.width, shape.images * arch.merge**2
    text = layer_saved(arch, width)
    vision = width * (11 * arch.vision_hidden + 2 * arch.vision_inner)
    if checkpointing:
        kept = layer_inputs(arch, shape, width, tower=tower)
        if offload and own.device == "cuda":
            kept = min(kept, 2.0 * width * arch.hidden * shape.tokens)
        layer = text * shape.tokens
    else:
        kept = float(arch.layers * text * shape.tokens) + (arch.vision_layers * vision * patches if tower else 0)
        layer = 0
    kept += FP32 * arch.patch_inputs * patches
    kept += _merger_saved(arch, width) * shape.images if tower else 0
    norm = (FP32 + 2 * width) * arch.hidden * shape.tokens
    # What the head reads, and its gradient's sum; a product that is rounded stands beside it in fp32.
    read = width * arch.hidden * (shape.tokens + shape.targets)
    read += FP32 * arch.hidden * shape.targets * (1 if width == FP32 else 2)
    return Held(
        inside=kept + layer + _passing(arch, width) * shape.tokens,
        at_head=kept + norm + read,
        logits=_logits(arch, shape, own),
    )


def layer_inputs(arch: Architecture, shape: Shape, width: int, *, tower: bool) -> float:
    """What checkpointing keeps."""
    patches = shape.images * arch.merge**2 if tower else 0
    return float(width * (arch.layers * arch.hidden * shape.tokens + arch.vision_layers * arch.vision_hidden * patches))


def forward_only(arch: Architecture, shape: Shape, *, width: int) -> float:
    """Of a discriminator's pass without gradient: one layer's forward."""
    stream = (FP32 + 2 * width) * arch.hidden
    # A norm over queries: its input as fp32, a square or product of it, and what came in.
    attention = stream + (2 * FP32 + width) * arch.query
    inner = 4 * arch.top_k * arch.inner + 2 * arch.top_k * arch.hidden if arch.experts else 3 * arch.inner
    return max(attention, stream + width * inner) * shape.tokens


def layer_saved(arch: Architecture, width: int) -> int:
    """What autograd saves of a text layer, for a token."""
    h, q, k, i, top = arch.hidden, arch.query, arch.key, arch.inner, arch.top_k
    # Norms keep their input as fp32; a router reads it once more.
    cast = 0 if width == FP32 else FP32 * (2 * h + q + k)
    own = (6 * h + 4 * q + 4 * k) if width == FP32 else (4 * h + 3 * q + 3 * k)
    inner = 2 * top * h + 4 * top * i if arch.experts else 4 * i
    router = FP32 * h if arch.experts and width != FP32 else 0
    # Norms' roots of each token and head, and attention's sums.
    roots = FP32 * (2 * arch.heads + arch.kv_heads + 2)
    return cast + router + roots + width * (own + inner)


def _passing(arch: Architecture, width: int) -> float:
    """Gradients on their way through the feed-forward part, a token's, when all that is saved is there."""
    # What the experts have put out is dead when their widest gradients are there.
    return width * (arch.hidden + 2 * arch.top_k * arch.inner if arch.experts else 2 * arch.hidden + 2 * arch.inner)


def _merger_saved(arch: Architecture, width: int) -> float:
    wide = arch.merge**2 * arch.vision_hidden
    return (1 + arch.deepstack) * width * (4 * wide + arch.hidden)


def _logits(arch: Architecture, shape: Shape, own: Pass) -> float:
    """A tile in fp32 and its gradient, rounded for the next product; of a likelihood those tiles that wait for the sum over
    the vocabulary."""
    if arch.score_heads or not shape.targets:
        return 0.0
    tiling, words = TILING[own.device], arch.vocabulary
    tile = min(tiling.tile, shape.targets * words)
    # A GPU does it in one kernel.
    gradient = (own.width if own.device == "cuda" else FP32) * tile
    if not own.likelihood:
        return float(FP32 * tile + gradient)
    together = min(shape.targets, max(1, tiling.held // words))
    product = 0 if own.width == FP32 else FP32 * arch.hidden * max(together, min(words, tiling.tile // together))
    return float(FP32 * together * words + gradient + product)

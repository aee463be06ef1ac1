"""Log-probabilities and entropies of chosen tokens without ever holding a (tokens x vocabulary) matrix.

    z_t = W h_t / tau,   l_t = log sum_v exp z_tv,   p_t = exp(z_t - l_t)
    logp_t = z_t[y_t] - l_t                  d logp_t / dz_t = onehot(y_t) - p_t
    H_t = - sum_v p_tv log p_tv              dH_t / dz_tv    = - p_tv (log p_tv + H_t)

``token_logprobs`` forms the logits of all tokens for a tile of the vocabulary at a time, in fp32, and again in the backward
pass: each row of dW is then written once, by one product over all tokens. ``log_likelihood`` forms them once. Its gradient
is known as soon as a token's l is, so it takes some tokens at a time and their whole vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.distributed.tensor import DTensor

SUPPRESSED_LOGIT = -1e4
"""Of a token that is never generated: its probability is exactly 0 in fp32, and 0 times it is still 0."""


@dataclass(frozen=True)
class Tiling:
    """How many logits are held at once. Results do not depend on it."""

    tile: int
    """Logits that are formed by one product: of all tokens, for as many words as they allow."""
    held: int
    """Logits that ``log_likelihood`` keeps until a token's sum over the vocabulary is known."""


TILING = {"cpu": Tiling(2**19, 2**25), "cuda": Tiling(2**27, 2**28)}
"""2 and 128 MiB of fp32, the first near a core's cache; 512 MiB and 1 GiB: 1,766 tokens of a vocabulary of 151,936."""


@dataclass(frozen=True)
class Softmax:
    """The distribution over logits."""

    temperature: float = 1.0
    """tau."""
    suppressed: tuple[int, ...] = ()
    """Tokens that are left out of it."""


def token_logprobs(
    hidden_NH: torch.Tensor,
    target_N: torch.Tensor,
    weight_VH: torch.Tensor,
    softmax: Softmax = Softmax(),
    *,
    entropy_gradient: bool = False,
    tiling: Tiling | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability (N,) and entropy in nats (N,) of each target, in fp32.

    ``hidden_NH`` are the hidden states that predict the N targets, ``weight_VH`` is the last layer's. The entropy carries a
    gradient on request only. Products are of numbers in the weight's precision, summed up in fp32.
    """
    assert not isinstance(weight_VH, DTensor), "the last layer must be gathered together with the model that calls it"
    logp_N, entropy_N = _TokenLogprobs.apply(
        hidden_NH.to(weight_VH), weight_VH, target_N, softmax, entropy_gradient, tiling or _tiling(hidden_NH)
    )
    return logp_N, entropy_N


def log_likelihood(
    hidden_NH: torch.Tensor,
    target_N: torch.Tensor,
    weight_VH: torch.Tensor,
    softmax: Softmax = Softmax(),
    *,
    tiling: Tiling | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum of the targets' log-probabilities, and without a gradient log-probabilities (N,) and entropies (N,).

    As ``token_logprobs``, but gradient and value come from one pass. The backward pass can be run once.
    """
    assert not isinstance(weight_VH, DTensor), "the last layer must be gathered together with the model that calls it"
    wanted = tuple(torch.is_grad_enabled() and tensor.requires_grad for tensor in (hidden_NH, weight_VH))
    total, logp_N, entropy_N = _LogLikelihood.apply(
        hidden_NH.to(weight_VH), weight_VH, target_N, softmax, wanted, tiling or _tiling(hidden_NH)
    )
    return total, logp_N, entropy_N


def _tiling(tensor: torch.Tensor) -> Tiling:
    return TILING["cuda" if tensor.is_cuda else "cpu"]


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        target_N: torch.Tensor,
        softmax: Softmax,
        entropy_gradient: bool,
        tiling: Tiling,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        words = _slices(len(weight_VH), tiling.tile // len(hidden_NH))
        values = _read(words, (_logits(hidden_NH, weight_VH, own, softmax) for own in words), target_N)
        ctx.save_for_backward(hidden_NH, weight_VH, target_N, *vars(values).values())
        ctx.softmax, ctx.entropy_gradient, ctx.words = softmax, entropy_gradient, words
        if not entropy_gradient:
            ctx.mark_non_differentiable(values.entropy_N)
        return values.logp_N, values.entropy_N

    @staticmethod
    def backward(ctx: Any, d_logp_N: torch.Tensor, d_entropy_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_NH, weight_VH, target_N, *values = ctx.saved_tensors
        of_hidden, of_weight = ctx.needs_input_grad[:2]
        d_hidden_NH = torch.zeros_like(hidden_NH, dtype=torch.float32) if of_hidden else None
        d_weight_VH = torch.empty_like(weight_VH) if of_weight else None
        for own in ctx.words:
            d_logits_NW = _logit_gradient(
                _logits(hidden_NH, weight_VH, own, ctx.softmax), own, target_N, _Values(*values), ctx.softmax,
                weight_VH.dtype, d_logp_N, d_entropy_N if ctx.entropy_gradient else None,
            )  # fmt: skip
            if d_hidden_NH is not None:
                _add_product(d_hidden_NH, d_logits_NW, weight_VH[own])
            if d_weight_VH is not None:
                torch.mm(d_logits_NW.T, hidden_NH, out=d_weight_VH[own])
        return None if d_hidden_NH is None else d_hidden_NH.to(hidden_NH.dtype), d_weight_VH, None, None, None, None


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        target_N: torch.Tensor,
        softmax: Softmax,
        wanted: tuple[bool, bool],
        tiling: Tiling,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        d_hidden_NH = torch.zeros_like(hidden_NH, dtype=torch.float32) if wanted[0] else None
        d_weight_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if wanted[1] else None
        found = []
        for tokens in _slices(len(hidden_NH), tiling.held // len(weight_VH)):
            hidden_CH, target_C = hidden_NH[tokens], target_N[tokens]
            words = _slices(len(weight_VH), tiling.tile // len(hidden_CH))
            held = [_logits(hidden_CH, weight_VH, own, softmax) for own in words]
            values = _read(words, held, target_C)
            found.append(values)
            one_C = torch.ones_like(values.logp_N)
            for own, logits_CW in zip(words, held, strict=True) if any(wanted) else ():
                d_logits_CW = _logit_gradient(logits_CW, own, target_C, values, softmax, weight_VH.dtype, one_C)
                if d_hidden_NH is not None:
                    _add_product(d_hidden_NH[tokens], d_logits_CW, weight_VH[own])
                if d_weight_VH is not None:
                    _add_product(d_weight_VH[own], d_logits_CW.T, hidden_CH)
        logp_N, entropy_N = (torch.cat(own) for own in zip(*((v.logp_N, v.entropy_N) for v in found), strict=True))
        ctx.gradients, ctx.dtypes = [d_hidden_NH, d_weight_VH], (hidden_NH.dtype, weight_VH.dtype)
        ctx.mark_non_differentiable(logp_N, entropy_N)
        return logp_N.sum(), logp_N, entropy_N

    @staticmethod
    def backward(ctx: Any, d_total: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        assert ctx.gradients, "the backward pass of log_likelihood runs once"
        gradients, ctx.gradients = ctx.gradients, []
        own = (g if g is None else g.mul_(d_total).to(dtype) for g, dtype in zip(gradients, ctx.dtypes, strict=True))
        return *own, None, None, None, None


@dataclass(frozen=True)
class _Values:
    """Of N tokens."""

    logp_N: torch.Tensor
    entropy_N: torch.Tensor
    normaliser_N: torch.Tensor
    """l, the log of the sum of the exponentials of all logits."""


def _read(words: Sequence[slice], logits: Iterable[torch.Tensor], target_N: torch.Tensor) -> _Values:
    """What the logits of all words tell. With the sums s = sum exp(z - m) and q = sum exp(z - m) (z - m), m the largest
    logit, l = m + log s and H = log s - q / s; of tiles, each is brought to the largest m of all."""
    # Made beforehand: small tensors that stay, put between the large ones that go, would leave holes that fit none.
    logit_N = torch.zeros(target_N.shape, device=target_N.device)
    largest_XN, sum_XN, inner_XN = logit_N.new_empty(3, len(words), len(target_N))
    for index, (own, logits_NW) in enumerate(zip(words, logits, strict=True)):
        largest_XN[index], sum_XN[index], inner_XN[index] = _fused(_tile_sums, logits_NW)
        place_N1, inside_N = _place(target_N, own)
        torch.where(inside_N, logits_NW.gather(1, place_N1)[:, 0], logit_N, out=logit_N)
    top_N = largest_XN.amax(0)
    below_XN = largest_XN - top_N
    share_XN = below_XN.exp()
    sum_N = (share_XN * sum_XN).sum(0)
    inner_N = (share_XN * (inner_XN + below_XN * sum_XN)).sum(0)
    normaliser_N = top_N + sum_N.log()
    return _Values(logit_N - normaliser_N, sum_N.log() - inner_N / sum_N, normaliser_N)


def _tile_sums(logits_NW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """m, s and q of a tile alone."""
    top_N1 = logits_NW.amax(-1, keepdim=True)
    below_NW = logits_NW - top_N1
    exponential_NW = below_NW.exp()
    return top_N1[:, 0], exponential_NW.sum(-1), below_NW.mul_(exponential_NW).sum(-1)


def _logit_gradient(
    logits_NW: torch.Tensor,
    words: slice,
    target_N: torch.Tensor,
    values: _Values,
    softmax: Softmax,
    dtype: torch.dtype,
    d_logp_N: torch.Tensor,
    d_entropy_N: torch.Tensor | None = None,
) -> torch.Tensor:
    """The gradient of a tile of the last layer's product, for a further product."""
    d_logp_N = d_logp_N / softmax.temperature
    # Not onehot - p in the product's precision, where p near 1 would be 1.
    d_target_N = -d_logp_N * torch.expm1(values.logp_N)
    if d_entropy_N is None:
        d_logits_NW = _fused(_of_logp, logits_NW, values.normaliser_N, d_logp_N, dtype)
    else:
        d_entropy_N = d_entropy_N / softmax.temperature
        d_target_N = d_target_N - d_entropy_N * values.logp_N.exp() * (values.logp_N + values.entropy_N)
        columns = (values.normaliser_N, d_logp_N, values.entropy_N, d_entropy_N)
        d_logits_NW = _fused(_of_logp_and_entropy, logits_NW, *columns, dtype)
    place_N1, inside_N = _place(target_N, words)
    d_here_N = torch.where(inside_N, d_target_N.to(dtype), d_logits_NW.gather(1, place_N1)[:, 0])
    d_logits_NW.scatter_(1, place_N1, d_here_N[:, None])
    return _fill(d_logits_NW, words, softmax, 0.0)


def _of_logp(
    logits_NW: torch.Tensor, normaliser_N: torch.Tensor, d_logp_N: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    return (logits_NW - normaliser_N[:, None]).exp_().mul_(-d_logp_N[:, None]).to(dtype)


def _of_logp_and_entropy(
    logits_NW: torch.Tensor,
    normaliser_N: torch.Tensor,
    d_logp_N: torch.Tensor,
    entropy_N: torch.Tensor,
    d_entropy_N: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    logp_NW = logits_NW - normaliser_N[:, None]
    weight_NW = d_logp_N[:, None] + d_entropy_N[:, None] * (logp_NW + entropy_N[:, None])
    return logp_NW.exp_().neg_().mul_(weight_NW).to(dtype)


def _fused(function: Any, logits_NW: torch.Tensor, *others: Any) -> Any:
    """On a GPU in one kernel: a tile is too large for its cache, and each operation would read it again."""
    return (_compiled(function) if logits_NW.is_cuda else function)(logits_NW, *others)


@cache
def _compiled(function: Any) -> Any:
    return torch.compile(function, dynamic=True)


def _logits(hidden_NH: torch.Tensor, weight_VH: torch.Tensor, words: slice, softmax: Softmax) -> torch.Tensor:
    logits_NW = _product(hidden_NH, weight_VH[words].T)
    if softmax.temperature != 1:
        logits_NW.div_(softmax.temperature)
    return _fill(logits_NW, words, softmax, SUPPRESSED_LOGIT)


def _fill(values_NW: torch.Tensor, words: slice, softmax: Softmax, value: float) -> torch.Tensor:
    for word in softmax.suppressed:
        if words.start <= word < words.stop:
            values_NW[:, word - words.start] = value
    return values_NW


def _place(target_N: torch.Tensor, words: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Each target's column in a tile (N, 1), any if it is in another; and whether it is in this one (N,)."""
    place_N = target_N - words.start
    size = words.stop - words.start
    return place_N.clamp(0, size - 1)[:, None], (place_N >= 0) & (place_N < size)


def _slices(count: int, size: int) -> list[slice]:
    size = max(1, size)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """In fp32, as it was summed up: rounded to bf16 a logit near 30 would be off by 0.1."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return torch.mm(left.float(), right.float())


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += _product(left, right)

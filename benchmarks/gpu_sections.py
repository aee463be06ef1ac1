"""The sections of ``benchmarks/gpu.py``: ``python -m benchmarks.gpu_sections NAME DEVICE`` prints a line of JSON a case.

Every section takes a device and yields its cases. Times are medians of passes after one that warms up and compiles.
"""

import copy
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.gpu_measure import Row, is_tiny, measured, planned_gib, share_of_peak, step_flops
from benchmarks.policy_step import plain_logprobs
from benchmarks.synthetic import SIZES, make_model, make_prompts, make_responses
from prism_pl.model.attention import BLOCK, Attention, block_mask, takes_block_mask, use_attention
from prism_pl.model.logprobs import log_likelihood, token_logprobs
from prism_pl.model.packing import PackedBatch, make_groups, pack
from prism_pl.model.policy import Policy

Cases = Iterator[Row]


@dataclass(frozen=True)
class Work:
    """A model's size, and one prompt with its responses."""

    size: str
    prompt_tokens: int
    response_tokens: int
    responses: int

    def packed(self, device: str) -> PackedBatch:
        vocabulary = SIZES[self.size][-1]
        prompts = make_prompts(1, self.prompt_tokens, vocabulary)
        groups = make_groups(prompts, make_responses(1, self.responses, self.response_tokens, vocabulary))
        multiple = BLOCK if takes_block_mask("auto", torch.device(device)) else 1
        return pack(groups, multiple=multiple).to(torch.device(device))

    def __str__(self) -> str:
        return f"{self.size}, {self.prompt_tokens} + {self.responses} x {self.response_tokens}"


def equality(device: str) -> Cases:
    """Each attention against plain rows of stock SDPA: how far both are from plain rows in fp32, with the same weights."""
    work = Work("tiny", 40, 12, 3) if is_tiny(device) else Work("10M", 300, 100, 8)
    attentions: tuple[Attention, ...] = ("shared_prefix",) if is_tiny(device) else ("shared_prefix", "flex_attention")
    prompts = make_prompts(1, work.prompt_tokens, SIZES[work.size][-1])
    responses = make_responses(1, work.responses, work.response_tokens, SIZES[work.size][-1])[0]
    for dtype in (torch.float32, torch.bfloat16):
        policy = _in_dtype(Policy(make_model(work.size, device=device)), dtype)
        exact = _in_dtype(copy.deepcopy(policy), torch.float32)
        truth, plain = (_outcome(model, plain_logprobs(model, prompts[0], responses)) for model in (exact, policy))
        errors = {"plain": _distance(plain, truth)}
        for attention in attentions:
            use_attention(policy.vlm.model, attention)
            packed = work.packed(device)
            logp_BT, _ = policy(packed)
            errors[attention] = _distance(_outcome(policy, logp_BT[packed.token_mask_BT]), truth)
        # Plain fp32 is the truth itself. In bf16 another order of the same sums may double an error, not more.
        bounds = (1e-4, 1e-4) if dtype == torch.float32 else tuple(2 * error for error in errors["plain"])
        for name, error in errors.items():
            agrees = all(own <= bound for own, bound in zip(error, bounds, strict=True))
            figures = {"log_probability_error": error[0], "gradient_error": error[1], "agrees": agrees}
            yield {"case": f"{str(dtype)[6:]}, {name}", **figures}


def policy_step(device: str) -> Cases:
    """Forward and backward of a policy with bf16 weights on packed groups."""
    works = [Work("tiny", 40, 12, 3)] if is_tiny(device) else [Work("2B", 512, 512, 15), Work("2B", 2048, 384, 16)]
    policy = _in_dtype(Policy(make_model(works[0].size, device=device)), torch.bfloat16)
    for work in works:
        packed = work.packed(device)

        def step(packed: PackedBatch = packed) -> None:
            policy(packed)[0].sum().backward()
            policy.zero_grad(set_to_none=True)

        yield _model_row(str(work), policy.vlm.model, work, measured(step, device), vocabulary=SIZES[work.size][-1])


def scoring(device: str) -> Cases:
    """Scores of a mixture of four experts with bf16 weights, without a gradient: 34 segments a prompt."""
    from prism_pl.discriminators import DedicatedExpertsDiscriminator, Reading
    from prism_pl.discriminators.model import MixtureScorer

    work = Work("tiny", 40, 12, 4) if is_tiny(device) else Work("2B", 512, 200, 34)
    with torch.device("meta"):
        dense = make_model(work.size, device="meta").config
    with torch.device(device):
        scorer = MixtureScorer(DedicatedExpertsDiscriminator().fresh_config(dense))
    scorer.reading = Reading()
    use_attention(scorer.model, "auto")
    _in_dtype(scorer, torch.bfloat16)
    scorer.head.float()
    packed = work.packed(device)
    aspect_B = torch.arange(work.responses, device=device) % 2

    @torch.no_grad()
    def score() -> None:
        scorer(packed, aspect_B)

    yield _model_row(f"mixture of four from {work}", scorer.model, work, measured(score, device), training=False)


def attention(device: str) -> Cases:
    """One layer's attention, forward and backward, 16 responses a prompt: packed, under a dense mask, and in plain rows."""
    shapes, heads = ([(32, 16), (8, 32)], (4, 2, 32)) if is_tiny(device) else ([(2048, 1024), (512, 2048)], (16, 8, 128))
    dtype = torch.float32 if is_tiny(device) else torch.bfloat16
    for prompt, response in shapes:
        packed = Work("tiny", prompt, response, 16).packed(device)
        for name, (rows, length, attend) in _attentions(packed, prompt + response, heads).items():
            # The heads' inputs lie as a layer makes them: (rows, length, heads, D), transposed.
            q, k, v = (
                torch.randn(rows, length, count, heads[2], device=device, dtype=dtype).transpose(1, 2).requires_grad_()
                for count in (heads[0], heads[1], heads[1])
            )

            def step(attend: Callable[..., torch.Tensor] = attend, values: Sequence[torch.Tensor] = (q, k, v)) -> None:
                torch.autograd.grad(attend(*values).sum(), values)

            case = f"{prompt} + 16 x {response}, {name}"
            try:
                yield {"case": case, **measured(step, device)}
            except torch.OutOfMemoryError:
                yield {"case": case, "error": "out of memory"}
        if not is_tiny(device):
            yield {"case": f"{prompt} + 16 x {response}, making the block mask", **measured(_mask_of(packed), device)}


def _mask_of(packed: PackedBatch) -> Callable[[], Any]:
    return lambda: block_mask(packed.part_N, packed.prefix_N)


def _attentions(
    packed: PackedBatch, row: int, heads: tuple[int, int, int]
) -> dict[str, tuple[int, int, Callable[..., torch.Tensor]]]:
    """By name: rows, their length, and the attention of (rows, heads, length, D)."""
    from prism_pl.model import attention as packed_attention

    length, repeats = len(packed.part_N), heads[0] // heads[1]
    part_N, prefix_N = packed.part_N, packed.prefix_N
    mask_NN = ((part_N == prefix_N[:, None]) | (part_N == part_N[:, None])).tril_() & packed.real_N

    def by_interface(mask: Any) -> Callable[..., torch.Tensor]:
        options = {"layout": packed.layout, "scaling": heads[2] ** -0.5}
        return lambda q, k, v: packed_attention._attend(None, q, k, v, mask, **options)[0]

    def masked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(
            q, k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1), attn_mask=mask_NN
        )

    def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    found = {
        "plain rows": (16, row, plain),
        "dense mask": (1, length, masked),
        "shared_prefix": (1, length, by_interface(None)),
    }
    if part_N.is_cuda:
        found["flex_attention"] = (1, length, by_interface(block_mask(part_N, prefix_N)))
    return found


def head(device: str) -> Cases:
    """Log-probabilities and their gradient at Qwen's vocabulary: in tiles against full logits."""
    tokens, width, words = (24, 16, 300) if is_tiny(device) else (4096, 2048, SIZES["2B"][-1])
    generator = torch.Generator(device).manual_seed(0)
    hidden_NH = torch.randn(tokens, width, device=device, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(words, width, device=device, generator=generator)
    weight_VH = (2 * weight / width**0.5).bfloat16().requires_grad_()
    target_N = torch.randint(0, words, (tokens,), device=device, generator=generator)

    def full() -> torch.Tensor:
        logits_NV = F.linear(hidden_NH, weight_VH).float()
        return torch.log_softmax(logits_NV, -1).gather(-1, target_N[:, None])[:, 0]

    sums = {
        "full logits": lambda: full().sum(),
        "token_logprobs": lambda: token_logprobs(hidden_NH, target_N, weight_VH)[0].sum(),
        "log_likelihood": lambda: log_likelihood(hidden_NH, target_N, weight_VH)[0],
    }
    few = slice(0, 256)
    exact_N = torch.log_softmax(hidden_NH[few].float() @ weight_VH.float().T, -1).gather(-1, target_N[few, None])[:, 0]
    truth = torch.autograd.grad(exact_N.sum(), hidden_NH, retain_graph=True)[0][few].float()
    for name, total in sums.items():

        def step(total: Callable[[], torch.Tensor] = total) -> tuple[torch.Tensor, ...]:
            return torch.autograd.grad(total(), (hidden_NH, weight_VH))

        own = step()[0][few].float()
        error = float((own - truth).norm() / truth.norm())
        yield {"case": f"{tokens} tokens, {name}", **measured(step, device), "gradient_error": error}
    own_N = token_logprobs(hidden_NH, target_N, weight_VH)[0][few]
    for name, logp_N in (("full logits", full()[few]), ("token_logprobs", own_N)):
        difference = (logp_N - exact_N).detach().abs().max()
        yield {"case": f"{name} against fp32", "largest_difference": float(difference)}


def fsdp2(device: str) -> Cases:
    """A policy's step with sharded fp32 weights that are gathered in bf16, on one rank, with AdamW."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh

    from prism_pl.model.sharding import shard

    work = Work("tiny", 40, 12, 3) if is_tiny(device) else Work("2B", 512, 512, 15)
    distributed.init_process_group(
        "gloo" if is_tiny(device) else "nccl", store=distributed.HashStore(), rank=0, world_size=1
    )
    policy, packed = Policy(make_model(work.size, device=device)), work.packed(device)
    with torch.no_grad():
        expected_BT, _ = _in_dtype(copy.deepcopy(policy), torch.bfloat16)(packed)
    shard(policy, init_device_mesh(device, (1,)), torch.bfloat16)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-6, foreach=True)
    with torch.no_grad():
        difference = (policy(packed)[0] - expected_BT).abs().max()

    def step() -> None:
        policy(packed)[0].mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    row = _model_row(str(work), policy.vlm.model, work, measured(step, device), vocabulary=SIZES[work.size][-1])
    yield row | {"largest_difference_to_bf16_weights": float(difference)}
    distributed.destroy_process_group()


def trl(device: str) -> Cases:
    """One optimizer step: TRL's GRPOTrainer against ours, by ``benchmarks/against_trl.py``, both in fp32."""
    from benchmarks.against_trl import our_step, their_step

    case = "tiny" if is_tiny(device) else "100M"
    try:
        import trl  # noqa: F401
    except ImportError:
        yield {"case": case, "error": "TRL is not installed"}
        return
    for name, make in (("TRL", their_step), ("ours", our_step)):
        step = make(case, device)
        yield {"case": f"{case}, {name}", "gradient_norm": step(), **measured(step, device)}


SECTIONS: dict[str, Callable[[str], Cases]] = {
    one.__name__: one for one in (equality, policy_step, scoring, attention, head, fsdp2, trl)
}


def _in_dtype(model: Any, dtype: torch.dtype) -> Any:
    """Its weights only: rotary frequencies stay in fp32."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def _outcome(model: nn.Module, logp_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities, and the gradient of a weighted sum of them."""
    logp_N = logp_N.flatten()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    factor_N = torch.linspace(-1, 2, len(logp_N), device=logp_N.device)
    gradients = torch.autograd.grad((logp_N * factor_N).mean(), trained)
    return logp_N.detach(), torch.cat([gradient.flatten().float() for gradient in gradients])


def _distance(own: tuple[torch.Tensor, torch.Tensor], truth: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, float]:
    """Root mean square of the log-probabilities' error, and the gradient's relative error."""
    error_N = (own[0] - truth[0]).float()
    return float(error_N.square().mean().sqrt()), float((own[1] - truth[1]).norm() / truth[1].norm())


def _model_row(case: str, model: Any, work: Work, measure: Row, *, vocabulary: int = 0, training: bool = True) -> Row:
    tokens = work.prompt_tokens + work.responses * work.response_tokens
    flops = step_flops(model, work.prompt_tokens, [work.response_tokens] * work.responses, vocabulary, training=training)
    rate = flops / measure["seconds"]
    planned = planned_gib(work.size, tokens, training=training)
    return {
        "case": case,
        **measure,
        **({} if planned is None else {"planned_gib": planned}),
        "tokens_per_second": tokens / measure["seconds"],
        "response_tokens_per_second": work.responses * work.response_tokens / measure["seconds"],
        "teraflops": rate / 1e12,
        **share_of_peak(rate),
    }


def main() -> None:
    for row in SECTIONS[sys.argv[1]](sys.argv[2]):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

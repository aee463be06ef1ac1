"""One layer's attention on a CPU, forward and backward: own and prompt keys merged, against a copy of the prompt a segment.

    python -m benchmarks.attention

Copied: every segment gets its prompt's keys before its own, repeated for all heads of queries, under one masked softmax.
Both sides hold the same packed tensors and give the same gradients. Prints seconds of processor time and peak memory.
"""

import sys

import torch
import torch.nn.functional as F

from benchmarks.measure import child, measured
from prism_pl.model.packing import make_groups, pack
from prism_pl.model.shared_prefix import shared_prefix_attention
from prism_pl.types import Prompt

CASES = {
    # prompts, prompt tokens, segments, segment tokens; heads of queries, of keys, their width
    "the demo's step": (8, 163, 16, 40, 4, 2, 32),
    "4:1": (1, 256, 16, 64, 8, 4, 32),
    "1:4": (1, 64, 16, 256, 8, 4, 32),
    "4:1, heads of Qwen3-VL-2B": (1, 256, 16, 64, 16, 8, 128),
}


def step(case: str, kind: str) -> None:
    count, prompt_tokens, segments, tokens, heads, shared, width = CASES[case]
    ids = (1,) * prompt_tokens
    prompts = [Prompt("r", "", ids, ids, torch.arange(prompt_tokens).expand(3, -1)) for _ in range(count)]
    layout = pack(make_groups(prompts, [[(2,) * tokens] * segments] * count)).layout
    length = count * (prompt_tokens + segments * tokens)
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(length, n, width, generator=generator).requires_grad_() for n in (heads, shared, shared)]
    scale = width**-0.5
    seen_TS = torch.ones(tokens, prompt_tokens + tokens, dtype=torch.bool).tril(prompt_tokens)

    def copied(query_NAD: torch.Tensor, key_NKD: torch.Tensor, value_NKD: torch.Tensor) -> torch.Tensor:
        repeated = (query_NAD, *(part.repeat_interleave(heads // shared, 1) for part in (key_NKD, value_NKD)))
        prefix, own = zip(
            *(part.unflatten(0, (count, -1)).split((prompt_tokens, segments * tokens), 1) for part in repeated), strict=True
        )
        prompt = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in prefix), is_causal=True, scale=scale)
        query, key, value = (part.unflatten(1, (segments, tokens)).flatten(0, 1) for part in own)
        keys = (
            torch.cat([before.repeat_interleave(segments, 0), after], 1).transpose(1, 2)
            for before, after in ((prefix[1], key), (prefix[2], value))
        )
        segment = F.scaled_dot_product_attention(query.transpose(1, 2), *keys, attn_mask=seen_TS, scale=scale)
        after = segment.transpose(1, 2).unflatten(0, (count, segments)).flatten(1, 2)
        return torch.cat([prompt.transpose(1, 2), after], 1).flatten(0, 1)

    def work() -> float:
        output = copied(*values) if kind == "copied" else shared_prefix_attention(*values, layout, scale)
        # Squared, so that the gradients tell outputs apart.
        gradients = torch.autograd.grad(output.square().sum(), values)
        return float(sum(gradient.abs().sum() for gradient in gradients))

    child(work, 7)


def main() -> None:
    print(f"{torch.get_num_threads()} threads, fp32\n")
    print("| | copied, processor ms | merged | ratio | copied MiB | merged MiB | gradients |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case, (count, prompt_tokens, segments, tokens, *heads) in CASES.items():
        copied, merged = (measured("benchmarks.attention", case, kind) for kind in ("copied", "merged"))
        times = [1000 * own["processor"] for own in (copied, merged)]
        shape = f"{case}: {count} x ({prompt_tokens} + {segments} x {tokens}), heads {' '.join(map(str, heads))}"
        print(
            f"| {shape} | {times[0]:.0f} | {times[1]:.0f} | {times[0] / times[1]:.1f} | {copied['mib']:.0f} | "
            f"{merged['mib']:.0f} | {copied['value']:.6g}, {merged['value']:.6g} |",
            flush=True,
        )


if __name__ == "__main__":
    step(*sys.argv[1:]) if len(sys.argv) > 1 else main()

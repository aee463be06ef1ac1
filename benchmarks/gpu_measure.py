"""Seconds, memory and work of a step on a GPU."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

Row = dict[str, Any]
REPEATS = 5

# Dense bf16 with fp32 sums, as the makers state it for the card (SXM where there are several), FLOP/s.
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "B200": 2250e12, "L40S": 362e12, "L4": 121e12}


def is_tiny(device: str) -> bool:
    """A CPU only shows that a section runs."""
    return device == "cpu"


def timed(work: Callable[[], Any], device: str) -> float:
    """Seconds of one run, waited for."""
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measured(work: Callable[[], Any], device: str) -> Row:
    """Median seconds after a run that compiles, and on a GPU the peak of what tensors took."""
    repeats = 1 if is_tiny(device) else REPEATS
    first = timed(work, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    row: Row = {"seconds": statistics.median(timed(work, device) for _ in range(repeats)), "first_seconds": first}
    if device == "cuda":
        row["gib"] = torch.cuda.max_memory_allocated() / 2**30
    return row


def share_of_peak(flops_per_second: float) -> Row:
    """Empty for a card whose peak is not known here."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((peak for card, peak in _PEAKS.items() if card in name), None)
    return {} if peak is None else {"share_of_peak": flops_per_second / peak}


def planned_gib(size: str, num_tokens: int, *, training: bool) -> float | None:
    """The peak that ``prism_pl plan`` expects of a step, to stand beside the measured one. None: nobody asks it yet."""
    return None


def step_flops(model: Any, prompt_tokens: int, response_tokens: Sequence[int], vocabulary: int, *, training: bool) -> float:
    """Floating-point operations that a packed group needs; what is computed a second time counts once.

        2 a weight and token, 4 A D L a pair of query and key that see each other, three times as much with a backward pass

    A token of a mixture meets the weights of its ``top_k`` experts. ``vocabulary`` is 0 without a language-model head.
    """
    text = model.language_model.config
    tokens = prompt_tokens + sum(response_tokens)
    weights = 0.0
    for parameter in model.language_model.layers.parameters():
        # Of three dimensions are the experts, one beside the other.
        used = text.num_experts_per_tok / text.num_experts if parameter.ndim == 3 else 1.0
        weights += used * parameter.numel() * (parameter.ndim > 1)
    pairs = prompt_tokens * (prompt_tokens + 1) / 2
    pairs += sum(own * prompt_tokens + own * (own + 1) / 2 for own in response_tokens)
    heads = text.num_attention_heads * text.head_dim * text.num_hidden_layers
    flops = 2 * weights * tokens + 4 * heads * pairs + 2.0 * vocabulary * text.hidden_size * sum(response_tokens)
    return flops * (3 if training else 1)

"""Tokens, FLOPs and seconds of a step.

    forward  2 w + 4 A D L c  FLOPs a token         w: weights it is multiplied with, c: the tokens that it sees on average
    training 3 times that; 4 with checkpointing, but for the last product of each layer, which is not computed again
    seconds  max(FLOPs / (share of peak), gathered bytes / (share of the link)), a micro-batch gathers weights thrice
    on the host: shards come from there as often, 4 P / W bytes, and inputs of checkpointed layers go there and back
    decoding a step of the engine reads its weights and the running sequences' keys and values once

Shares of what data sheets promise are assumed; the table says them. They are no measurement.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from prism_pl.planning.activations import BF16, FP32
from prism_pl.planning.architecture import Architecture
from prism_pl.planning.devices import Device
from prism_pl.planning.memory import Plan, kv_bytes
from prism_pl.planning.settings import Network, Settings

SHARE_OF_FLOPS, SHARE_OF_BANDWIDTH, SHARE_OF_LINK = 0.35, 0.6, 0.6
"""Assumed of a training pass, of decoding and of collectives."""
DECODE_OVERHEAD = 0.005
"""Seconds of the engine's step beside reading, assumed."""
TAIL = 2.0
"""The longest of a rank's responses, in means, assumed."""
HOST_BANDWIDTH = 2e10
"""Bytes a second of the host's memory for each rank's part of an optimizer's step that is offloaded, assumed."""
HOST_LINK = 2e10
"""Bytes a second between a GPU and its host in one direction, of what is offloaded, assumed."""
DISK = 1e9
"""Bytes a second that a checkpoint is written with, assumed."""


@dataclass(frozen=True)
class Work:
    """Of one step, over all devices."""

    tokens: Mapping[str, float]
    """That go through each network once, by phase; of the rollout, those sampled."""
    flops: Mapping[str, float]
    """Useful ones by phase: without what checkpointing computes again."""
    seconds: Mapping[str, float]
    """Expected, by phase."""
    ahead: bool = False
    """Whether the next batch is sampled meanwhile, on devices of its own."""

    @property
    def step(self) -> float:
        """Seconds of a step that writes no checkpoint."""
        rollout = self.seconds.get("rollout", 0.0)
        training = sum(seconds for name, seconds in self.seconds.items() if name not in ("checkpoint", "rollout"))
        return max(rollout, training) if self.ahead else rollout + training


def forward_flops(arch: Architecture, tokens: float, context: float, images: float, targets: float) -> float:
    """Of one pass. ``context`` is how many tokens a token sees on average, ``images`` counts tokens of images."""
    patches, h = images * arch.merge**2, arch.vision_hidden
    text = 2 * arch.layers * arch.active_layer + 4 * arch.layers * arch.query * context
    tower = 2 * (arch.vision_layers * arch.vision_block + arch.patch_inputs * h) * patches
    # An image's patches see each other.
    tower += 4 * arch.vision_layers * h * patches * patches / max(1.0, images / 1024) if images else 0.0
    head = 2 * (arch.score_heads * arch.hidden or arch.embedding) * targets
    return text * tokens + tower + 2 * arch.merger * images + head


def kept_flops(arch: Architecture, tokens: float, images: float) -> float:
    """Of the layers' last products in one pass: nothing of the backward pass needs them, so checkpointing stops before."""
    text = arch.layers * max(1, arch.top_k) * arch.inner * arch.hidden * tokens
    return 2 * (text + arch.vision_layers * arch.vision_inner * arch.vision_hidden * images * arch.merge**2)


def make_work(plan: Plan, device: Device) -> Work:
    """Of the stage's step on so many of these devices."""
    settings = plan.settings
    tokens: dict[str, float] = {}
    flops: dict[str, float] = {}
    seconds: dict[str, float] = {}
    work = settings.workload
    responses = settings.batch_size * settings.group_size
    if settings.samples:
        tokens["rollout"] = float(responses * work.response_tokens)
        per_token = 2 * (
            settings.engine_policy.layers * settings.engine_policy.active_layer + settings.engine_policy.embedding
        )
        prompts = settings.batch_size * work.prompt_tokens
        flops["rollout"] = per_token * (tokens["rollout"] + prompts)
        seconds["rollout"] = _decoding(plan, device, responses)
    for name, network in reversed(settings.networks.items()):
        passes, count = _tokens(settings, name)
        once = _pass_flops(settings, name, network)
        if name == "discriminator":
            tokens["score"], flops["score"] = count, once
            seconds["score"] = _seconds(once, passes, 1, network, settings, device)
        tokens[f"{name} update"], flops[f"{name} update"] = count, 3 * once
        computed = 3 * once
        if network.checkpointing:
            images = settings.batch_size * work.prompt_tokens * work.image_share
            computed += once - kept_flops(network.architecture, count, images)
        passing = _seconds(computed, passes, 3, network, settings, device)
        if network.offload:
            moved = settings.width * network.architecture.layers * network.architecture.hidden * count
            passing = max(passing, 2 * moved / settings.devices / HOST_LINK)
        seconds[f"{name} update"] = passing + _optimizer(network, settings, device)
    if "rollout" in seconds:
        moved = FP32 * settings.engine_policy.total
        seconds["sync"] = moved / (SHARE_OF_LINK * device.link) if settings.ranks > 1 else moved / device.bandwidth
    states = sum(FP32 * n.architecture.total + 2 * FP32 * n.trained for n in settings.networks.values())
    seconds["checkpoint"] = states / DISK
    # On a GPU that both compute on neither is free.
    apart = (
        settings.engine is not None and settings.engine.in_process and (settings.engine.elsewhere or plan.memory is None)
    )
    return Work(tokens, flops, seconds, ahead=settings.overlap > 0 and apart)


def _tokens(settings: Settings, name: str) -> tuple[int, float]:
    """Micro-batches of a rank, and tokens of all ranks, copies of prompts included."""
    work, budget = settings.workload, settings.max_tokens
    response, count = (work.response_tokens, settings.group_size)
    if name == "discriminator":
        response, count = max(1, response // 2), settings.segments
    fitting = max(1, min(count, (budget - work.prompt_tokens) // response))
    parts = settings.batch_size * math.ceil(count / fitting)
    total = settings.batch_size * (math.ceil(count / fitting) * work.prompt_tokens + count * response)
    group = total / parts
    return max(1, math.ceil(parts / settings.devices / max(1, budget // group))), float(total)


def _pass_flops(settings: Settings, name: str, network: Network) -> float:
    work, arch = settings.workload, network.architecture
    _, total = _tokens(settings, name)
    response = work.response_tokens if name == "policy" else work.response_tokens / 2
    count = settings.group_size if name == "policy" else settings.segments
    targets = settings.batch_size * count * (response if name == "policy" else 1)
    images = settings.batch_size * work.prompt_tokens * work.image_share
    # A segment's tokens see their prompt and half of themselves.
    context = work.prompt_tokens * (0.5 if total < 2 * settings.batch_size * work.prompt_tokens else 1.0) + response / 2
    return forward_flops(arch, total, context, images, targets)


def _seconds(flops: float, passes: int, collectives: int, network: Network, settings: Settings, device: Device) -> float:
    """What is longer, computing or gathering: the next layer's weights travel while one computes."""
    peak = device.flops if settings.bf16 else device.flops_fp32
    computing = flops / settings.devices / peak / SHARE_OF_FLOPS
    if settings.host_shards:
        fetched = passes * collectives * FP32 * network.architecture.total / settings.ranks
        computing = max(computing, fetched / HOST_LINK)
    if settings.devices == 1:
        return computing
    moved = passes * collectives * settings.width * network.architecture.total
    return max(computing, moved / (SHARE_OF_LINK * device.link))


def _optimizer(network: Network, settings: Settings, device: Device) -> float:
    """Weights, gradients and moments are read and written, and gradients read for their norm and clipped."""
    bandwidth = HOST_BANDWIDTH if settings.offload else device.bandwidth
    return 40 * network.trained / settings.ranks / (SHARE_OF_BANDWIDTH * bandwidth)


def _decoding(plan: Plan, device: Device, responses: int) -> float:
    settings, arch, work = plan.settings, plan.settings.engine_policy, plan.settings.workload
    own = math.ceil(responses / settings.devices)
    assert settings.engine is not None
    mean = work.prompt_tokens + work.response_tokens
    room = own if plan.kv_tokens is None else int(plan.kv_tokens // mean)
    together = max(1, min(own, settings.engine.max_num_seqs, room))
    steps = own / together * work.response_tokens
    longest = min(settings.max_new, TAIL * work.response_tokens)
    steps = max(steps, longest)
    context = work.prompt_tokens + work.response_tokens / 2
    bytes_a_step: float = BF16 * (arch.layers * arch.active_layer + arch.embedding)
    bytes_a_step += own * work.response_tokens / steps * context * kv_bytes(arch)
    reading = steps * (bytes_a_step / (SHARE_OF_BANDWIDTH * device.bandwidth) + DECODE_OVERHEAD)
    prefill = 2 * arch.layers * arch.active_layer * settings.batch_size / settings.devices * work.prompt_tokens
    return reading + prefill / (SHARE_OF_FLOPS * device.flops)

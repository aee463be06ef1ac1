"""Memory of one GPU by phase and part.

    weights 4 P / W    gradients 4 t / W    moments 8 t / W         P parameters, t of them trained, W ranks that share them
    gathers in a backward pass: w root + (3 w + 4) layer                w bytes a number; root: all outside layers, gathered
    of a trained head besides: w V H from its own backward pass on (4 V H of a likelihood's, going forward),
    (w + 4) root + w V H while the root goes backward
    AdamW's step on shares and on a GPU: 4 t / W                        it takes all tensors together

FSDP2's shards on the host:
    of weights, gradients and moments nothing stays here    gathers: (4 / W) layer or root besides, shards on their way

    ZeRO, stage 2: weights 4 P, fp32 weights 4 t / W    stage 3: as above; offloaded, all but gathers are the host's
    its buckets: 4 min(t, 5e8) of gradients, in stage 3 4 min(P, 1e9) of weights that stay gathered

A layer's are its weights and the next one's on their way, its gradients, and the fp32 sums that are being shared out. With
bf16 w is 2: weights are rounded as they are gathered. What is not sharded is not gathered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prism_pl.planning.activations import BF16, FP32, Pass, Shape, forward_only, held
from prism_pl.planning.architecture import Architecture
from prism_pl.planning.host import host_memory
from prism_pl.planning.passes import pass_of, shape_of
from prism_pl.planning.settings import Network, Settings

CONTEXT = 1.5e9
"""Of a GPU: the driver's context, NCCL's and cuBLAS's buffers. Assumed."""
FRAGMENTATION = 0.05
"""Of what the trainer holds. Assumed."""
ENGINE_WORK = 2.0e9
"""Of a vLLM beside weights, keys and values: activations, sampler, graphs. Assumed."""
ENGINE_ASLEEP = 2.0e9
"""What a sleeping vLLM keeps. Assumed."""
ZERO_BUCKET, ZERO_LIVE = 500_000_000, 1_000_000_000
"""Numbers: DeepSpeed's ``reduce_bucket_size`` and ``stage3_max_live_parameters``, if the configuration leaves them."""

Parts = dict[str, float]


@dataclass(frozen=True)
class Phase:
    """What a GPU holds at the peak of a part of a step, in bytes."""

    name: str
    parts: Parts

    @property
    def total(self) -> float:
        """The sum of its parts."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Plan:
    """Of one GPU of a stage. ``memory`` is None on a CPU, where nothing is refused."""

    settings: Settings
    memory: float | None
    phases: tuple[Phase, ...]
    host: Mapping[str, float] = field(default_factory=dict)
    """Of a node, by moment, in bytes."""
    kv_tokens: float | None = None
    """That the engine's keys and values have room for."""

    @property
    def peak(self) -> Phase:
        """The phase that holds most."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def kv_sequences(self) -> float | None:
        """Sequences of full length that the engine holds at once."""
        longest = self.settings.max_prompt + self.settings.max_new
        return None if self.kv_tokens is None else self.kv_tokens / longest

    @property
    def problems(self) -> list[str]:
        """Why it cannot run; empty if it fits."""
        if self.memory is None:
            return []
        found = [
            f"{phase.name} needs {phase.total / 1e9:.1f} GB a GPU, of {self.memory / 1e9:.1f}"
            for phase in self.phases
            if phase.total > self.memory
        ]
        if self.kv_sequences is not None and self.kv_sequences < 1:
            found.append(
                f"the engine has {max(self.kv_tokens or 0.0, 0.0):,.0f} tokens of keys and values, and a longest sequence "
                f"{self.settings.max_prompt + self.settings.max_new:,}"
            )
        return found

    @property
    def fits(self) -> bool:
        """Whether every phase fits and the engine holds a longest sequence."""
        return not self.problems


def make_plan(settings: Settings, memory: float | None) -> Plan:
    """``memory`` of a GPU in bytes; None plans a CPU run, without an engine's share or a driver's context."""
    engine, kv_tokens = _engine_parts(settings, memory)
    copy = _engine_copy(settings)
    if settings.engine is not None and settings.engine.elsewhere and memory is not None:
        engine = {}
    asleep = {"engine, asleep": ENGINE_ASLEEP} if engine and settings.engine and settings.engine.sleeps else engine
    engine, asleep = engine | copy, asleep | copy
    beside = asleep if settings.engine_beside else {}
    resting = _states(settings, gradients=False)
    phases = []
    if settings.zero:
        # It takes whole networks, and shares them out one after the other.
        whole = {f"{name} weights": float(FP32 * n.architecture.total) for name, n in settings.networks.items()}
        phases.append(Phase("setting DeepSpeed up", whole))
    if settings.engine is not None:
        parts = resting | engine if settings.engine_beside else engine
        phases.append(Phase("rollout" if settings.engine_beside else "sampling pairs", parts))
    for name, network in reversed(settings.networks.items()):
        own = pass_of(settings, on_gpu=memory is not None)
        shape = shape_of(settings, name, own)
        if name == "discriminator":
            forward = forward_only(network.architecture, shape, width=settings.width)
            gathers = _gathers_forward(network.architecture, settings)
            phases.append(Phase("score", resting | beside | gathers | {"activations": forward}))
        passing = update_parts(network, shape, own)
        phases.append(Phase(f"{name} update", _states(settings, learning=name) | beside | passing))
    if settings.engine is not None and settings.engine_beside:
        largest = FP32 * settings.engine_policy.embedding
        weights = {name: size for name, size in engine.items() if name in ("engine weights", *copy)}
        awake = weights | asleep if settings.engine.sleeps else engine
        phases.append(Phase("sync", resting | awake | {"gathers": 2 * largest}))
    if settings.probe is not None:
        phases.append(Phase("convergence probe", resting | beside | _probe(settings, on_gpu=memory is not None)))
    # A checkpoint's copies go to the host; models are gathered tensor by tensor when the stage ends.
    phases.append(Phase("export", resting | beside | {"gathers": FP32 * settings.engine_policy.embedding}))
    if memory is not None:
        phases = [Phase(phase.name, phase.parts | _overhead(phase.parts)) for phase in phases]
    return Plan(settings, memory, tuple(phases), host_memory(settings), kv_tokens)


def _states(settings: Settings, *, gradients: bool = True, learning: str = "") -> Parts:
    """Of all networks; only the one that learns has gradients, and a frozen reference weights alone."""
    parts: Parts = {}
    for name, network in settings.networks.items():
        parts[f"{name} weights"] = _weights(network, settings)
        here = 0 if settings.offload else network.trained / settings.ranks
        if gradients and name == learning:
            parts[f"{name} gradients"] = FP32 * here
        parts[f"{name} moments"] = 2 * FP32 * here
        if settings.zero == 2:
            parts[f"{name} fp32 weights"] = FP32 * here
        if settings.zero and name == learning:
            parts[f"{name} gathers, buckets"] = _buckets(network, settings)
    if settings.reference and settings.policy is not None:
        here = 0.0 if settings.host_shards else 1 / settings.ranks
        parts["reference weights"] = FP32 * settings.policy.architecture.total * here
    return parts


def _weights(network: Network, settings: Settings) -> float:
    if settings.zero == 2:
        return FP32 * network.architecture.total
    return 0.0 if settings.offload else FP32 * network.architecture.total / settings.ranks


def _buckets(network: Network, settings: Settings) -> float:
    """DeepSpeed reduces gradients in buckets, and in stage 3 keeps gathered what it will soon need again."""
    kept = min(network.architecture.total, ZERO_LIVE) if settings.zero == 3 else 0
    return FP32 * (min(network.trained, ZERO_BUCKET) + kept)


def update_parts(network: Network, shape: Shape, own: Pass) -> Parts:
    """Gathers, activations and logits at the worst moment: of the backward pass the head, the layers, the root, or the
    optimizer's step."""
    arch, width = network.architecture, own.width
    activations = held(
        arch, shape, own, checkpointing=network.checkpointing, tower=network.tower_learns, offload=network.offload
    )
    full = network.trained > arch.layers * arch.layer / 2
    learnt = 0 if arch.score_heads or not full else arch.embedding
    root, layer, at_end = 0, 0.0, 0.0
    if own.shards:
        # The root's own backward pass comes when no activation is left.
        root, layer = width * arch.root, (3 * width + FP32) * arch.layer
        at_end = (2 * width + FP32) * arch.root if full else root
        if own.offload:
            layer += FP32 * arch.layer / own.ranks
            at_end += FP32 * arch.root / own.ranks
    largest = max(arch.embedding, arch.layer // 3 if arch.experts else 0)
    together = own.shards or own.device == "cuda"
    moments: list[Parts] = [
        {
            "gathers": root + (FP32 if own.likelihood else width) * learnt,
            "activations": activations.at_head,
            "logits": activations.logits,
        },
        {"gathers": root + layer + width * learnt, "activations": activations.inside},
        {"gathers": at_end + (width * arch.embedding if full else 0) + (width * learnt if arch.tied else 0)},
        {"optimizer's step": 0 if own.offload else FP32 * (network.trained / own.ranks if together else 2 * largest)},
    ]
    return max(moments, key=lambda parts: sum(parts.values()))


def _gathers_forward(arch: Architecture, settings: Settings) -> Parts:
    return {"gathers": settings.width * (arch.root + 3 * arch.layer) if settings.gathers else 0.0}


def _probe(settings: Settings, *, on_gpu: bool) -> Parts:
    assert settings.probe is not None
    probe, network, work = settings.probe, settings.probe.network, settings.workload
    own = pass_of(settings, on_gpu=on_gpu)
    lengths = ((settings.max_prompt, settings.max_new), (work.prompt_tokens, work.response_tokens))
    shapes = (
        Shape.of(probe.max_tokens, prompt, max(1, response // 2), 4, work.image_share, learnt=False, padded=on_gpu)
        for prompt, response in lengths
    )
    states = (FP32 * network.architecture.total + 3 * FP32 * network.trained) / settings.ranks
    if settings.host_shards:
        states = 0.0
    passing = (update_parts(network, shape, own) for shape in shapes)
    return {"probe's states": states} | max(passing, key=lambda parts: sum(parts.values()))


def _engine_parts(settings: Settings, memory: float | None) -> tuple[Parts, float | None]:
    engine, arch = settings.engine, settings.engine_policy
    if engine is None:
        return {}, None
    if engine.share is None or memory is None:
        return {"engine weights": float(FP32 * arch.total)}, None
    weights = float(BF16 * arch.total)
    room = engine.share * memory - weights - ENGINE_WORK
    parts = {"engine weights": weights, "engine work": ENGINE_WORK, "keys and values": max(room, 0.0)}
    return parts, room / kv_bytes(arch)


def _engine_copy(settings: Settings) -> Parts:
    """The trainer's weights, whole, on their way to an engine in a process of its own."""
    if settings.engine is None or not settings.engine.in_process:
        return {}
    return {"engine's copy": float(FP32 * settings.engine_policy.total)}


def kv_bytes(arch: Architecture) -> int:
    """Of the keys and values of one token, in bf16."""
    return 2 * arch.layers * arch.key * BF16


def _overhead(parts: Parts) -> Parts:
    own = sum(size for name, size in parts.items() if not name.startswith(("engine", "keys")))
    return {"context, fragmentation": CONTEXT + FRAGMENTATION * own}

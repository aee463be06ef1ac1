"""Memory of one GPU by phase and part, and of a host.

    weights 4 P / W    gradients 4 t / W    moments 8 t / W         P parameters, t of them trained, W ranks that share them
    gathers in a backward pass: w root + (3 w + 4) layer                w bytes a number; root: all outside layers, gathered
    of a trained head besides: 2 w V H while it, w V H while layers, (w + 4) root + w V H while the root goes backward

A layer's are its weights and the next one's on their way, its gradients, and the fp32 sums that are being shared out. With
bf16 w is 2: weights are rounded as they are gathered. What is not sharded is not gathered, and AdamW's step over whole
weights holds another 4 t.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prism_pl.planning.activations import BF16, FP32, Shape, forward_only, held
from prism_pl.planning.architecture import Architecture
from prism_pl.planning.settings import Network, Settings

CONTEXT = 1.5e9
"""Of a GPU: the driver's context, NCCL's and cuBLAS's buffers. Assumed."""
FRAGMENTATION = 0.05
"""Of what the trainer holds. Assumed."""
ENGINE_WORK = 2.0e9
"""Of a vLLM beside weights, keys and values: activations, sampler, graphs. Assumed."""
ENGINE_ASLEEP = 2.0e9
"""What a sleeping vLLM keeps. Assumed."""
_GPUS_A_NODE = 8
_PROCESS = 6e9
"""A process with its libraries, on the host. Assumed."""

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
    asleep = {"engine, asleep": ENGINE_ASLEEP} if settings.engine and settings.engine.sleeps else engine
    beside = asleep if settings.engine_beside else {}
    resting = _states(settings, gradients=False)
    phases = []
    if settings.engine is not None:
        parts = resting | engine if settings.engine_beside else engine
        phases.append(Phase("rollout" if settings.engine_beside else "sampling pairs", parts))
    for name, network in reversed(settings.networks.items()):
        shape = shape_of(settings, name)
        if name == "discriminator":
            forward = forward_only(network.architecture, shape, width=settings.width)
            gathers = _gathers_forward(network.architecture, settings)
            phases.append(Phase("score", resting | beside | gathers | {"activations": forward}))
        passing = update_parts(
            network,
            shape,
            sharded=settings.shards,
            width=settings.width,
            fused_step=memory is not None and not settings.shards,
        )
        phases.append(Phase(f"{name} update", _states(settings, learning=name) | beside | passing))
    if settings.engine is not None and settings.engine_beside:
        largest = FP32 * settings.engine_policy.embedding
        weights = {name: size for name, size in engine.items() if name == "engine weights"}
        awake = weights | asleep if settings.engine.sleeps else engine
        phases.append(Phase("sync", resting | awake | {"gathers": 2 * largest}))
    if settings.probe is not None:
        phases.append(Phase("convergence probe", resting | beside | _probe(settings)))
    phases.append(Phase("checkpoint", resting | beside | {"gathers": FP32 * settings.engine_policy.embedding}))
    if memory is not None:
        phases = [Phase(phase.name, phase.parts | _overhead(phase.parts)) for phase in phases]
    return Plan(settings, memory, tuple(phases), _host(settings), kv_tokens)


def shape_of(settings: Settings, network: str) -> Shape:
    """The micro-batch of an update that holds most: of the longest sequences, or of those of mean length."""
    work = settings.workload

    def shape(prompt: int, response: int) -> Shape:
        policy = network == "policy"
        segment, count = (response, settings.group_size) if policy else (max(1, response // 2), settings.segments)
        return Shape.of(settings.max_tokens, prompt, segment, count, work.image_share, learnt=policy)

    full, mean = shape(settings.max_prompt, settings.max_new), shape(work.prompt_tokens, work.response_tokens)
    arch, width = settings.networks[network].architecture, settings.width
    return max(full, mean, key=lambda s: held(arch, s, width=width, checkpointing=True).inside)


def _states(settings: Settings, *, gradients: bool = True, learning: str = "") -> Parts:
    """Of all networks; only the one that learns has gradients, and a frozen reference weights alone."""
    parts: Parts = {}
    for name, network in settings.networks.items():
        parts[f"{name} weights"] = FP32 * network.architecture.total / settings.ranks
        if gradients and name == learning:
            parts[f"{name} gradients"] = FP32 * network.trained / settings.ranks
        parts[f"{name} moments"] = 2 * FP32 * network.trained / settings.ranks
    if settings.reference and settings.policy is not None:
        parts["reference weights"] = FP32 * settings.policy.architecture.total / settings.ranks
    return parts


def update_parts(network: Network, shape: Shape, *, sharded: bool, width: int, fused_step: bool = False) -> Parts:
    """Gathers, activations and logits at the worst moment: of the backward pass the head, the layers, the root, or the
    optimizer's step. ``fused_step`` is whether that takes all weights at once, as on a GPU that does not share them."""
    arch = network.architecture
    own = held(arch, shape, width=width, checkpointing=network.checkpointing, tower=network.tower_learns)
    full = network.trained > arch.layers * arch.layer / 2
    head = 0 if arch.score_heads or not full else width * arch.embedding
    pending = head if arch.tied else 0
    root = layer = at_end = 0
    if sharded:
        # The root's own backward pass comes when no activation is left.
        root, layer = width * arch.root, (3 * width + FP32) * arch.layer
        at_end = (2 * width + FP32) * arch.root if full else root
    largest = max(arch.embedding, arch.layer // 3 if arch.experts else 0)
    moments: list[Parts] = [
        {"gathers": root + 2 * head, "activations": own.at_head, "logits": own.logits},
        {"gathers": root + layer + pending, "activations": own.inside},
        {"gathers": at_end + (width * arch.embedding if full else 0) + pending},
        {"optimizer's step": FP32 * (network.trained if fused_step else 0 if sharded else 2 * largest)},
    ]
    return max(moments, key=lambda parts: sum(parts.values()))


def _gathers_forward(arch: Architecture, settings: Settings) -> Parts:
    return {"gathers": settings.width * (arch.root + 3 * arch.layer) if settings.shards else 0.0}


def _probe(settings: Settings) -> Parts:
    assert settings.probe is not None
    probe, network = settings.probe, settings.probe.network
    sharded, work = probe.sharded, settings.workload
    width = settings.width if sharded else FP32
    lengths = ((settings.max_prompt, settings.max_new), (work.prompt_tokens, work.response_tokens))
    candidates = [
        update_parts(
            network,
            Shape.of(probe.max_tokens, prompt, max(1, response // 2), 4, work.image_share, learnt=False),
            sharded=sharded,
            width=width,
            fused_step=not sharded,
        )
        for prompt, response in lengths
    ]
    states = (FP32 * network.architecture.total + 3 * FP32 * network.trained) / (settings.ranks if sharded else 1)
    return {"probe's states": states} | max(candidates, key=lambda parts: sum(parts.values()))


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


def kv_bytes(arch: Architecture) -> int:
    """Of the keys and values of one token, in bf16."""
    return 2 * arch.layers * arch.key * BF16


def _overhead(parts: Parts) -> Parts:
    own = sum(size for name, size in parts.items() if not name.startswith(("engine", "keys")))
    return {"context, fragmentation": CONTEXT + FRAGMENTATION * own}


def _host(settings: Settings) -> dict[str, float]:
    """Of the node of the first rank."""
    here = min(settings.devices, _GPUS_A_NODE)
    processes = here * _PROCESS
    loading = processes
    for name, network in settings.networks.items():
        size = network.architecture.total
        mapped = name == "policy" and settings.shards and network.trained > size / 2
        # Stored in bf16 and mapped, pages are shared by all ranks of a machine; what is built or adapted is not.
        loading += BF16 * size + FP32 * size * here / settings.ranks if mapped else FP32 * size * here
    states = sum(FP32 * n.architecture.total + 2 * FP32 * n.trained for n in settings.networks.values())
    # Gathered on the first rank, and once more as the bytes of the file.
    return {"loading": loading, "checkpoint": processes + 2 * states}

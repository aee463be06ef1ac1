"""The nearest setting that fits: a search over a few keys, fewest changes first, and of these the cheapest.

A change costs what it takes from the run: sleep, checkpointing, smaller micro-batches and the host's memory only time; a
smaller share of the engine concurrency; more devices money; adapters and a missing probe change what is trained or known.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from itertools import combinations, product
from typing import Any

from prism_pl.engines import VLLMEngine
from prism_pl.planning.memory import Plan, make_plan
from prism_pl.planning.settings import Settings

_ENOUGH_SEQUENCES = 8
"""Of full length that an engine should hold at once, or all of a rank's if they are fewer."""
_LORA_RANK, _LORA_TARGETS = 16, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_MOST_CHANGES = 4


@dataclass(frozen=True)
class Change:
    """One key's new value."""

    text: str
    """As a user writes it."""
    cost: float
    apply: Callable[[Settings], Settings]
    """To settings that others may have changed."""


@dataclass(frozen=True)
class Remedy:
    """Changes after which a stage fits, and its plan then."""

    changes: tuple[str, ...]
    plan: Plan


def nearest_fit(settings: Settings, memory: float) -> Remedy | None:
    """The cheapest changes, fewest first; None if nothing that is tried fits."""
    knobs = [changes for knob in _KNOBS if (changes := list(knob(settings)))]
    for count in range(1, _MOST_CHANGES + 1):
        found: list[tuple[float, tuple[str, ...], Plan]] = []
        for chosen in combinations(knobs, count):
            for picked in product(*chosen):
                plan = make_plan(_together(settings, picked), memory)
                if plan.fits and _enough(plan):
                    found.append((sum(change.cost for change in picked), tuple(change.text for change in picked), plan))
        if found:
            _, texts, plan = min(found, key=lambda entry: entry[0])
            return Remedy(texts, plan)
    return None


def _together(settings: Settings, changes: tuple[Change, ...]) -> Settings:
    for change in changes:
        settings = change.apply(settings)
    return settings


def _enough(plan: Plan) -> bool:
    if plan.kv_sequences is None:
        return True
    own = -(-plan.settings.batch_size * plan.settings.group_size // plan.settings.devices)
    return plan.kv_sequences >= min(_ENOUGH_SEQUENCES, own)


def _sleep(settings: Settings) -> Iterator[Change]:
    """Only if the engine has such a key."""
    keys = [name for name in signature(VLLMEngine).parameters if name.startswith("sleep")]
    engine = settings.engine
    if keys and engine is not None and engine.share is not None and not engine.sleeps:
        yield Change(f"RolloutCallback.engine.{keys[0]} on", 1.0, lambda s: _with_engine(s, sleeps=True))


def _engine_share(settings: Settings) -> Iterator[Change]:
    engine = settings.engine
    if engine is None or engine.share is None:
        return
    for percent in range(95, 5, -5):
        share = percent / 100
        if share != engine.share:
            text = f"RolloutCallback.engine.gpu_memory_utilization {share}"
            cost = 1.0 + 4 * abs(share - engine.share)
            yield Change(text, cost, partial(_with_engine, share=share))


def _max_tokens(settings: Settings) -> Iterator[Change]:
    """Not below the longest sequence, which is a micro-batch of its own anyway."""
    longest, size = settings.max_prompt + settings.max_new, settings.max_tokens
    while size > longest:
        size = max(longest, size // 2)
        cost = 1.0 + settings.max_tokens / size / 4
        yield Change(f"--model.max_tokens {size}", cost, partial(replace, max_tokens=size))


def _checkpointing(settings: Settings) -> Iterator[Change]:
    for name, network in settings.networks.items():
        if not network.checkpointing:
            text = f"--model.{name}.gradient_checkpointing true"
            yield Change(text, 1.0, partial(_with_network, name=name, checkpointing=True))


def _activations(settings: Settings) -> Iterator[Change]:
    """Those that checkpointing keeps."""
    for name, network in settings.networks.items():
        if network.checkpointing and not network.offload:
            text = f"--model.{name}.offload_activations true"
            yield Change(text, 1.5, partial(_with_network, name=name, offload=True))


def _shards(settings: Settings) -> Iterator[Change]:
    """Every pass fetches weights over the host's link, and the host steps: only where other time is not enough."""
    if settings.copies > 1:
        yield Change("--trainer.strategy fsdp2", 1.5, partial(replace, copies=1))
    elif settings.shards and not settings.offload:
        strategy = f"deepspeed_stage_{settings.zero}" if settings.zero else "fsdp2"
        yield Change(f"--trainer.strategy {strategy}_offload", 3.0, partial(replace, offload=True))


def _devices(settings: Settings) -> Iterator[Change]:
    for factor in (2, 4, 8):
        count = settings.devices * factor
        if settings.batch_size % count == 0:
            # A single device does not shard yet.
            text = f"--trainer.devices {count}" + ("" if settings.shards or settings.zero else " --trainer.strategy fsdp2")
            yield Change(text, 2.0 * factor, partial(replace, devices=count, shards=True))


def _probe(settings: Settings) -> Iterator[Change]:
    if settings.probe is not None:
        yield Change("leave ConvergenceProbe out", 5.0, partial(replace, probe=None))


def _lora(settings: Settings) -> Iterator[Change]:
    for name, network in settings.networks.items():
        if network.trained > network.architecture.total / 4:
            arch = network.architecture
            trained = arch.lora(_LORA_RANK, _LORA_TARGETS) + arch.head * bool(arch.score_heads)
            changed = partial(_with_network, name=name, trained=trained, tower_learns=False)
            yield Change(f'--model.{name}.lora "{{rank: {_LORA_RANK}, alpha: 32}}"', 10.0, changed)


def _with_engine(settings: Settings, **changes: Any) -> Settings:
    assert settings.engine is not None
    return replace(settings, engine=replace(settings.engine, **changes))


def _with_network(settings: Settings, *, name: str, **changes: Any) -> Settings:
    network = replace(settings.networks[name], **changes)
    return replace(settings, policy=network) if name == "policy" else replace(settings, discriminator=network)


_KNOBS = (_sleep, _engine_share, _max_tokens, _checkpointing, _activations, _shards, _devices, _probe, _lora)

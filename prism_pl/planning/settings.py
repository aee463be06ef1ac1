"""What a stage's configuration says about memory and work, read from its complete keys."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from prism_pl.discriminators import Discriminator
from prism_pl.engines import ProcessEngine, VLLMEngine, VLLMServerEngine
from prism_pl.model.adapters import LoraOptions
from prism_pl.planning.architecture import Architecture
from prism_pl.planning.names import OriginOf, architecture_of

_PROMPT_SHARE, _RESPONSE_SHARE, _IMAGE_SHARE = 0.5, 0.25, 0.5


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Mean lengths in tokens. What is not said is a share of the limits: half a prompt's, a quarter of a response's."""

    prompt_tokens: int
    response_tokens: int
    image_share: float = _IMAGE_SHARE
    """Of a prompt's tokens."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A model that a stage trains."""

    architecture: Architecture
    trained: int
    """Parameters with a gradient."""
    checkpointing: bool
    tower_learns: bool = True
    """Whether a gradient goes through the vision tower."""
    offload: bool = False
    """What checkpointing keeps waits on the host."""


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The rollout engine on each GPU."""

    share: float | None
    """Of the GPU's memory that a vLLM takes; None of an engine that computes with a second copy of the weights alone."""
    sleeps: bool
    """Gives its memory back while the trainer computes."""
    max_num_seqs: int
    in_process: bool = False
    """A process of its own: weights travel through a copy beside the trainer's."""
    elsewhere: bool = False
    """On GPUs that the trainer does not use."""


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """``ConvergenceProbe``: a fresh discriminator that learns beside everything else."""

    network: Network
    max_tokens: int


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One stage, its batch sizes over all devices together."""

    stage: str
    devices: int
    shards: bool
    """Ranks share out what the network needs: FSDP2 and ZeRO's stage 3 all of it, stage 2 all but the weights."""
    bf16: bool
    """Weights are gathered and activations kept in bf16."""
    policy: Network | None
    """None in a warm-up, which trains the discriminator alone."""
    reference: bool
    discriminator: Network | None
    engine: EngineSettings | None
    engine_policy: Architecture
    """The weights that the engine holds."""
    engine_beside: bool
    """Whether the engine stays while the stage trains; a warm-up's is gone before."""
    overlap: int = 0
    """Batches that are sampled ahead."""
    probe: ProbeSettings | None
    batch_size: int
    """Prompts or rows of an update of all devices."""
    group_size: int
    segments: int
    """That the discriminator reads of a prompt."""
    max_prompt: int
    max_new: int
    max_tokens: int
    workload: Workload
    copies: int = 1
    """Of the sharded weights: one a node under hybrid sharding."""
    zero: int = 0
    """DeepSpeed's stage, 2 or 3; 0 is without it."""
    offload: bool = False
    """fp32 weights, gradients and moments are on the host, in DeepSpeed's stage 3 the weights as well. With FSDP2 these are
    one and the same, and those of networks that are not trained are there, too."""

    @property
    def host_shards(self) -> bool:
        """Whether FSDP2's shards are on the host, of all networks."""
        return self.offload and not self.zero

    @property
    def gathers(self) -> bool:
        """Whether a module's weights are gathered for its pass."""
        return self.shards and self.zero != 2

    @property
    def width(self) -> int:
        """Bytes of a number in a pass."""
        return 2 if self.bf16 else 4

    @property
    def ranks(self) -> int:
        """Over which weights are shared out."""
        return self.devices // self.copies if self.shards else 1

    @property
    def samples(self) -> bool:
        """Whether each step begins with rollouts."""
        return self.engine is not None and self.stage in ("AdversarialAlignModule", "RLVRModule")

    @property
    def likelihood(self) -> bool:
        """Whether the policy's loss is a sum of log-probabilities alone."""
        return self.stage == "SFTModule"

    @property
    def networks(self) -> dict[str, Network]:
        """What the stage trains, by name."""
        both = {"policy": self.policy, "discriminator": self.discriminator}
        return {name: network for name, network in both.items() if network is not None}


def read_settings(
    config: Mapping[str, Any], origin_of: OriginOf, devices: int | None = None, workload: Mapping[str, Any] | None = None
) -> Settings:
    """From the complete configuration of a stage, as ``fit --print_config`` prints it.

    ``devices`` overrides the trainer's; ``workload`` holds the fields of ``Workload`` that are known. Raises UserError if
    the size of a model is not to be known.
    """
    stage, model, data, trainer = (
        _name(config["model"]),
        _options(config["model"]),
        _options(config["data"]),
        config["trainer"],
    )
    callbacks = {_name(item): _options(item) for item in trainer.get("callbacks") or ()}
    rollout = callbacks.get("RolloutCallback") or data
    sampling = rollout.get("sampling") or {}
    path = model["policy"]["path"]
    engine_policy = architecture_of(path, "model.policy.path", origin_of)
    policy = None if stage == "DiscriminatorModule" else _policy(model["policy"], engine_policy)
    discriminator = None
    if "discriminator" in model:
        discriminator = _discriminator(model["discriminator"], path, "model.discriminator.path", origin_of)
    max_prompt = data.get("max_prompt_tokens", 2048)
    max_new = sampling.get("max_new_tokens") or data.get("max_response_tokens") or 1
    group_size = sampling.get("group_size", 1)
    known = {k: v for k, v in (workload or {}).items() if v is not None}
    count = devices or _devices(trainer)
    bf16 = str(trainer.get("precision")).startswith("bf16")
    # On one device fsdp2 shards nothing, but rounds weights as it gathers them, and fetches them from the host.
    zero, offload = zero_of(trainer)
    shards = count > 1 if zero else "fsdp2" in _strategy(trainer) and (count > 1 or bf16 or offload)
    loss = model.get("discriminator_loss") or {}
    in_batch = loss.get("in_batch_negatives", 1) if loss.get("in_batch_weight") else 0
    return Settings(
        stage=stage,
        devices=count,
        shards=shards,
        copies=copies_of(trainer),
        zero=zero,
        offload=offload,
        bf16=bf16,
        policy=policy,
        reference=bool(model.get("kl_weight") or _options(model.get("algorithm")).get("kl_weight")),
        discriminator=discriminator,
        engine=_engine(rollout.get("engine") or _options_of_engine(callbacks)),
        engine_policy=engine_policy,
        engine_beside=stage != "DiscriminatorModule",
        overlap=rollout.get("overlap") or 0,
        probe=_probe(callbacks.get("ConvergenceProbe"), path, origin_of),
        batch_size=data["batch_size"],
        group_size=group_size,
        segments=2 * (1 + group_size + in_batch),
        max_prompt=max_prompt,
        max_new=max_new,
        max_tokens=model["max_tokens"],
        workload=replace(
            Workload(
                prompt_tokens=max(1, round(_PROMPT_SHARE * max_prompt)),
                response_tokens=max(1, round(_RESPONSE_SHARE * max_new)),
            ),
            **known,
        ),
    )


def _policy(options: Mapping[str, Any], arch: Architecture) -> Network:
    freeze, lora = options.get("freeze") or {}, options.get("lora")
    if lora:
        trained, tower = arch.lora(lora["rank"], tuple(lora["targets"])), False
    else:
        parts = {"vision_tower": arch.vision_tower, "projector": arch.merger, "language_model": arch.language_model}
        trained = sum(size for name, size in parts.items() if not freeze.get(name))
        tower = not freeze.get("vision_tower")
    return Network(
        architecture=arch,
        trained=trained,
        checkpointing=bool(options.get("gradient_checkpointing")),
        tower_learns=tower,
        offload=bool(options.get("offload_activations")),
    )


def _discriminator(entry: Mapping[str, Any], policy: str, key: str, origin_of: OriginOf) -> Network:
    built = built_discriminator(entry)
    arch = architecture_of(built.path or policy, key, origin_of, built)
    trained, tower = arch.total, built.sees_images
    if built.lora is not None:
        trained, tower = arch.lora(built.lora.rank, tuple(built.lora.targets)) + arch.head, False
    elif not tower:
        trained -= arch.vision_tower + arch.merger
    return Network(
        architecture=arch,
        trained=trained,
        checkpointing=built.gradient_checkpointing,
        tower_learns=tower,
        offload=built.offload_activations,
    )


def built_discriminator(entry: Mapping[str, Any]) -> Discriminator:
    """The options object of a ``class_path`` entry; no network is made."""
    module, _, name = entry["class_path"].rpartition(".")
    options = dict(_options(entry))
    if options.get("lora"):
        options["lora"] = LoraOptions(**options["lora"])
    built = getattr(importlib.import_module(module or "prism_pl.discriminators"), name)(**options)
    assert isinstance(built, Discriminator)
    return built


def _engine(entry: Mapping[str, Any] | None) -> EngineSettings | None:
    if not entry:
        return None
    options = _options(entry)
    if _name(entry) == VLLMServerEngine.__name__:
        # It needs nothing of the trainers' GPUs, and how fast other machines sample is not known here.
        return None
    if _name(entry) == ProcessEngine.__name__:
        inner = _engine(options["engine"])
        return inner and replace(inner, in_process=True, elsewhere=options.get("devices") is not None)
    if not _name(entry).startswith(VLLMEngine.__name__):
        return EngineSettings(share=None, sleeps=False, max_num_seqs=256)
    sleeps = any(value for name, value in options.items() if name.startswith("sleep") and value != "off")
    return EngineSettings(
        share=options["gpu_memory_utilization"], sleeps=sleeps, max_num_seqs=options.get("max_num_seqs", 256)
    )


def _options_of_engine(callbacks: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """A stage without rollouts may evaluate with an engine of its own."""
    return (callbacks.get("EvaluationCallback") or {}).get("engine")


def _probe(options: Mapping[str, Any] | None, policy: str, origin_of: OriginOf) -> ProbeSettings | None:
    if options is None:
        return None
    network = _discriminator(options["discriminator"], policy, "ConvergenceProbe.discriminator.path", origin_of)
    return ProbeSettings(network=network, max_tokens=options["training"]["max_tokens"])


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["class_path"]).rpartition(".")[2]


def _options(entry: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return (entry or {}).get("init_args") or {}


def _strategy(trainer: Mapping[str, Any]) -> str:
    strategy = trainer.get("strategy") or ""
    return strategy if isinstance(strategy, str) else _name(strategy).lower()


def copies_of(trainer: Mapping[str, Any]) -> int:
    """Of FSDP2's shards over nodes."""
    strategy = trainer.get("strategy")
    options = {} if isinstance(strategy, str) or strategy is None else _options(strategy)
    hybrid = _strategy(trainer) == "fsdp2_hybrid" or options.get("hybrid", False)
    return int(trainer.get("num_nodes") or 1) if hybrid else 1


def zero_of(trainer: Mapping[str, Any]) -> tuple[int, bool]:
    """DeepSpeed's stage, 0 without it, and whether it, or fsdp2, offloads."""
    name, strategy = _strategy(trainer), trainer.get("strategy")
    if name.startswith("deepspeed_stage_"):
        return int(name.removeprefix("deepspeed_stage_")[0]), name.endswith("_offload")
    if name == "fsdp2_offload":
        return 0, True
    options = {} if isinstance(strategy, str) else _options(strategy)
    stage = options.get("stage", 3) if name == "zerostrategy" else 0
    return stage, bool(options.get("offload", False))


def _devices(trainer: Mapping[str, Any]) -> int:
    given = trainer.get("devices")
    if isinstance(given, (list, tuple)):
        count = len(given)
    else:
        text = str(given)
        count = len(text.split(",")) if "," in text else int(text) if text.isdigit() else 1
    return max(1, count) * int(trainer.get("num_nodes") or 1)

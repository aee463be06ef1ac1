"""What a discriminator class decides, and how one is made: loaded from a folder of its own, or built from a dense model."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from transformers import AutoConfig, PreTrainedConfig
from transformers.initialization import no_init_weights

from prism_pl.discriminators.model import DenseScorer, MixtureScorer, Scorer
from prism_pl.discriminators.reading import Reading
from prism_pl.discriminators.routing import KINDS
from prism_pl.discriminators.upcycling import DenseWeights, dense_config, dense_tensors, mixture_config, mixture_tensors
from prism_pl.errors import UserError
from prism_pl.hub import DISCRIMINATOR_RECORD, model_folder
from prism_pl.model.adapters import LoraOptions
from prism_pl.model.attention import use_attention
from prism_pl.model.checkpointing import check_options, enable_checkpointing
from prism_pl.model.exporting import stored_dtype
from prism_pl.model.sharding import fill
from prism_pl.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

# Options of a run; all others are recorded in the folder, because scores depend on them.
_RUN_OPTIONS = ("path", "noise", "seed", "score_clip", "gradient_checkpointing", "offload_activations", "lora")


@dataclass(frozen=True, kw_only=True)
class Discriminator(ABC):
    """Base of all discriminators; the leaves are frozen dataclasses whose fields are their options."""

    path: str | None = None
    """A folder of this class, or a dense Qwen3-VL that it is built from; null builds it from the stage's policy."""
    reasoning_sees_caption: bool = False
    """The reasoning expert reads the caption before think and answer."""
    readout: Literal["mean", "last"] = "mean"
    """The head reads the mean of a segment's hidden states, or the last one. Through the mean every token of a caption is
    compared with the image directly: it learns to look several times faster (docs/alignment.md)."""
    noise: NonNegativeFloat = 0.01
    """When built: relative Gaussian noise that breaks the symmetry of copied feed-forward layers."""
    seed: NonNegativeInt = 0
    """When built: of router, heads and noise."""
    score_clip: PositiveFloat | None = None
    """Scores are cut to this magnitude; null leaves them. A cut score has no gradient."""
    gradient_checkpointing: bool = False
    """Computes activations again in the backward pass, for less memory."""
    offload_activations: bool = False
    """What ``gradient_checkpointing`` keeps waits in the host's memory."""
    lora: LoraOptions | None = None
    """Train adapters, heads and routers only; null trains everything."""

    foreign_names: ClassVar[dict[str, str] | None] = None
    """Regular expressions of names in a folder that is not ours, and our names."""
    sees_images: ClassVar[bool] = True
    num_heads: ClassVar[int] = 2

    @abstractmethod
    def fresh_config(self, dense: PreTrainedConfig) -> PreTrainedConfig:
        """The configuration of the network built from a dense model."""

    @abstractmethod
    def tensors(self, dense: DenseWeights, config: PreTrainedConfig) -> Any:
        """Names and tensors of the network built from a dense model, one at a time."""

    def record(self) -> dict[str, Any]:
        """What config.json says about the discriminator."""
        kept = {name: value for name, value in asdict(self).items() if name not in _RUN_OPTIONS}
        return {
            "class": type(self).__name__,
            "num_heads": self.num_heads,
            "sees_images": self.sees_images,
            "options": kept,
        }

    def build(
        self,
        policy: str,
        purpose: str,
        dtype: torch.dtype = torch.float32,
        prepare: Callable[[Scorer], None] = lambda scorer: None,
        *,
        as_stored: bool = False,
    ) -> Scorer:
        """The network, complete with heads. Raises UserError if the folder is of another class or lacks weights.

        ``policy`` is the stage's policy and ``purpose`` the configuration key, for error messages. ``prepare`` may shard
        the network: it comes before weights are made, and where they are read from a folder, ``as_stored`` leaves them
        pages of the file. So no rank ever holds the whole.
        """
        check_options(purpose, checkpointing=self.gradient_checkpointing, offload=self.offload_activations)
        folder = model_folder(self.path or policy, f"{purpose}.path")
        config = self.network_config(folder, purpose)
        if is_built := _is_dense(folder):
            with no_init_weights():
                scorer = _finish(_scorer_class(config)(config))
        else:
            kept = stored_dtype(folder) if as_stored else dtype
            scorer = load_scorer(folder, purpose, kept, config=config, key_mapping=self.foreign_names)
        if self.gradient_checkpointing:
            enable_checkpointing(scorer, offload=self.offload_activations)
        if self.lora is not None:
            scorer.add_lora(self.lora)
        prepare(scorer)
        if is_built:
            self._make_weights(scorer, folder)
            scorer.to(dtype)
        scorer.score_clip = self.score_clip
        # Loaded models come in eval mode, in which checkpointing does nothing. There is no dropout.
        return scorer.train()

    def shell(self, policy: str, purpose: str) -> Scorer:
        """The network without weights, to write others' in its form."""
        config = self.network_config(model_folder(self.path or policy, f"{purpose}.path"), purpose)
        with torch.device("meta"):
            scorer = _finish(_scorer_class(config)(config))
        if self.lora is not None:
            scorer.add_lora(self.lora)
        return scorer

    def network_config(self, folder: str, purpose: str) -> PreTrainedConfig:
        """Of the network that ``folder`` holds, or that is built from it: a dense model serves all classes."""
        config = AutoConfig.from_pretrained(folder)
        if hasattr(config, DISCRIMINATOR_RECORD):
            self._check_record(getattr(config, DISCRIMINATOR_RECORD), folder, purpose)
            return config
        if config.model_type != "qwen3_vl":
            raise UserError(
                f"{purpose}: {folder} is a {config.model_type} model, neither a {type(self).__name__} (made by warmup.yaml "
                f"or `prism_pl upcycle`) nor a dense qwen3_vl to build one from."
            )
        return self.fresh_config(config)

    def _make_weights(self, scorer: Scorer, folder: str) -> None:
        # Adapters are drawn already, and have renamed what they stand beside.
        targets = {name.replace(".base_layer.", "."): p for name, p in scorer.named_parameters() if ".lora_" not in name}
        for name, tensor in self.tensors(DenseWeights(folder), scorer.config):
            fill(targets.pop(name), tensor)
            del tensor  # before the next one is made
        assert not targets, f"never written: {sorted(targets)[:3]}"

    def _check_record(self, record: dict[str, Any], folder: str, purpose: str) -> None:
        own = self.record()
        if record["class"] != own["class"]:
            raise UserError(
                f"{purpose}: {folder} holds a {record['class']}, the configuration asks for a {own['class']}. "
                f"Make one with `python -m prism_pl fit --config warmup.yaml --model.discriminator={own['class']} "
                f"--run_dir RUN` and give `--{purpose}.path RUN/model`, or take class_path {record['class']}."
            )
        for name, value in own["options"].items():
            if record["options"].get(name) != value:
                raise UserError(
                    f"{purpose}.{name} is {value}, but {folder} was made with {record['options'].get(name)}. "
                    f"Scores depend on it: give the same value, or warm up anew."
                )


def load_scorer(folder: str, purpose: str, dtype: torch.dtype = torch.float32, **kwargs: Any) -> Scorer:
    """From a folder that a discriminator was saved to. A missing head or any other missing weight is an error."""
    config = kwargs.pop("config", None) or AutoConfig.from_pretrained(folder)
    if not hasattr(config, DISCRIMINATOR_RECORD):
        raise UserError(
            f"{purpose}: {folder} is a {config.model_type} model, not a discriminator; make one with warmup.yaml."
        )
    loaded: Any = _scorer_class(config).from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        attn_implementation="sdpa",
        use_safetensors=True,
        output_loading_info=True,
        **kwargs,
    )
    scorer, info = loaded
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise UserError(f"{purpose}: {folder} lacks the weights {missing}; it was not saved by warmup, align or upcycle.")
    return _finish(scorer)


def _is_dense(folder: str) -> bool:
    config = AutoConfig.from_pretrained(folder)
    return config.model_type == "qwen3_vl" and not hasattr(config, DISCRIMINATOR_RECORD)


def _scorer_class(config: PreTrainedConfig) -> type[Any]:
    return MixtureScorer if config.model_type == "qwen3_vl_moe" else DenseScorer


def _finish(scorer: Any) -> Scorer:
    use_attention(scorer.model, "auto")
    record = getattr(scorer.config, DISCRIMINATOR_RECORD)
    config = scorer.config
    hidden = (config.vision_start_token_id, config.image_token_id, config.vision_end_token_id)
    scorer.reading = Reading(
        record["options"]["reasoning_sees_caption"],
        record["options"]["readout"],
        frozenset() if record["sees_images"] else frozenset(hidden),
    )
    if not record["sees_images"]:
        scorer.model.visual.requires_grad_(False)
    return scorer


@dataclass(frozen=True, kw_only=True)
class Mixture(Discriminator):
    """A sparse mixture upcycled from the dense model (arXiv 2212.05055)."""

    top_k: PositiveInt = 2
    """Experts a token is sent to."""

    def __post_init__(self) -> None:
        for kind, row in zip(KINDS, self.reach(), strict=True):
            if sum(row) < self.top_k:
                raise UserError(
                    f"{type(self).__name__}: top_k is {self.top_k}, but {kind} tokens reach only {sum(row)} experts. "
                    f"Lower top_k or add experts."
                )

    @abstractmethod
    def reach(self) -> list[list[bool]]:
        """For each kind of token (prompt, perception, reasoning) the experts it may reach."""

    def fresh_config(self, dense: PreTrainedConfig) -> PreTrainedConfig:
        config = mixture_config(dense.to_dict(), len(self.reach()[0]), self.top_k)
        setattr(config, DISCRIMINATOR_RECORD, self.record())
        return config

    def record(self) -> dict[str, Any]:
        return super().record() | {"reach": self.reach()}

    def tensors(self, dense: DenseWeights, config: PreTrainedConfig) -> Any:
        return mixture_tensors(dense, config, self.num_heads, self.noise, self.seed)


@dataclass(frozen=True, kw_only=True)
class Dense(Discriminator):
    """A dense network whose feed-forward layers are ``width`` copies side by side."""

    width: PositiveInt = 2
    """2 has the active parameters of a top-2 mixture, 4 all those of a mixture of four."""

    def fresh_config(self, dense: PreTrainedConfig) -> PreTrainedConfig:
        config = dense_config(dense.to_dict(), self.width)
        setattr(config, DISCRIMINATOR_RECORD, self.record())
        return config

    def tensors(self, dense: DenseWeights, config: PreTrainedConfig) -> Any:
        return dense_tensors(dense, config, self.num_heads, self.width, self.noise, self.seed)

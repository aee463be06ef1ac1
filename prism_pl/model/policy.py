"""The policy: a stock image-text model, called on packed batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    GenerationConfig,
    PreTrainedConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextTopKRouter

from prism_pl.errors import UserError
from prism_pl.hub import policy_folder
from prism_pl.model.adapters import (
    LoraOptions,
    Read,
    adapter_weights,
    add_adapters,
    linear_weight,
    merged_weights,
    save_adapters,
)
from prism_pl.model.attention import use_attention
from prism_pl.model.backbone import hidden_states
from prism_pl.model.checkpointing import check_options, enable_checkpointing
from prism_pl.model.exporting import stored_dtype, write_network
from prism_pl.model.logprobs import Softmax, log_likelihood, token_logprobs
from prism_pl.model.packing import PackedBatch

_CLASSES = {"qwen3_vl": Qwen3VLForConditionalGeneration, "qwen3_vl_moe": Qwen3VLMoeForConditionalGeneration}


def suppressed_tokens(config: PreTrainedConfig) -> list[int]:
    """Image and video placeholders: in a response they would stand for an image that is not there.

    Engines and trainer leave them out of the distribution alike, so their log-probabilities agree.
    """
    return [config.image_token_id, config.video_token_id]


@dataclass(frozen=True, kw_only=True)
class FreezeOptions:
    """Parts of the policy that are not trained."""

    vision_tower: bool = False
    projector: bool = False
    language_model: bool = False


@dataclass(frozen=True, kw_only=True)
class PolicySource:
    """The model that a stage starts from. Its processor reads the data."""

    path: str
    """A Hugging Face folder, or a name on the hub: ``org/name`` or ``org/name@revision``."""


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(PolicySource):
    """The policy that a stage trains."""

    freeze: FreezeOptions = FreezeOptions()
    """Parts that are not trained."""
    lora: LoraOptions | None = None
    """Adapters that are trained instead of the language model; null trains its weights."""
    gradient_checkpointing: bool = False
    """Computes activations again in the backward pass, for less memory."""
    offload_activations: bool = False
    """What ``gradient_checkpointing`` keeps waits in the host's memory."""

    def build(self, purpose: str, *, as_stored: bool = False) -> "Policy":
        """The policy, ready to be trained. ``purpose`` is the configuration key, for error messages.

        ``as_stored`` leaves the weights in the file's precision, for ranks that shard them before they make them fp32.
        """
        check_options(purpose, checkpointing=self.gradient_checkpointing, offload=self.offload_activations)
        policy = Policy.load(self.path, f"{purpose}.path", as_stored=as_stored)
        policy.freeze(self.freeze)
        if self.lora is not None:
            policy.add_lora(self.lora)
        if self.gradient_checkpointing:
            enable_checkpointing(policy.vlm, offload=self.offload_activations)
        # Loaded models come in eval mode, in which checkpointing does nothing. There is no dropout.
        return policy.train()


@dataclass(frozen=True, kw_only=True)
class SupervisedPolicyOptions(PolicyOptions):
    """The policy of supervised fine-tuning."""

    freeze: FreezeOptions = FreezeOptions(vision_tower=True, projector=True)
    """Parts that are not trained (LLaMA-Factory's defaults, which PRISM's SFT used)."""


class Policy(nn.Module):
    """Wraps transformers' Qwen3-VL so that one forward call returns log-probabilities of packed segments.

    The wrapper is what FSDP shards: everything a step needs happens inside this one ``forward``.
    """

    vlm: Any
    """The stock model, ``Qwen3VLForConditionalGeneration`` or its mixture-of-experts twin."""

    def __init__(self, vlm: nn.Module) -> None:
        super().__init__()
        self.vlm = vlm
        use_attention(self.vlm.model, "auto")

    @classmethod
    def load(cls, name: str, purpose: str, *, as_stored: bool = False) -> "Policy":
        """In fp32 from a Hugging Face folder or hub name. ``purpose`` is the configuration key, for error messages.

        ``as_stored`` keeps the file's precision: its tensors are then pages of the file, which all processes of a machine
        share, until somebody writes to them.
        """
        folder = policy_folder(name, purpose)
        kind = _class_of(AutoConfig.from_pretrained(folder), name, purpose)
        dtype = stored_dtype(folder) if as_stored else torch.float32
        return cls(kind.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa", use_safetensors=True))

    @classmethod
    def shell(cls, name: str, purpose: str) -> "Policy":
        """Without weights, to write others' in its form."""
        folder = policy_folder(name, purpose)
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            vlm = _class_of(config, name, purpose)(config)
        vlm.generation_config = GenerationConfig.from_pretrained(folder)
        return cls(vlm)

    def forward(
        self,
        packed: PackedBatch,
        temperature: float = 1.0,
        entropy_gradient: bool = False,
        likelihood: bool = False,
    ) -> tuple[torch.Tensor, ...]:
        """``(logp_BT, entropy_BT)`` of the segments' tokens, 0 where padded; the entropy has a gradient on request.

        With ``likelihood`` it is ``(total, logp_BT, entropy_BT)``, and only the total, the sum of the log-probabilities,
        has a gradient: it comes from the same pass over the vocabulary, where others need a second one.
        """
        mask_BT = packed.token_mask_BT
        hidden_NH = hidden_states(self.vlm.model, packed)[packed.source_BT[mask_BT]]
        target_N = packed.target_BT[mask_BT]
        weight_VH = linear_weight(self.vlm.lm_head)
        softmax = Softmax(temperature, tuple(suppressed_tokens(self.vlm.config)))
        if likelihood:
            *total, logp_N, entropy_N = log_likelihood(hidden_NH, target_N, weight_VH, softmax)
        else:
            total = []
            logp_N, entropy_N = token_logprobs(hidden_NH, target_N, weight_VH, softmax, entropy_gradient=entropy_gradient)
        zeros_BT = torch.zeros(mask_BT.shape, dtype=logp_N.dtype, device=logp_N.device)
        return *total, zeros_BT.masked_scatter(mask_BT, logp_N), zeros_BT.masked_scatter(mask_BT, entropy_N)

    def freeze(self, options: FreezeOptions) -> None:
        """Stops gradients of the parts that ``options`` names."""
        visual = self.vlm.model.visual
        projector = {id(p) for m in (visual.merger, visual.deepstack_merger_list) for p in m.parameters()}
        for parameter in visual.parameters():
            frozen = options.projector if id(parameter) in projector else options.vision_tower
            parameter.requires_grad_(not frozen)
        for parameter in (*self.vlm.model.language_model.parameters(), *self.vlm.lm_head.parameters()):
            parameter.requires_grad_(not options.language_model)

    def add_lora(self, options: LoraOptions) -> None:
        """From here on only adapters are trained."""
        add_adapters(self.vlm, options)

    def layers(self) -> list[nn.Module]:
        """The blocks that are sharded one by one."""
        return [*self.vlm.model.visual.blocks, *self.vlm.model.language_model.layers]

    def exact_parts(self) -> list[nn.Module]:
        """The routers of a mixture of experts. Logits are formed in fp32, too, from the weights as they are gathered."""
        return [module for module in self.modules() if isinstance(module, Qwen3VLMoeTextTopKRouter)]

    def weights(self, read: Read | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        """Whole tensors under transformers' names. All ranks of a sharded policy must exhaust it.

        ``read`` gives the tensors of the policy's state dict, by their names in it, from elsewhere.
        """
        return merged_weights(self.vlm, None if read is None else lambda name: read(f"vlm.{name}"))

    def adapters(self, read: Read | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        """LoRA's part of the weights, whole."""
        return adapter_weights(self.vlm, None if read is None else lambda name: read(f"vlm.{name}"))

    def save(
        self, folder: Path, source: str, weights: dict[str, torch.Tensor], adapters: dict[str, torch.Tensor] | None = None
    ) -> None:
        """Writes a complete Hugging Face folder; the processor is copied from ``source``, adapters go to ``adapter/``."""
        # Gathered from shards, a tied head is a copy, which transformers would not know for one.
        own = {name: tensor for name, tensor in weights.items() if name not in self.vlm.all_tied_weights_keys}
        write_network(self.vlm, folder, source, own)
        if adapters:
            save_adapters(self.vlm, folder / "adapter", source, adapters)


def _class_of(config: PreTrainedConfig, name: str, purpose: str) -> Any:
    if config.model_type not in _CLASSES:
        raise UserError(f"{purpose}: {name} is a {config.model_type} model; supported are {', '.join(_CLASSES)}.")
    return _CLASSES[config.model_type]

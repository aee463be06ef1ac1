"""The networks: a stock Qwen3-VL backbone, dense or mixture, and a bias-free linear head an aspect.

    D_k(x, y_k) = w_k . h_k,  k in {perception, reasoning}        (arXiv 2604.28123, eq. 1)
    h_k: the hidden state of segment k's last token ("last", the released code), or the mean over its tokens ("mean")

All segments of a prompt share a packed batch: the prompt and its image are computed once. Each network is one Hugging Face
folder, heads included; its config.json records the class and the options that its scores depend on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Qwen3VLConfig, Qwen3VLModel, Qwen3VLMoeConfig, Qwen3VLMoeModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLPreTrainedModel
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoePreTrainedModel

from prism_pl.discriminators.reading import Reading
from prism_pl.discriminators.routing import KINDS, KindRouter, Routing, Usage
from prism_pl.hub import DISCRIMINATOR_RECORD
from prism_pl.model.adapters import LoraOptions, Read, adapter_weights, add_adapters, merged_weights, save_adapters
from prism_pl.model.backbone import hidden_states
from prism_pl.model.exporting import write_network
from prism_pl.model.packing import PackedBatch


class Scorer(nn.Module):
    """What both networks share. ``forward`` gives scores and, for a mixture, the use of its experts."""

    config: Any
    model: Any
    head: nn.Linear
    reading: Reading
    routing: Routing | None = None
    score_clip: float | None = None

    def forward(
        self, packed: PackedBatch, aspect_B: torch.Tensor, noise: tuple[float, Sequence[int]] | None = None
    ) -> tuple[torch.Tensor, Usage | None]:
        """``(score_B, usage)``: each segment's score, read by its expert's head.

        ``noise`` is (relative strength, a seed a segment): Gaussian noise on the embeddings of a segment's tokens, in units
        of their standard deviation. It does not depend on what else is packed.
        """
        if self.routing is not None:
            kind_N = torch.where(packed.segment_N < 0, 0, 1 + aspect_B[packed.segment_N.clamp_min(0)])
            self.routing.begin(kind_N.masked_fill(~packed.real_N, -1))
        with self._noisy_embeddings(packed, noise):
            hidden_NH = hidden_states(self.model, packed)
        score_BK = self.head(self._read_out(hidden_NH.float(), packed)).float()
        if score_BK.shape[1] > 1:
            score_BK = score_BK.gather(-1, aspect_B[:, None])
        # A copy: FSDP2 hooks what a module returns, and warns of a view.
        score_B = score_BK.squeeze(-1).clone()
        if self.score_clip is not None:
            score_B = score_B.clamp(-self.score_clip, self.score_clip)
        return score_B, self.routing.usage() if self.routing is not None else None

    def _read_out(self, hidden_NH: torch.Tensor, packed: PackedBatch) -> torch.Tensor:
        """What the head sees of each segment, (B, H)."""
        if self.reading.readout == "last":
            return hidden_NH[packed.last_B]
        in_segment_N = packed.segment_N >= 0
        segment_M = packed.segment_N[in_segment_N]
        total_BH = hidden_NH.new_zeros(len(packed.last_B), hidden_NH.shape[-1])
        return total_BH.index_add(0, segment_M, hidden_NH[in_segment_N]) / packed.token_mask_BT.sum(1, keepdim=True)

    @contextmanager
    def _noisy_embeddings(self, packed: PackedBatch, noise: tuple[float, Sequence[int]] | None) -> Iterator[None]:
        if noise is None:
            yield
            return
        strength, seed_B = noise

        def add_noise(module: nn.Module, inputs: Any, embedded_1NH: torch.Tensor) -> torch.Tensor:
            drawn_1NH = torch.zeros_like(embedded_1NH)
            for index, seed in enumerate(seed_B):
                own_N = packed.segment_N == index
                own_TH = embedded_1NH[0, own_N].detach()
                own_noise_TH = torch.randn(own_TH.shape, generator=torch.Generator().manual_seed(seed)).to(own_TH)
                drawn_1NH[0, own_N] = strength * own_TH.std() * own_noise_TH
            return embedded_1NH + drawn_1NH

        hook = self.model.language_model.embed_tokens.register_forward_hook(add_noise)
        try:
            yield
        finally:
            hook.remove()

    def layers(self) -> list[nn.Module]:
        """The blocks that are sharded one by one."""
        return [*self.model.visual.blocks, *self.model.language_model.layers]

    def exact_parts(self) -> list[nn.Module]:
        """Head and routers: a score rounded to bf16 moves in steps of 0.03 near 4, more than many responses differ by."""
        return [self.head, *(module for module in self.modules() if isinstance(module, KindRouter))]

    def weights(self, read: Read | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        """Whole tensors, heads included. All ranks of a sharded discriminator must exhaust it.

        ``read`` gives the tensors of its state dict, by their names in it, from elsewhere.
        """
        return merged_weights(self, read)

    def adapters(self, read: Read | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        """LoRA's part of the weights, whole."""
        return adapter_weights(self, read)

    def add_lora(self, options: LoraOptions) -> None:
        """From here on only adapters, heads and routers are trained."""
        add_adapters(self, options)
        self.head.requires_grad_(True)
        for module in self.modules():
            if isinstance(module, KindRouter):
                module.requires_grad_(True)

    def save(
        self, folder: Path, source: str, weights: dict[str, torch.Tensor], adapters: dict[str, torch.Tensor] | None = None
    ) -> None:
        """Writes a complete Hugging Face folder, heads included; the processor is copied from ``source``, adapters go to
        ``adapter/``."""
        write_network(self, folder, source, weights, save_original_format=False)
        if adapters:
            save_adapters(self, folder / "adapter", source, adapters)


class MixtureScorer(Scorer, Qwen3VLMoePreTrainedModel):
    """Stock Qwen3-VL-MoE whose routers know which experts a token's kind may reach."""

    def __init__(self, config: Qwen3VLMoeConfig) -> None:
        Qwen3VLMoePreTrainedModel.__init__(self, config)
        text: Any = config.text_config
        record: dict[str, Any] = getattr(config, DISCRIMINATOR_RECORD)
        self.model = Qwen3VLMoeModel(config)
        self.head = nn.Linear(text.hidden_size, record["num_heads"], bias=False)
        # Explicitly on the CPU: a model is built on the meta device when it is loaded, and this is no weight.
        self.routing = Routing(torch.tensor(record["reach"], dtype=torch.bool, device="cpu"))
        assert self.routing.reach_CE.shape == (len(KINDS), text.num_experts)
        for layer in self.model.language_model.layers:
            layer.mlp.gate = KindRouter(text)
            layer.mlp.gate.routing = self.routing
        self.post_init()


class DenseScorer(Scorer, Qwen3VLPreTrainedModel):
    """Stock dense Qwen3-VL."""

    def __init__(self, config: Qwen3VLConfig) -> None:
        Qwen3VLPreTrainedModel.__init__(self, config)
        self.model = Qwen3VLModel(config)
        text: Any = config.text_config
        self.head = nn.Linear(text.hidden_size, getattr(config, DISCRIMINATOR_RECORD)["num_heads"], bias=False)
        self.post_init()

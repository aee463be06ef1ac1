"""Sparse upcycling (arXiv 2212.05055): a dense Qwen3-VL becomes a mixture of experts that starts as the same function.

Every expert is a copy of the dense feed-forward layer plus noise; the router starts random. Its top-k weights are
renormalised to one, so with noise 0 the mixture's hidden states equal the dense model's (tested).
"""

import torch
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLMoeConfig

from prism_pl.discriminator import MixtureDiscriminator
from prism_pl.folders import model_folder

_ROUTER_STD = 0.02
_HEAD_STD = 0.02


def upcycle(
    name: str, purpose: str, num_experts: int = 4, top_k: int = 2, noise: float = 0.01, seed: int = 0
) -> MixtureDiscriminator:
    """The mixture of a dense model, with fresh heads.

    ``noise`` is relative: each expert's weights get Gaussian noise of ``noise`` times the standard deviation of the dense
    tensor, so the same figure means the same disturbance at every width (the released code's 0.01 was absolute, about
    half the size of a typical weight).
    """
    dense = Qwen3VLForConditionalGeneration.from_pretrained(model_folder(name, purpose), dtype=torch.float32)
    config = _mixture_config(dense.config.to_dict(), num_experts, top_k)
    mixture = MixtureDiscriminator(config)
    generator = torch.Generator().manual_seed(seed)
    source = dense.model.state_dict()
    with torch.no_grad():
        for key, tensor in mixture.model.state_dict().items():
            if key.endswith("mlp.experts.gate_up_proj"):
                prefix = key.removesuffix("experts.gate_up_proj")
                both = torch.cat([source[f"{prefix}gate_proj.weight"], source[f"{prefix}up_proj.weight"]])
                tensor.copy_(_noisy_copies(both, num_experts, noise, generator))
            elif key.endswith("mlp.experts.down_proj"):
                down = source[key.replace("experts.down_proj", "down_proj.weight")]
                tensor.copy_(_noisy_copies(down, num_experts, noise, generator))
            elif key.endswith("mlp.gate.weight"):
                tensor.copy_(_ROUTER_STD * torch.randn(tensor.shape, generator=generator))
            else:
                tensor.copy_(source[key])
        head = mixture.head.weight
        head.copy_(_HEAD_STD * torch.randn(head.shape, generator=generator))
    mixture.set_attn_implementation("sdpa")
    return mixture


def _mixture_config(dense: dict, num_experts: int, top_k: int) -> Qwen3VLMoeConfig:
    text = dict(dense["text_config"])
    text.pop("model_type")
    text.update(
        num_experts=num_experts,
        num_experts_per_tok=top_k,
        moe_intermediate_size=text["intermediate_size"],
        decoder_sparse_step=1,
        mlp_only_layers=[],
    )
    vision = dict(dense["vision_config"])
    vision.pop("model_type")
    keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id", "tie_word_embeddings")
    return Qwen3VLMoeConfig(text_config=text, vision_config=vision, **{key: dense[key] for key in keys})


def _noisy_copies(weight: torch.Tensor, count: int, noise: float, generator: torch.Generator) -> torch.Tensor:
    jitter = torch.randn((count, *weight.shape), generator=generator) * (noise * weight.std())
    return weight[None] + jitter

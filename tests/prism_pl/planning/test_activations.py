"""What autograd really saves of transformers' layers, against the formulas."""

from typing import Any

import pytest
import torch
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextDecoderLayer
from transformers.models.qwen3_vl_moe.configuration_qwen3_vl_moe import Qwen3VLMoeTextConfig
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextDecoderLayer

import prism_pl.model.attention  # noqa: F401 (registers the packed attention)
from prism_pl.model.shared_prefix import Part, make_layout
from prism_pl.planning import Architecture
from prism_pl.planning.activations import layer_saved

TOKENS, PROMPT, SEGMENT = 64, 16, 24
SIZES: dict[str, Any] = {"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32,
                         "num_hidden_layers": 1, "vocab_size": 8}  # fmt: skip


def architecture(inner: int, **mixture: int) -> Architecture:
    return Architecture(
        vocabulary=8, hidden=96, inner=inner, layers=1, heads=6, kv_heads=2, head_dim=32, tied=True, vision_hidden=8,
        vision_inner=8, vision_layers=1, patch_inputs=8, positions=4, merge=2, deepstack=0, **mixture,
    )  # fmt: skip


def saved_bytes(layer: torch.nn.Module, dtype: torch.dtype) -> int:
    """Of a prompt with two segments, each storage once; weights and the rotations that all layers share left out."""
    layer.to(dtype)
    torch.manual_seed(0)
    # The result of an operation, as a layer's input is: a leaf would be no more than that, either.
    hidden_1NH = torch.randn(1, TOKENS, 96, dtype=dtype, requires_grad=True) * 1
    rotations = tuple(torch.randn(1, TOKENS, 32, dtype=dtype) for _ in range(2))
    shared = {tensor.untyped_storage().data_ptr() for tensor in (*layer.parameters(), *rotations)}
    found: dict[int, int] = {}
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in shared:
            found[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    prompt = Part(0, PROMPT)
    layout = make_layout([prompt, *(Part(PROMPT + n * SEGMENT, SEGMENT, prompt) for n in range(2))])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(hidden_1NH, position_embeddings=rotations, attention_mask=None, layout=layout)
    return sum(found.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_saves_what_the_formula_counts(dtype: torch.dtype) -> None:
    config = Qwen3VLTextConfig(intermediate_size=160, **SIZES)
    config._attn_implementation = "packed_shared_prefix"
    layer = Qwen3VLTextDecoderLayer(config, 0)
    assert saved_bytes(layer, dtype) == TOKENS * layer_saved(architecture(160), dtype.itemsize)


def test_a_mixture_s_layer_saves_what_the_formula_counts_but_for_its_choices() -> None:
    config = Qwen3VLMoeTextConfig(moe_intermediate_size=160, num_experts=4, num_experts_per_tok=2, **SIZES)
    config._attn_implementation, config._experts_implementation = "packed_shared_prefix", "grouped_mm"
    layer = Qwen3VLMoeTextDecoderLayer(config, 0)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    counted = TOKENS * layer_saved(architecture(160, experts=4, top_k=2), 4)
    assert counted < saved_bytes(layer, torch.float32) < 1.02 * counted

"""Models of any size and prompts of any length for the benchmarks: random weights, stock classes, no files."""

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from prism_pl.data.conversation import rope_positions
from prism_pl.types import Prompt

# Not 0, which pads.
IMAGE, VIDEO, VISION_START, VISION_END, END = 1, 2, 3, 4, 5
_FIRST_WORD = 8
PATCH, MERGE = 16, 2

SIZES = {
    # name: hidden, layers, feed-forward, vision hidden, vision layers, vocabulary
    "tiny": (128, 3, 256, 64, 3, 640),
    "10M": (256, 6, 1024, 128, 4, 8192),
    "100M": (640, 12, 2560, 384, 8, 16384),
    "2B": (2048, 28, 6144, 1024, 24, 151_936),
}


def make_model(size: str, seed: int = 0, device: str = "cpu") -> Qwen3VLForConditionalGeneration:
    """A stock Qwen3-VL in fp32 and training mode. 2B has the shapes of Qwen3-VL-2B."""
    hidden, layers, inner, vision_hidden, vision_layers, vocabulary = SIZES[size]
    head, vision_head = (128, 64) if size == "2B" else (32, 32)
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": hidden // head, "num_key_value_heads": hidden // (2 * head), "head_dim": head,
            "max_position_embeddings": 8192, "tie_word_embeddings": True, "bos_token_id": END, "eos_token_id": END,
            "pad_token_id": END,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_interleaved": True,
                "mrope_section": [part * head // 32 for part in (6, 5, 5)],
            },
        },
        vision_config={
            "depth": vision_layers, "hidden_size": vision_hidden, "intermediate_size": 4 * vision_hidden,
            "num_heads": vision_hidden // vision_head, "patch_size": PATCH, "spatial_merge_size": MERGE,
            "temporal_patch_size": 2, "out_hidden_size": hidden, "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=IMAGE, video_token_id=VIDEO, vision_start_token_id=VISION_START, vision_end_token_id=VISION_END,
        tie_word_embeddings=True, dtype="float32",
    )  # fmt: skip
    torch.manual_seed(seed)
    with torch.device(device):
        return Qwen3VLForConditionalGeneration(config).float().train()


def make_prompts(count: int, tokens: int, vocabulary: int, seed: int = 0) -> list[Prompt]:
    """Prompts of ``tokens`` tokens, half of them (at most 256) of one square image of random pixels."""
    generator = torch.Generator().manual_seed(seed)
    side = int(min(256, tokens // 2) ** 0.5)
    grid = torch.tensor([[1, side * MERGE, side * MERGE]])
    prompts = []
    for number in range(count):
        words = torch.randint(_FIRST_WORD, vocabulary, (tokens - side * side - 2,), generator=generator).tolist()
        ids = (VISION_START, *[IMAGE] * (side * side), VISION_END, *words)
        pixels = torch.randn(int(grid.prod()), 3 * 2 * PATCH * PATCH, generator=generator)
        positions_3T = rope_positions(ids, IMAGE, grid, MERGE)
        prompts.append(Prompt(f"row:{number}", "", ids, ids, positions_3T, pixel_values=pixels, image_grid=grid))
    return prompts


def make_responses(
    prompts: int, group_size: int, tokens: int, vocabulary: int, seed: int = 1
) -> list[list[tuple[int, ...]]]:
    """Random responses of ``tokens`` tokens."""
    generator = torch.Generator().manual_seed(seed)
    shape = (prompts, group_size, tokens)
    return [
        [tuple(ids) for ids in group]
        for group in torch.randint(_FIRST_WORD, vocabulary, shape, generator=generator).tolist()
    ]

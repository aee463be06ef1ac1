"""From the name of a model to its architecture, without its weights: a folder, the cache of the hub, or the built-in sizes.

The sizes of the Qwen3-VL family are those of the published config.json files.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig, PreTrainedConfig, Qwen3VLConfig, Qwen3VLMoeConfig

from prism_pl.discriminators import Discriminator
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.hub import DISCRIMINATOR_RECORD, model_folder
from prism_pl.planning.architecture import Architecture

_SMALL_TOWER = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]}
_LARGE_TOWER = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]}
_SIZES: dict[str, tuple[bool, dict[str, Any], dict[str, Any]]] = {
    # name: head tied to the embedding, language model, vision tower
    "2B": (
        True,
        {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
        _SMALL_TOWER,
    ),
    "4B": (
        True,
        {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
        _SMALL_TOWER,
    ),
    "8B": (
        False,
        {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32},
        _LARGE_TOWER,
    ),
    "32B": (
        False,
        {"hidden_size": 5120, "intermediate_size": 25600, "num_hidden_layers": 64, "num_attention_heads": 64},
        _LARGE_TOWER,
    ),
    "30B-A3B": (
        False,
        {
            "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48, "num_attention_heads": 32,
            "num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
        },
        _LARGE_TOWER,
    ),
}  # fmt: skip
# Also of models made from them: Qwen3-VL-4B-Instruct-SFT, Qwen3-VL-2B-4X-Moe.
_FAMILY = re.compile(r"Qwen3-VL-(30B-A3B|32B|8B|4B|2B)(?![0-9A-Za-z])")


@dataclass(frozen=True)
class Origin:
    """What a model that is not made yet will be made from: the name of the model that its run starts from."""

    policy: str
    discriminator: str | None = None


OriginOf = Callable[[str], Origin | None]
"""The origin of a run's model by its path; None for a path that no known configuration writes."""


def family_config(size: str) -> PreTrainedConfig:
    """The configuration of a Qwen3-VL: 2B, 4B, 8B, 32B or 30B-A3B."""
    tied, text, vision = _SIZES[size]
    text = {"vocab_size": 151_936, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": tied} | text
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]}}
    kind = Qwen3VLMoeConfig if "num_experts" in text else Qwen3VLConfig
    tower = vision | {"out_hidden_size": text["hidden_size"], "num_heads": 16}
    return kind(text_config=text, vision_config=tower, tie_word_embeddings=tied)


def config_of(name: str, key: str, origin_of: OriginOf) -> PreTrainedConfig:
    """The configuration of a model by its name. Raises UserError naming ``key`` if its size is not to be known."""
    if Path(name).is_dir() or name == EMBEDDED_NAME:
        return AutoConfig.from_pretrained(model_folder(name, key))
    repository, _, revision = name.partition("@")
    if name.count("/") == 1 and not name.startswith("runs/"):
        cached = try_to_load_from_cache(repository, "config.json", revision=revision or None)
        if isinstance(cached, str):
            return AutoConfig.from_pretrained(Path(cached).parent)
    if found := _FAMILY.search(name):
        return family_config(found[1])
    if (origin := origin_of(name)) is not None:
        return config_of(origin.discriminator or origin.policy, key, origin_of)
    raise UserError(
        f"{key}: the size of {name} is not known: it is no folder here, not in the hub's cache, no Qwen3-VL by its name "
        f"and no run of configs/. Name a model of its size for the plan: `--{key} Qwen/Qwen3-VL-4B-Instruct`."
    )


def architecture_of(name: str, key: str, origin_of: OriginOf, discriminator: Discriminator | None = None) -> Architecture:
    """Of a policy, or of the discriminator of this class that is loaded from the folder or built from the model."""
    config = config_of(name, key, origin_of)
    if discriminator is None:
        return Architecture.of(config)
    if not hasattr(config, DISCRIMINATOR_RECORD) and config.model_type == "qwen3_vl":
        config = discriminator.fresh_config(config)
    return Architecture.of(config, discriminator.num_heads)

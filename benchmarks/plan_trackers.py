"""The plan of an update on eight GPUs against torch's own trackers, on fake tensors with a fake process group of eight.

    python -m benchmarks.plan_trackers            all rows, or: 4B policy

FSDPMemTracker follows every tensor of a micro-batch of the real, sharded network in bf16, after others have left gradients:
weights, gradients, gathers and activations. FlopCounterMode counts the matrix products of forward and backward, but for
those inside the CPU's attention. Nothing is computed, so no weights and no memory are needed. What asks a tensor for its
values is given them: the vision tower's grid and the images' places.
"""

import gc
import json
import sys
import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3VLForConditionalGeneration
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids
from transformers.vision_utils import get_vision_interpolation_indices_and_weights as interpolation

from prism_pl.discriminators import DedicatedExpertsDiscriminator
from prism_pl.discriminators.model import MixtureScorer
from prism_pl.model.adapters import linear_weight
from prism_pl.model.checkpointing import enable_checkpointing
from prism_pl.model.logprobs import TILING, token_logprobs
from prism_pl.model.policy import Policy
from prism_pl.model.sharding import shard
from prism_pl.model.shared_prefix import Part, make_layout
from prism_pl.planning.activations import BF16, FP32, Pass, Shape
from prism_pl.planning.architecture import Architecture
from prism_pl.planning.memory import update_parts
from prism_pl.planning.names import family_config
from prism_pl.planning.settings import Network
from prism_pl.planning.work import forward_flops, kept_flops

RANKS = 8
ROWS = (("4B", "policy"), ("8B", "policy"), ("2B", "discriminator"))
# Tokens of a prompt and of a segment, segments of it: RLVR's long responses, a discriminator's short ones.
LENGTHS = {"policy": (2048, 8192, 1), "discriminator": (1024, 512, 14)}
_IMAGE_SHARE = 0.5


class Traced(torch.nn.Module):
    """The network with its inputs' values known beforehand; what is computed is what ``hidden_states`` computes."""

    def __init__(self, network: Any, inputs: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.inputs = inputs

    def layers(self) -> list[torch.nn.Module]:
        return self.network.layers()

    def exact_parts(self) -> list[torch.nn.Module]:
        return self.network.exact_parts()

    def forward(self) -> torch.Tensor:
        own, policy = self.inputs, isinstance(self.network, Policy)
        model = self.network.vlm.model if policy else self.network.model
        seen = model.visual(own["pixels"], grid_thw=None, **own["tower"])
        embedded = model.language_model.embed_tokens(own["ids"])
        embedded = embedded.masked_scatter(own["is_image"], seen.pooler_output.to(embedded.dtype))
        if self.network_routing is not None:
            self.network_routing.begin(own["kind"])
        hidden_NH = model.language_model(
            inputs_embeds=embedded, position_ids=own["positions"], attention_mask=own["mask"],
            visual_pos_masks=own["places"], deepstack_visual_embeds=seen.deepstack_features, layout=own["layout"],
        ).last_hidden_state[0]  # fmt: skip
        if not policy:
            read_BH = hidden_NH.new_zeros(own["segments"], hidden_NH.shape[-1]).index_add(
                0, own["segment"], hidden_NH[own["at"]]
            )
            # Ends the recording, which would keep the graphs of routers that are computed again.
            usage = self.network_routing.usage()
            return self.network.head(read_BH.float()).sum() + usage.probability_LCE.sum()
        logp_N, _ = token_logprobs(
            hidden_NH[own["at"]], own["target"], linear_weight(self.network.vlm.lm_head), tiling=TILING["cuda"]
        )
        return logp_N.sum()

    @property
    def network_routing(self) -> Any:
        return getattr(self.network, "routing", None)


def inputs_of(arch: Architecture, config: Any, lengths: tuple[int, int, int]) -> dict[str, Any]:
    """Of one group: a prompt, half of it one image, and its segments."""
    prompt, segment, segments = lengths
    count = prompt + segments * segment
    side = int((prompt * _IMAGE_SHARE) ** 0.5)
    grid = torch.tensor([[1, arch.merge * side, arch.merge * side]])
    first = Part(0, prompt)
    alone = segments == 1
    parts = [Part(0, count)] if alone else [first] + [Part(prompt + n * segment, segment, first) for n in range(segments)]
    is_image = torch.zeros(1, count, arch.hidden, dtype=torch.bool)
    is_image[:, 1 : 1 + side * side] = True
    indices, weights = interpolation(grid, num_grid_per_side=int(arch.positions**0.5), mode="bilinear", align_corners=True,
                                     spatial_merge_size=arch.merge)  # fmt: skip
    tower = {
        "position_ids": get_vision_position_ids(grid, arch.merge), "interp_indices": indices, "interp_weights": weights,
        "cu_seqlens": get_vision_cu_seqlens(grid),
    }  # fmt: skip
    return {
        "pixels": torch.zeros(int(grid.prod()), arch.patch_inputs), "tower": tower,
        "ids": torch.zeros(1, count, dtype=torch.long),
        "is_image": is_image, "positions": torch.zeros(3, 1, count, dtype=torch.long),
        "mask": torch.ones(1, 1, 1, count, dtype=torch.bool), "places": torch.arange(1, 1 + side * side),
        "layout": make_layout(parts), "at": torch.arange(prompt, count),
        "target": torch.zeros(count - prompt, dtype=torch.long), "segments": segments,
        "segment": torch.arange(segments).repeat_interleave(segment), "kind": torch.zeros(count, dtype=torch.long),
    }  # fmt: skip


def traced(size: str, kind: str) -> dict[str, float]:
    """GB of the trackers and of the plan, TFLOP of both."""
    dist.init_process_group("fake", rank=0, world_size=RANKS, store=FakeStore())
    mesh = init_device_mesh("cpu", (RANKS,))
    config = family_config(size)
    arch = Architecture.of(config)
    lengths = LENGTHS[kind]
    real = inputs_of(arch, config, lengths)
    lengths_of_images = np.asarray(real["tower"].pop("cu_seqlens"))
    if kind == "discriminator":
        mixture = DedicatedExpertsDiscriminator()
        config = mixture.fresh_config(config)
        arch = Architecture.of(config, mixture.num_heads)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        inputs = torch.utils._pytree.tree_map_only(torch.Tensor, mode.from_tensor, real)
        inputs["tower"]["cu_seqlens"] = lengths_of_images
        inputs["layout"] = _fake_layout(mode, real["layout"])
        network: Any
        if kind == "policy":
            network = Policy(Qwen3VLForConditionalGeneration(config))
            enable_checkpointing(network.vlm, offload=False)
        else:
            network = MixtureScorer(config)
            enable_checkpointing(network, offload=False)
            network.model.language_model.config._attn_implementation = "packed_shared_prefix"
        network.train()
        language_model = network.vlm.model.language_model if kind == "policy" else network.model.language_model
        language_model._deepstack_process = lambda hidden, places, seen: hidden.index_add(1, places, seen[None].to(hidden))
        module = Traced(network, inputs)
        shard(module, mesh, torch.bfloat16)
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        # A pass for each: the counter's hooks keep the graphs of layers that are computed again, six at a time.
        with FlopCounterMode(display=False) as counter:
            module().backward()
        gc.collect()
        with FSDPMemTracker(module) as tracker:
            module().backward()
        peak = tracker.get_tracker_snapshot("peak")
        parts = {str(getattr(kind_, "value", kind_)): size_ / 1e9 for kind_, size_ in peak[torch.device("cpu")].items()}
    return {"tracked": parts, "tflop": counter.get_total_flops() / 1e12, **planned(arch, lengths, kind)}


def planned(arch: Architecture, lengths: tuple[int, int, int], kind: str) -> dict[str, float]:
    prompt, segment, segments = lengths
    shape = Shape.of(
        prompt + segment * segments, prompt, segment, segments, _IMAGE_SHARE, learnt=kind == "policy", padded=False
    )
    network = Network(architecture=arch, trained=arch.total, checkpointing=True)
    parts = update_parts(network, shape, Pass(device="cuda", width=BF16, shards=True, ranks=RANKS))
    own = {name: size / 1e9 for name, size in parts.items()}
    own["weights, gradients"] = 2 * FP32 * arch.total / RANKS / 1e9
    once = forward_flops(arch, shape.tokens, 0.0, shape.images, shape.targets)
    # The counter has no formula for the CPU's attention, in the text's layers or in the tower's.
    once -= 4 * arch.vision_layers * arch.vision_hidden * (shape.images * arch.merge**2) ** 2
    computed = 4 * once - kept_flops(arch, shape.tokens, shape.images)
    return {"planned": own, "planned_total": sum(own.values()), "planned_tflop": computed / 1e12}


def _fake_layout(mode: Any, layout: Any) -> Any:
    def faked(value: Any) -> Any:
        return mode.from_tensor(value) if isinstance(value, torch.Tensor) else value

    buckets = tuple(replace(b, **{f.name: faked(getattr(b, f.name)) for f in fields(b)}) for b in layout.buckets)
    return replace(layout, buckets=buckets, place_R=faked(layout.place_R))


def main() -> None:
    rows = [(sys.argv[1], sys.argv[2])] if len(sys.argv) > 2 else ROWS
    for size, kind in rows:
        start = time.perf_counter()
        found = traced(size, kind)
        print(
            json.dumps({"size": size, "kind": kind, "seconds": time.perf_counter() - start, **found}, indent=1), flush=True
        )


if __name__ == "__main__":
    main()

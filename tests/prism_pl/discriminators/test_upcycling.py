"""A discriminator starts as the dense model, and its seed alone decides what is drawn."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prism_pl.discriminators import (
    DedicatedExpertsDiscriminator,
    DenseDiscriminator,
    Discriminator,
    Scorer,
    SharedMixtureDiscriminator,
)
from prism_pl.discriminators.upcycling import DenseWeights
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.model.backbone import hidden_states
from prism_pl.model.packing import PackedBatch
from prism_pl.model.policy import Policy

SIZES = [
    DedicatedExpertsDiscriminator(),
    DedicatedExpertsDiscriminator(num_perception=1, num_reasoning=1, top_k=1),
    DedicatedExpertsDiscriminator(num_perception=1, num_reasoning=2, num_shared=2, top_k=3),
    SharedMixtureDiscriminator(),
    SharedMixtureDiscriminator(num_experts=3, top_k=1),
    DenseDiscriminator(width=1),
    DenseDiscriminator(width=2),
    DenseDiscriminator(width=4),
]


def short(leaf: Discriminator) -> str:
    size = leaf.width if isinstance(leaf, DenseDiscriminator) else f"{[sum(row) for row in leaf.reach()]}-top{leaf.top_k}"
    return f"{type(leaf).__name__}-{size}"


def tensors(scorer: Scorer, ending: str) -> list[torch.Tensor]:
    found = [tensor for name, tensor in scorer.state_dict().items() if "language_model" in name and name.endswith(ending)]
    assert len(found) == 3, "one tensor a layer"
    return found


@pytest.mark.parametrize("leaf", SIZES, ids=short)
def test_without_noise_hidden_states_equal_the_dense_model(
    policy: Policy, packed: PackedBatch, aspect_B: torch.Tensor, score_with_hidden: Callable, leaf: Discriminator
) -> None:
    with torch.no_grad():
        dense_NH = hidden_states(policy.vlm.model, packed)
    built = replace(leaf, noise=0.0).build(EMBEDDED_NAME, "test").eval()
    _, built_NH = score_with_hidden(built, packed, aspect_B)
    torch.testing.assert_close(built_NH, dense_NH, atol=1e-4, rtol=1e-4)
    # A feed-forward layer that were never called would pass the line above; strong noise must be seen.
    noisy = replace(leaf, noise=0.5).build(EMBEDDED_NAME, "test").eval()
    _, noisy_NH = score_with_hidden(noisy, packed, aspect_B)
    difference = (noisy_NH - dense_NH).abs().max()
    # A network of the dense one's own width is no copy of anything: there is no symmetry to break and no noise.
    assert difference < 1e-4 if leaf == DenseDiscriminator(width=1) else difference > 1e-2


def test_the_seed_decides_the_weights(leaf: Discriminator) -> None:
    scorers = [replace(leaf, seed=seed).build(EMBEDDED_NAME, "test") for seed in (3, 3, 4)]
    first, again, other = (scorer.state_dict() for scorer in scorers)
    assert all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    drawn = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight")
    if isinstance(leaf, DenseDiscriminator):
        drawn = ("mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight")
    assert differing == {name for name in first if name.endswith((*drawn, "head.weight"))}
    assert len(differing) == 3 * 3 + 1


def test_global_random_state_is_not_used_for_the_weights(leaf: Discriminator) -> None:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(leaf.build(EMBEDDED_NAME, "test").state_dict())
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_noise_of_a_mixture_is_relative_to_the_dense_weights(policy: Policy) -> None:
    dense = policy.vlm.model.state_dict()
    mixture = SharedMixtureDiscriminator(noise=0.1).build(EMBEDDED_NAME, "test")
    for layer, down in enumerate(tensors(mixture, "mlp.experts.down_proj")):
        weight = dense[f"language_model.layers.{layer}.mlp.down_proj.weight"]
        assert down.shape == (4, *weight.shape)
        jitter = down - weight
        # 4 * 256 * 128 draws: the standard error of their std is 0.2 %.
        assert float(jitter.std() / weight.std()) == pytest.approx(0.1, rel=0.02)
        assert abs(float(jitter.mean() / weight.std())) < 0.002
        # Experts differ from each other, by sqrt(2) times the noise.
        assert float((down[0] - down[1]).std() / weight.std()) == pytest.approx(0.1 * 2**0.5, rel=0.02)
    for layer, both in enumerate(tensors(mixture, "mlp.experts.gate_up_proj")):
        prefix = f"language_model.layers.{layer}.mlp"
        weight = torch.cat([dense[f"{prefix}.gate_proj.weight"], dense[f"{prefix}.up_proj.weight"]])
        assert float((both - weight).std() / weight.std()) == pytest.approx(0.1, rel=0.02)


def test_every_tensor_has_a_random_stream_of_its_own(policy: Policy) -> None:
    """Layers are of one shape: with one stream they would get the same noise and the same router."""
    dense = policy.vlm.model.state_dict()
    mixture = SharedMixtureDiscriminator(noise=0.1).build(EMBEDDED_NAME, "test")
    drawn = [
        down - dense[f"language_model.layers.{layer}.mlp.down_proj.weight"]
        for layer, down in enumerate(tensors(mixture, "mlp.experts.down_proj"))
    ]
    # 131072 draws: independent ones correlate by 0.003.
    for first, second in ((0, 1), (0, 2), (1, 2)):
        correlation = torch.corrcoef(torch.stack([drawn[first].flatten(), drawn[second].flatten()]))[0, 1]
        assert abs(correlation) < 0.02
    # 512 draws: 0.044.
    routers = torch.stack([router.flatten() for router in tensors(mixture, "mlp.gate.weight")])
    assert (torch.corrcoef(routers) - torch.eye(3)).abs().max() < 0.2


def test_noise_of_a_wide_dense_network_is_relative_to_the_dense_weights(policy: Policy) -> None:
    """Copies of gate and up stand below each other, copies of down side by side and divided by their number."""
    dense = policy.vlm.model.state_dict()
    wide = DenseDiscriminator(width=4, noise=0.1).build(EMBEDDED_NAME, "test")
    for name in ("gate", "up", "down"):
        for layer, tensor in enumerate(tensors(wide, f"mlp.{name}_proj.weight")):
            weight = dense[f"language_model.layers.{layer}.mlp.{name}_proj.weight"]
            copies = 4 * torch.stack(tensor.chunk(4, dim=1)) if name == "down" else tensor.reshape(4, *weight.shape)
            assert float((copies - weight).std() / weight.std()) == pytest.approx(0.1, rel=0.02)
            assert float((copies[0] - copies[3]).std() / weight.std()) == pytest.approx(0.1 * 2**0.5, rel=0.02)


def test_router_has_the_released_std_and_heads_unit_scores() -> None:
    # N(0, 0.02) as in the released code; 16 * 128 draws a router: the standard error of the std of three is 0.9 %.
    mixture = SharedMixtureDiscriminator(num_experts=16).build(EMBEDDED_NAME, "test")
    routers = torch.stack(tensors(mixture, "mlp.gate.weight"))
    assert float(routers.std()) == pytest.approx(0.02, rel=0.04)
    assert not torch.equal(routers[0], routers[1])
    # 2 * 128 draws of the heads: 4.4 %. 1 / sqrt(128) = 0.0884; at 2,560, the width of 4 B, 0.0198.
    heads = DedicatedExpertsDiscriminator().build(EMBEDDED_NAME, "test").head.weight
    assert heads.std().item() == pytest.approx(0.0884, rel=0.15)


def test_a_folder_without_safetensors_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no \.safetensors file"):
        DenseWeights(str(tmp_path))

"""Inputs of checkpointed layers wait on the host: which they are, and that nothing changes."""

import copy
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from prism_pl.discriminators import DedicatedExpertsDiscriminator, Scorer
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.model.checkpointing import HostInputs, enable_checkpointing
from prism_pl.model.packing import PackedBatch, make_groups, micro_batches, pack
from prism_pl.model.policy import Policy, PolicyOptions
from prism_pl.types import Prompt

SEGMENTS = [[(5, 6, 7), (8, 9), (5, 5, 6)], [(8, 9), (7,)], [(6, 6), (9, 8, 7, 6)]]


@pytest.fixture(scope="module")
def batches(mixed_prompts: list[Prompt]) -> list[PackedBatch]:
    """Two micro-batches, of two prompts and of one without an image; the segments of each share their prompt."""
    groups = make_groups([mixed_prompts[0], mixed_prompts[1], mixed_prompts[3]], SEGMENTS)
    limit = sum(group.num_tokens for group in groups[:2])
    found = [pack(batch) for batch in micro_batches(groups, limit)]
    assert [len(batch.last_B) for batch in found] == [5, 2]
    assert [batch.pixel_values is None for batch in found] == [False, True]
    return found


class Moved(HostInputs):
    """Notes what goes to the host, which gets a copy: on a CPU the tensor itself would stay."""

    seen: ClassVar[list[torch.Tensor]] = []

    def pack(self, tensor: torch.Tensor) -> Any:
        self.seen.append(tensor)
        return super().pack(tensor.clone())


def gradients(network: Any, vlm: Any, batches: list[PackedBatch], offload: bool | None) -> list[Any]:
    """The outputs of all micro-batches and the gradients of all parameters; without checkpointing if it is None."""
    if offload is not None:
        enable_checkpointing(vlm(network), offload=offload)
    found = []
    for packed in batches:
        own = network(packed, *([packed.order_B % 2] if isinstance(network, Scorer) else []))
        output = own[0] if isinstance(own, tuple) else own
        output.square().sum().backward()
        found.append(output.detach())
    return found + [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize("kind", ["policy", "discriminator"])
def test_values_and_gradients_are_the_same_and_each_layer_s_input_is_moved(
    kind: str,
    policy: Policy,
    discriminator: Scorer,
    batches: list[PackedBatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("prism_pl.model.checkpointing.HostInputs", Moved)
    monkeypatch.setattr(Moved, "seen", [])
    source: nn.Module = policy if kind == "policy" else discriminator

    def vlm(network: Any) -> Any:
        return network.vlm if kind == "policy" else network

    kept, moved = (gradients(copy.deepcopy(source).train(), vlm, batches, offload) for offload in (False, True))
    assert len(kept) == len(moved) > len(batches)
    for own, other in zip(kept, moved, strict=True):
        assert (own is None) == (other is None)
        assert own is None or torch.equal(own, other)
    text, vision = vlm(source).config.text_config, vlm(source).config.vision_config
    tokens = sum(len(packed.input_ids_N) for packed in batches)
    patches = sum(len(packed.pixel_values) for packed in batches if packed.pixel_values is not None)
    expected = 4 * (text.num_hidden_layers * text.hidden_size * tokens + vision.depth * vision.hidden_size * patches)
    assert sum(tensor.nbytes for tensor in Moved.seen) == expected
    assert len(Moved.seen) == text.num_hidden_layers * len(batches) + vision.depth
    # What the layers give is what they gave without checkpointing.
    for own, other in zip(gradients(copy.deepcopy(source).train(), vlm, batches, None), moved, strict=True):
        assert own is None or torch.equal(own, other)


def test_what_nobody_keeps_is_not_to_be_moved() -> None:
    with pytest.raises(UserError, match=r"model\.policy\.gradient_checkpointing is off"):
        PolicyOptions(path=EMBEDDED_NAME, offload_activations=True).build("model.policy")
    leaf = DedicatedExpertsDiscriminator(offload_activations=True)
    with pytest.raises(UserError, match=r"model\.discriminator\.gradient_checkpointing is off"):
        leaf.build(EMBEDDED_NAME, "model.discriminator")


def test_options_reach_the_layers(embedded: object) -> None:
    options: dict[str, Any] = {"gradient_checkpointing": True, "offload_activations": True}
    policy = PolicyOptions(path=EMBEDDED_NAME, **options).build("test")
    scorer: Any = DedicatedExpertsDiscriminator(**options).build(EMBEDDED_NAME, "test")
    for network in (policy, scorer):
        own = [layer._gradient_checkpointing_func for layer in network.layers()]
        assert all(isinstance(function.args[1], HostInputs) for function in own)

"""Parameter counts against transformers' classes on the meta device, part by part."""

from collections.abc import Iterable

import pytest
import torch
from torch import nn
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration

from prism_pl.discriminators import DedicatedExpertsDiscriminator, DenseDiscriminator, Discriminator
from prism_pl.discriminators.model import DenseScorer, MixtureScorer
from prism_pl.errors import UserError
from prism_pl.model.adapters import LoraOptions, add_adapters
from prism_pl.planning import Architecture, Origin, architecture_of
from prism_pl.planning.names import family_config

BILLIONS = {"2B": 2.13, "4B": 4.44, "8B": 8.77, "32B": 33.36, "30B-A3B": 31.07}


def size(parameters: Iterable[nn.Parameter]) -> int:
    """Each once, also a tied one."""
    return sum(parameter.numel() for parameter in {id(p): p for p in parameters}.values())


@pytest.mark.parametrize("name", BILLIONS)
def test_the_family_has_the_parameters_that_transformers_makes(name: str) -> None:
    config = family_config(name)
    arch = Architecture.of(config)
    kind = Qwen3VLMoeForConditionalGeneration if arch.experts else Qwen3VLForConditionalGeneration
    with torch.device("meta"):
        model = kind(config)
    visual, text = model.model.visual, model.model.language_model
    assert arch.total == size(model.parameters())
    assert arch.total / 1e9 == pytest.approx(BILLIONS[name], abs=0.005)
    assert arch.layer == size(text.layers[0].parameters())
    assert arch.vision_block == size(visual.blocks[0].parameters())
    assert arch.merger == size([*visual.merger.parameters(), *visual.deepstack_merger_list.parameters()])
    inside = arch.layers * arch.layer + arch.vision_layers * arch.vision_block
    assert arch.root == arch.total - inside


@pytest.mark.parametrize(
    ("discriminator", "billions"),
    [(DedicatedExpertsDiscriminator(), 5.30), (DenseDiscriminator(width=1), 2.13), (DenseDiscriminator(width=2), 3.18)],
)
def test_discriminators_have_the_parameters_of_their_networks(discriminator: Discriminator, billions: float) -> None:
    name = "Qwen/Qwen3-VL-2B-Instruct"
    arch = architecture_of(name, "key", lambda _: None, discriminator)
    config = discriminator.fresh_config(family_config("2B"))
    with torch.device("meta"):
        scorer = (MixtureScorer if arch.experts else DenseScorer)(config)
    assert arch.total == size(scorer.parameters())
    assert arch.total / 1e9 == pytest.approx(billions, abs=0.005)


def test_adapters_have_the_parameters_that_peft_makes() -> None:
    config = family_config("2B")
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
        before = size(model.parameters())
        options = LoraOptions(rank=16, alpha=32.0)
        add_adapters(model, options)
    assert Architecture.of(config).lora(16, options.targets) == size(model.parameters()) - before


def test_a_run_that_is_not_there_has_the_size_of_what_it_is_made_from() -> None:
    origins = {"runs/x/align/model": Origin("org/Qwen3-VL-8B-Instruct-SFT@main")}
    arch = architecture_of("runs/x/align/model", "model.policy.path", origins.get)
    assert arch == Architecture.of(family_config("8B"))


def test_an_unknown_size_is_refused_with_its_key() -> None:
    with pytest.raises(UserError, match=r"model\.policy\.path: the size of runs/y/model is not known"):
        architecture_of("runs/y/model", "model.policy.path", lambda _: None)

"""Loaded or built: what comes back from disk as it went, and which folders are refused."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from prism_pl.discriminators import (
    DedicatedExpertsDiscriminator,
    DenseDiscriminator,
    Discriminator,
    Scorer,
    SharedMixtureDiscriminator,
    TextOnlyDiscriminator,
    load_scorer,
)
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.model.packing import PackedBatch

KEY = "model.discriminator"


@pytest.fixture(scope="module")
def saved(discriminator: Scorer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The default, as saved."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    discriminator.save(folder, EMBEDDED_NAME, dict(discriminator.weights()))
    return str(folder)


def test_save_and_load_give_equal_scores(
    leaf: Discriminator, lively: Scorer, packed: PackedBatch, aspect_B: torch.Tensor, tmp_path: Path
) -> None:
    lively.save(tmp_path / "d", EMBEDDED_NAME, dict(lively.weights()))
    # The policy is not looked at: it does not exist.
    loaded = replace(leaf, path=str(tmp_path / "d")).build("runs/none/model", KEY).eval()
    assert loaded.state_dict().keys() == lively.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in lively.state_dict().items())
    assert loaded.reading == lively.reading
    with torch.no_grad():
        expected_B, expected = lively(packed, aspect_B)
        actual_B, actual = loaded(packed, aspect_B)
    torch.testing.assert_close(actual_B, expected_B, atol=1e-6, rtol=1e-6)
    if expected is not None:
        torch.testing.assert_close(actual.probability_LCE, expected.probability_LCE)
        assert torch.equal(actual.count_LCE, expected.count_LCE)
    assert [parameter.requires_grad for parameter in loaded.parameters()] == [p.requires_grad for p in lively.parameters()]
    assert (tmp_path / "d" / "preprocessor_config.json").exists() or (tmp_path / "d" / "processor_config.json").exists()


def test_the_record_of_the_default_by_hand(saved: str) -> None:
    """Experts 0 and 1 are perception's, 2 and 3 reasoning's; the prompt may reach all. No option of the run is kept."""
    assert json.loads((Path(saved) / "config.json").read_text())["prism_discriminator"] == {
        "class": "DedicatedExpertsDiscriminator",
        "num_heads": 2,
        "sees_images": True,
        "options": {
            "reasoning_sees_caption": False,
            "readout": "mean",
            "top_k": 2,
            "num_perception": 2,
            "num_reasoning": 2,
            "num_shared": 0,
        },
        "reach": [[True] * 4, [True, True, False, False], [False, False, True, True]],
    }


@pytest.mark.parametrize("lost", ["head.weight", "model.language_model.layers.1.mlp.gate.weight"])
def test_a_missing_weight_of_a_mixture_is_named(discriminator: Scorer, tmp_path: Path, lost: str) -> None:
    weights = {name: tensor for name, tensor in discriminator.weights() if name != lost}
    assert len(weights) == len(discriminator.state_dict()) - 1
    discriminator.save(tmp_path / "d", EMBEDDED_NAME, weights)
    with pytest.raises(UserError, match=rf"^model\.discriminator: .* lacks the weights {re.escape(lost)};"):
        DedicatedExpertsDiscriminator(path=str(tmp_path / "d")).build(EMBEDDED_NAME, KEY)


def test_a_missing_weight_of_a_dense_network_is_named(tmp_path: Path) -> None:
    lost = "model.language_model.layers.2.mlp.up_proj.weight"
    dense = DenseDiscriminator().build(EMBEDDED_NAME, KEY)
    dense.save(tmp_path / "d", EMBEDDED_NAME, {name: tensor for name, tensor in dense.weights() if name != lost})
    with pytest.raises(UserError, match=re.escape(lost)):
        DenseDiscriminator(path=str(tmp_path / "d")).build(EMBEDDED_NAME, KEY)


@pytest.mark.parametrize("asked", [SharedMixtureDiscriminator, DenseDiscriminator, TextOnlyDiscriminator])
def test_a_folder_of_another_class_is_refused(saved: str, asked: type[Discriminator]) -> None:
    expected = f"{KEY}: {saved} holds a DedicatedExpertsDiscriminator, the configuration asks for a {asked.__name__}."
    with pytest.raises(UserError) as error:
        asked(path=saved).build(EMBEDDED_NAME, KEY)
    assert str(error.value).startswith(expected)
    assert f"--model.discriminator={asked.__name__} --run_dir RUN" in str(error.value)


@pytest.mark.parametrize(
    ("option", "value", "made_with"),
    [("reasoning_sees_caption", True, False), ("readout", "last", "mean"), ("num_perception", 3, 2), ("top_k", 1, 2)],
)
def test_an_option_that_scores_depend_on_must_be_the_folders(
    saved: str, option: str, value: object, made_with: object
) -> None:
    with pytest.raises(UserError) as error:
        DedicatedExpertsDiscriminator(path=saved, **{option: value}).build(EMBEDDED_NAME, KEY)
    assert str(error.value).startswith(f"{KEY}.{option} is {value}, but {saved} was made with {made_with}.")


def test_options_of_the_run_may_differ_from_the_folders(saved: str, discriminator: Scorer) -> None:
    other = DedicatedExpertsDiscriminator(path=saved, noise=0.7, seed=9, score_clip=2.0, gradient_checkpointing=True)
    loaded = other.build(EMBEDDED_NAME, KEY)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in discriminator.state_dict().items())
    assert loaded.score_clip == 2.0
    assert loaded.is_gradient_checkpointing
    assert not discriminator.is_gradient_checkpointing


def test_a_dense_folder_is_built_from(embedded: Path, leaf: Discriminator) -> None:
    """As ``path`` and as the policy: the same fresh network."""
    from_policy = leaf.build(str(embedded / "model"), KEY).state_dict()
    from_path = replace(leaf, path=str(embedded / "model")).build("runs/none/model", KEY).state_dict()
    assert all(torch.equal(tensor, from_path[name]) for name, tensor in from_policy.items())
    assert float(from_policy["head.weight"].std()) == pytest.approx(128**-0.5, rel=0.3)


def test_bf16_weights_are_the_rounded_ones(leaf: Discriminator) -> None:
    whole, rounded = (leaf.build(EMBEDDED_NAME, KEY, dtype).state_dict() for dtype in (torch.float32, torch.bfloat16))
    assert all(torch.equal(tensor.bfloat16(), rounded[name]) for name, tensor in whole.items())
    assert all(tensor.dtype is torch.bfloat16 for tensor in rounded.values())


def test_load_scorer_refuses_a_dense_model(embedded: Path) -> None:
    with pytest.raises(UserError, match=r"^model\.discriminator: .* is a qwen3_vl model, not a discriminator"):
        load_scorer(str(embedded / "model"), KEY)


def test_a_missing_folder_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^model\.discriminator\.path: the model folder .* does not exist"):
        DedicatedExpertsDiscriminator(path=str(tmp_path / "warmup" / "model")).build(EMBEDDED_NAME, KEY)


def test_the_dense_configuration_is_left_as_it_is(embedded: Path, leaf: Discriminator) -> None:
    dense = AutoConfig.from_pretrained(embedded / "model")
    before = copy.deepcopy(dense.to_dict())
    fresh = leaf.fresh_config(dense)
    assert dense.to_dict() == before
    assert fresh.text_config.to_dict() != before["text_config"]

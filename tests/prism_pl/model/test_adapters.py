"""LoRA: what is trained, what the merged model computes, and that peft reads the adapters."""

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, inject_adapter_in_model
from torch import nn
from transformers import Qwen3VLForConditionalGeneration

from prism_pl.discriminators import DedicatedExpertsDiscriminator, Scorer, load_scorer
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.model.adapters import LoraOptions, linear_weight, merged_weights
from prism_pl.model.packing import make_groups, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt
from tests.plain_forward import add_noise

LORA = LoraOptions(rank=2, alpha=6)


@pytest.fixture
def adapted(policy: Policy) -> Policy:
    # Fresh adapters are no change, as B is zero: a test that looks for one adds noise to them.
    own = copy.deepcopy(policy)
    own.add_lora(LORA)
    return own


def test_fresh_adapters_change_nothing_and_keep_the_names(policy: Policy, adapted: Policy) -> None:
    before, after = dict(policy.weights()), dict(adapted.weights())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_merged_weight_by_hand(policy: Policy, adapted: Policy) -> None:
    """W + (alpha / r) B A = W + 3 B A with r = 2, alpha = 6."""
    add_noise(adapted, 0.3, ".lora_")
    layer = adapted.vlm.model.language_model.layers[1].mlp.up_proj
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    name = "model.language_model.layers.1.mlp.up_proj.weight"
    expected = dict(policy.weights())[name] + 3.0 * product
    torch.testing.assert_close(dict(merged_weights(adapted.vlm))[name], expected)


def test_only_adapters_are_gathered_for_adapters(adapted: Policy) -> None:
    """On a sharded model each tensor that is read is a collective of its whole size."""
    asked: list[str] = []

    def read(name: str) -> torch.Tensor:
        asked.append(name)
        return state[name]

    state = adapted.state_dict()
    found = dict(adapted.adapters(read))
    assert len(found) == len(asked) == 42
    assert all(".lora_" in name for name in asked)
    # Merging reads everything, each tensor once.
    asked.clear()
    merged = dict(adapted.weights(read))
    assert sorted(asked) == sorted(name for name in state if name.startswith("vlm."))
    assert all(torch.equal(tensor, merged[name]) for name, tensor in adapted.weights())


def test_adapters_start_the_same_beside_rounded_weights(policy: Policy) -> None:
    """A rank loads a model as the file has it, often in bf16; its adapters are those that one process draws, unrounded."""
    whole, rounded = copy.deepcopy(policy), copy.deepcopy(policy).bfloat16()
    for model in (whole, rounded):
        model.add_lora(LORA)
    first, second = dict(whole.adapters()), dict(rounded.adapters())
    assert all(tensor.dtype == torch.float32 and torch.equal(tensor, second[name]) for name, tensor in first.items())
    drawn = {name: tensor for name, tensor in first.items() if "lora_A" in name}
    # Uniform up to 1 / sqrt(in): of a variance of a third of its square; and no two layers alike.
    for tensor in drawn.values():
        assert float(tensor.abs().max()) <= tensor.shape[1] ** -0.5
    variance = torch.stack([tensor.var() * tensor.shape[1] for tensor in drawn.values()]).mean()
    assert float(variance) == pytest.approx(1 / 3, rel=0.05)
    assert len({float(tensor[0, 0]) for tensor in drawn.values()}) == len(drawn)


def test_only_adapters_of_the_language_model_are_trained(adapted: Policy, prompts: list[Prompt]) -> None:
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    # 3 layers x 7 projections x (A and B).
    assert len(trained) == 42
    assert all("language_model" in name and ".lora_" in name for name in trained)
    add_noise(adapted, 0.3, ".lora_")
    adapted(pack(make_groups(prompts[:1], [[(9, 10, 11)]])))[0].sum().backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in adapted.parameters())


def test_saved_it_is_the_same_policy_merged_and_as_adapters(adapted: Policy, prompts: list[Prompt], tmp_path: Path) -> None:
    add_noise(adapted, 0.3, ".lora_")
    adapted.save(tmp_path / "model", EMBEDDED_NAME, dict(adapted.weights()), dict(adapted.adapters()))
    packed = pack(make_groups(prompts[:2], [[(9, 10, 11), (12,)], [(13, 14)]]))
    with torch.no_grad():
        own, fresh = adapted(packed)[0], Policy.load(EMBEDDED_NAME, "test")(packed)[0]
        merged = Policy.load(str(tmp_path / "model"), "test")(packed)[0]
    torch.testing.assert_close(merged, own, atol=1e-5, rtol=1e-5)
    assert (own - fresh).abs().max() > 0.1
    # transformers and peft read the folders without us.
    ids = torch.arange(9, 20)[None]
    plain = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "model")
    base = Qwen3VLForConditionalGeneration.from_pretrained(Policy.load(EMBEDDED_NAME, "test").vlm.config.name_or_path)
    with torch.no_grad():
        expected = plain(input_ids=ids).logits
        with_adapters = PeftModel.from_pretrained(base, str(tmp_path / "model" / "adapter"))(input_ids=ids).logits
    torch.testing.assert_close(with_adapters, expected, atol=1e-4, rtol=1e-4)


def test_a_discriminator_trains_its_heads_and_routers_too(
    discriminator: Scorer, prompts: list[Prompt], tmp_path: Path
) -> None:
    adapted = DedicatedExpertsDiscriminator(lora=LORA).build(EMBEDDED_NAME, "test")
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    # Attention alone: a mixture's experts are no linear layers. 3 layers x 4 projections x (A and B), 3 routers, the heads.
    assert len(trained) == 3 * 4 * 2 + 3 + 1
    assert "head.weight" in trained
    add_noise(adapted, 0.3, ".lora_")
    adapted.save(tmp_path / "discriminator", EMBEDDED_NAME, dict(adapted.weights()), dict(adapted.adapters()))
    loaded = load_scorer(str(tmp_path / "discriminator"), "test")
    assert {name for name, _ in loaded.named_parameters()} == {name for name, _ in discriminator.named_parameters()}
    packed, aspect_B = pack(make_groups(prompts[:1], [[(9, 10), (11, 12)]])), torch.tensor([0, 1])
    with torch.no_grad():
        own, other, before = (model.eval()(packed, aspect_B)[0] for model in (adapted, loaded, discriminator))
    torch.testing.assert_close(other, own, atol=1e-5, rtol=1e-5)
    assert (own - before).abs().max() > 1e-3


def test_an_adapted_layer_is_one_weight_with_all_gradients() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"head": nn.Linear(4, 6, bias=False)})
    assert linear_weight(model["head"]) is model["head"].weight
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=6, target_modules=["head"]), model, "default")
    nn.init.normal_(model["head"].lora_B["default"].weight)
    x_BI = torch.randn(3, 4)
    layer, trained = model["head"], [model["head"].lora_A["default"].weight, model["head"].lora_B["default"].weight]
    own, expected = x_BI @ linear_weight(layer).T, layer(x_BI)
    torch.testing.assert_close(own, expected)
    found = [torch.autograd.grad(output.square().sum(), trained) for output in (own, expected)]
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def test_a_wrong_target_is_named(policy: Policy) -> None:
    with pytest.raises(UserError, match=r"lora.targets: no linear layer of the language model ends in query"):
        copy.deepcopy(policy).add_lora(LoraOptions(rank=2, alpha=2, targets=("query",)))

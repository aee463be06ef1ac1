"""The mixture starts as the dense model, and comes back from disk as it went."""

import copy
from pathlib import Path

import pytest
import torch

from prism_pl.discriminator import MixtureDiscriminator
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.packing import PackedBatch, make_groups, pack
from prism_pl.policy import Policy
from prism_pl.types import Prompt
from prism_pl.upcycling import upcycle


@pytest.fixture(scope="module")
def packed(mixed_prompts: list[Prompt]) -> PackedBatch:
    return pack(make_groups(mixed_prompts, [[(5, 6, 7), (8, 9)]] * len(mixed_prompts)))


def expert_index(packed: PackedBatch) -> torch.Tensor:
    return torch.arange(len(packed.last_B)) % 2


def tensors(mixture: MixtureDiscriminator, ending: str) -> list[torch.Tensor]:
    found = [tensor for name, tensor in mixture.state_dict().items() if name.endswith(ending)]
    assert len(found) == 3, "one tensor a layer"
    return found


@pytest.mark.parametrize(("num_experts", "top_k"), [(4, 2), (3, 1), (2, 2)])
def test_without_noise_hidden_states_equal_the_dense_model(
    policy: Policy, packed: PackedBatch, num_experts: int, top_k: int
) -> None:
    mixture = upcycle(EMBEDDED_NAME, "test", num_experts, top_k, noise=0.0).eval()
    with torch.no_grad():
        dense_RLH = policy.vlm.model(**packed.model_inputs()).last_hidden_state[packed.real_RL]
        mixture_RLH = mixture.model(**packed.model_inputs()).last_hidden_state[packed.real_RL]
        noisy = upcycle(EMBEDDED_NAME, "test", num_experts, top_k, noise=0.5).eval()
        noisy_RLH = noisy.model(**packed.model_inputs()).last_hidden_state[packed.real_RL]
    torch.testing.assert_close(mixture_RLH, dense_RLH, atol=1e-4, rtol=1e-4)
    # A feed-forward layer that were never called would pass the line above; strong noise must be seen.
    assert (noisy_RLH - dense_RLH).abs().max() > 1e-2


def test_scores_are_the_heads_product_with_the_last_hidden_state(
    discriminator: MixtureDiscriminator, packed: PackedBatch
) -> None:
    with torch.no_grad():
        score_B, _ = discriminator(packed, expert_index(packed))
        hidden_RLH = discriminator.model(**packed.model_inputs()).last_hidden_state
    # Row r holds a prompt and its segments of 3 and 2 tokens: they end 3 and 5 tokens after the prompt.
    row = 0
    for r in range(len(hidden_RLH)):
        prompt_length = int(packed.real_RL[r].sum()) - 5
        for expert, last in ((0, prompt_length + 2), (1, prompt_length + 4)):
            expected = hidden_RLH[r, last] @ discriminator.head.weight[expert]
            assert score_B[row].item() == pytest.approx(expected.item(), abs=1e-5)
            row += 1
    assert row == len(score_B) == 10


def test_the_seed_decides_the_weights() -> None:
    first, again, other = (upcycle(EMBEDDED_NAME, "test", seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    expected = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight", "head.weight")
    assert differing == {name for name in first if name.endswith(expected)}
    assert len(differing) == 3 * 3 + 1


def test_noise_is_relative_to_the_dense_weights(policy: Policy) -> None:
    dense = policy.vlm.model.state_dict()
    mixture = upcycle(EMBEDDED_NAME, "test", noise=0.1)
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


def test_global_random_state_is_not_used_for_the_weights() -> None:
    torch.manual_seed(0)
    first = upcycle(EMBEDDED_NAME, "test").head.weight
    torch.manual_seed(1)
    assert torch.equal(first, upcycle(EMBEDDED_NAME, "test").head.weight)


def test_save_and_load_give_equal_scores(discriminator: MixtureDiscriminator, packed: PackedBatch, tmp_path: Path) -> None:
    changed = copy.deepcopy(discriminator)
    with torch.no_grad():
        changed.head.weight *= 3
    changed.save(tmp_path / "d", EMBEDDED_NAME, dict(changed.weights()))
    loaded = MixtureDiscriminator.load(str(tmp_path / "d"), "test").eval()
    with torch.no_grad():
        expected_B, expected_balance = changed(packed, expert_index(packed))
        actual_B, actual_balance = loaded(packed, expert_index(packed))
    torch.testing.assert_close(actual_B, expected_B, atol=1e-6, rtol=1e-6)
    assert actual_balance.item() == pytest.approx(expected_balance.item(), rel=1e-6)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in changed.state_dict().items())
    assert (tmp_path / "d" / "preprocessor_config.json").exists() or (tmp_path / "d" / "processor_config.json").exists()


@pytest.mark.parametrize("lost", ["head.weight", "model.language_model.layers.1.mlp.gate.weight"])
def test_a_missing_weight_is_named(discriminator: MixtureDiscriminator, tmp_path: Path, lost: str) -> None:
    weights = {name: tensor for name, tensor in discriminator.weights() if name != lost}
    assert len(weights) == len(discriminator.state_dict()) - 1
    discriminator.save(tmp_path / "d", EMBEDDED_NAME, weights)
    with pytest.raises(UserError, match=f"lacks the weights {lost}".replace(".", r"\.")):
        MixtureDiscriminator.load(str(tmp_path / "d"), "model.discriminator")


def test_a_dense_model_is_no_discriminator(embedded: Path) -> None:
    with pytest.raises(UserError, match=r"^model\.discriminator: .* is a qwen3_vl model, not a discriminator"):
        MixtureDiscriminator.load(str(embedded / "model"), "model.discriminator")


def test_the_balance_loss_alone_trains_the_router(discriminator: MixtureDiscriminator, packed: PackedBatch) -> None:
    mixture = copy.deepcopy(discriminator)
    routers = [parameter for name, parameter in mixture.named_parameters() if name.endswith("mlp.gate.weight")]
    assert len(routers) == 3

    def walk(steps: int, length: float) -> float:
        """Moves the routers along the gradient of the balance loss, which it returns."""
        for _ in range(steps):
            _, balance = mixture(packed, expert_index(packed))
            balance.backward()
            assert all(router.grad.abs().max() > 0 for router in routers)
            assert mixture.head.weight.grad is None
            with torch.no_grad():
                for router in routers:
                    router += length * router.grad / router.grad.norm()
            mixture.zero_grad(set_to_none=True)
        return balance.item()

    # Even use of all four experts gives top_k = 2; if the same two took every token it would be 4.
    uneven = walk(10, 0.2)
    assert uneven > 2.5
    assert walk(20, -0.2) < 2 + 0.5 * (uneven - 2)


def test_balance_by_hand(discriminator: MixtureDiscriminator, packed: PackedBatch) -> None:
    mixture = copy.deepcopy(discriminator)
    with torch.no_grad():
        for name, parameter in mixture.named_parameters():
            if name.endswith("mlp.gate.weight"):
                parameter.zero_()
        _, balance = mixture(packed, expert_index(packed))
    # All probabilities are 1/4: 4 experts * sum of (shares of top-2 tokens, together 2) * 1/4 = 2.
    assert balance.item() == pytest.approx(2.0)


def test_padding_does_not_count_for_balance(discriminator: MixtureDiscriminator, prompts: list[Prompt]) -> None:
    """A row beside a much longer one has the balance loss of the two rows' real tokens, whatever stands in the padding."""
    groups = make_groups(prompts[:2], [[(5,)], [(6,) * 60]])
    packed = pack(groups)
    other_ids = torch.where(packed.real_RL, packed.input_ids_RL, 99)
    assert not packed.real_RL.all()
    with torch.no_grad():
        _, balance = discriminator(packed, torch.tensor([0, 0]))
        _, other = discriminator(type(packed)(**{**vars(packed), "input_ids_RL": other_ids}), torch.tensor([0, 0]))
    assert balance.item() == pytest.approx(other.item(), rel=1e-6)

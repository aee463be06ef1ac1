"""Chunked log-probabilities and entropies against torch's own on full logits."""

import math

import pytest
import torch
from torch import nn

from prism_pl.model.logprobs import token_logprobs

N, H, V = 7, 5, 11


@pytest.fixture
def problem() -> tuple[torch.Tensor, torch.Tensor, nn.Linear]:
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(H, V)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    hidden_NH = torch.randn(N, H, generator=generator).requires_grad_()
    return hidden_NH, torch.randint(0, V, (N,), generator=generator), head


def plain(
    hidden_NH: torch.Tensor, target_N: torch.Tensor, head: nn.Linear, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logits_NV = head(hidden_NH) / temperature
    logp_N = torch.log_softmax(logits_NV, dim=-1)[torch.arange(len(target_N)), target_N]
    return logp_N, torch.distributions.Categorical(logits=logits_NV).entropy()


def test_by_hand() -> None:
    # Logits 0 and log 3 give 1/4 and 3/4: log p = log 3/4, H = 1/4 log 4 + 3/4 log 4/3.
    logits_NV = torch.tensor([[0.0, math.log(3)]])
    logp_N, entropy_N = token_logprobs(logits_NV, torch.tensor([1]), nn.Identity())
    assert logp_N.item() == pytest.approx(math.log(0.75))
    assert entropy_N.item() == pytest.approx(0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    # Temperature 1/2 doubles the logits: 0 and log 9, so 9/10.
    logp_N, _ = token_logprobs(logits_NV, torch.tensor([1]), nn.Identity(), temperature=0.5)
    assert logp_N.item() == pytest.approx(math.log(0.9))


@pytest.mark.parametrize("temperature", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("chunk_tokens", [1, 2, 3, N - 1, N, 512])
def test_values_and_gradients_equal_full_logits(
    problem: tuple[torch.Tensor, torch.Tensor, nn.Linear], temperature: float, chunk_tokens: int
) -> None:
    hidden_NH, target_N, head = problem
    weight_N = torch.linspace(-1, 2, N)
    inputs = (hidden_NH, head.weight, head.bias)
    expected, expected_entropy = plain(hidden_NH, target_N, head, temperature)
    expected_gradients = torch.autograd.grad((expected * weight_N).sum(), inputs)
    actual, entropy = token_logprobs(hidden_NH, target_N, head, temperature, chunk_tokens)
    gradients = torch.autograd.grad((actual * weight_N).sum(), inputs)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(entropy, expected_entropy)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)
    assert actual.requires_grad
    assert not entropy.requires_grad


def test_without_gradient(problem: tuple[torch.Tensor, torch.Tensor, nn.Linear]) -> None:
    hidden_NH, target_N, head = problem
    with torch.no_grad():
        actual, entropy = token_logprobs(hidden_NH, target_N, head, 0.7, 3)
    expected, expected_entropy = plain(hidden_NH, target_N, head, 0.7)
    assert not actual.requires_grad
    torch.testing.assert_close(actual, expected.detach())
    torch.testing.assert_close(entropy, expected_entropy.detach())


def test_a_token_out_of_the_distribution_adds_nothing(problem: tuple[torch.Tensor, torch.Tensor, nn.Linear]) -> None:
    """A logit of -1e4 is how placeholders are silenced: the others are as if it did not exist, and nothing is NaN."""
    hidden_NH, _, head = problem
    target_N = torch.arange(N)
    silenced, entropy = token_logprobs(hidden_NH, target_N, lambda h: head(h).index_fill(-1, torch.tensor([V - 1]), -1e4))
    logits_NV = head(hidden_NH)[:, : V - 1]
    torch.testing.assert_close(silenced, torch.log_softmax(logits_NV, -1)[torch.arange(N), target_N])
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=logits_NV).entropy())


def test_logits_are_formed_in_fp32() -> None:
    # In bf16 the logits 1 and 1 + 2^-7 would give log-probabilities with 3 digits; the normaliser must be exact to 1e-6.
    logits_NV = torch.tensor([[1.0, 1.0078125, 3.0]], dtype=torch.bfloat16)
    logp_N, entropy_N = token_logprobs(logits_NV, torch.tensor([1]), nn.Identity())
    assert logp_N.dtype == entropy_N.dtype == torch.float32
    # log(e^1.0078125 / (e^1 + e^1.0078125 + e^3)) = 1.0078125 - log(2.718282 + 2.739601 + 20.085537).
    assert logp_N.item() == pytest.approx(1.0078125 - math.log(math.e + math.exp(1.0078125) + math.exp(3)), abs=1e-6)


@pytest.mark.parametrize("chunk_tokens", [2, 512])
def test_the_entropy_has_its_gradient_on_request(
    problem: tuple[torch.Tensor, torch.Tensor, nn.Linear], chunk_tokens: int
) -> None:
    hidden_NH, target_N, head = problem
    _, expected = plain(hidden_NH, target_N, head, 0.7)
    _, actual = token_logprobs(hidden_NH, target_N, head, 0.7, chunk_tokens, entropy_gradient=True)
    inputs = (hidden_NH, head.weight, head.bias)
    for own, other in zip(
        torch.autograd.grad(actual.sum(), inputs), torch.autograd.grad(expected.sum(), inputs), strict=True
    ):
        torch.testing.assert_close(own, other)
        assert own.abs().max() > 0

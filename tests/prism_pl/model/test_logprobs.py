"""Log-probabilities and entropies in tiles against torch's own on full logits."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_pl.model import logprobs
from prism_pl.model.logprobs import Softmax, Tiling, log_likelihood, token_logprobs

N, H, V = 7, 5, 11
TILINGS = [Tiling(1, 1), Tiling(3 * N, 2 * V), Tiling(4 * N + 1, 3 * V + 1), Tiling(V * N, V * N), Tiling(10**6, 10**6)]
"""One word and token at a time; tiles that end within the vocabulary; all at once."""
Tensors = tuple[torch.Tensor, ...]


def random_problem(tokens: int = N, hidden: int = H, words: int = V, seed: int = 0) -> Tensors:
    """Hidden states, targets and the weight; logits of several nats."""
    generator = torch.Generator().manual_seed(seed)
    hidden_NH, weight_VH = (2 * torch.randn(size, hidden, generator=generator) for size in (tokens, words))
    return hidden_NH.requires_grad_(), torch.randint(0, words, (tokens,), generator=generator), weight_VH.requires_grad_()


@pytest.fixture
def problem() -> Tensors:
    return random_problem()


def plain(hidden_NH: torch.Tensor, target_N: torch.Tensor, weight_VH: torch.Tensor, softmax: Softmax) -> Tensors:
    logits_NV = hidden_NH @ weight_VH.T / softmax.temperature
    suppressed = torch.tensor(softmax.suppressed, dtype=torch.long)
    logits_NV = logits_NV.index_fill(-1, suppressed, logprobs.SUPPRESSED_LOGIT)
    logp_NV = torch.log_softmax(logits_NV, dim=-1)
    entropy_N = -(logp_NV.exp() * logp_NV).sum(-1)
    return logp_NV[torch.arange(len(target_N)), target_N], entropy_N


def test_by_hand() -> None:
    # Logits 0 and log 3 give 1/4 and 3/4: log p = log 3/4, H = 1/4 log 4 + 3/4 log 4/3.
    hidden_NH, eye = torch.tensor([[0.0, math.log(3)]]), torch.eye(2)
    logp_N, entropy_N = token_logprobs(hidden_NH, torch.tensor([1]), eye)
    assert logp_N.item() == pytest.approx(math.log(0.75))
    assert entropy_N.item() == pytest.approx(0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    # Temperature 1/2 doubles the logits: 0 and log 9, so 9/10.
    logp_N, _ = token_logprobs(hidden_NH, torch.tensor([1]), eye, Softmax(0.5))
    assert logp_N.item() == pytest.approx(math.log(0.9))


def test_the_sum_by_hand() -> None:
    # The gradient of log p_1 is onehot - p = (-1/4, 1/4) for the logits, which the identity hands on; each row of the
    # weight's is that times the hidden state. A factor on the sum is one on all of it.
    hidden_NH, weight_VH = torch.tensor([[0.0, math.log(3)]]).requires_grad_(), torch.eye(2).requires_grad_()
    total, logp_N, entropy_N = log_likelihood(hidden_NH, torch.tensor([1]), weight_VH)
    assert total.item() == pytest.approx(math.log(0.75))
    assert not logp_N.requires_grad
    assert not entropy_N.requires_grad
    (-2 * total).backward()
    torch.testing.assert_close(hidden_NH.grad, torch.tensor([[0.5, -0.5]]))
    torch.testing.assert_close(weight_VH.grad, math.log(3) * torch.tensor([[0.0, 0.5], [0.0, -0.5]]))
    with pytest.raises(AssertionError, match="runs once"):
        total.backward()


@pytest.mark.parametrize("softmax", [Softmax(), Softmax(0.3), Softmax(2.5, (0, V - 1))])
@pytest.mark.parametrize("tiling", TILINGS)
def test_values_and_gradients_equal_full_logits(problem: Tensors, softmax: Softmax, tiling: Tiling) -> None:
    hidden_NH, _, weight_VH = problem
    factor_N = torch.linspace(-1, 2, N)
    expected, expected_entropy = plain(*problem, softmax)
    expected_gradients = torch.autograd.grad((expected * factor_N).sum(), (hidden_NH, weight_VH), retain_graph=True)
    actual, entropy = token_logprobs(*problem, softmax, tiling=tiling)
    gradients = torch.autograd.grad((actual * factor_N).sum(), (hidden_NH, weight_VH))
    torch.testing.assert_close((actual, entropy), (expected, expected_entropy))
    torch.testing.assert_close(gradients, expected_gradients)
    assert not entropy.requires_grad
    total, *values = log_likelihood(*problem, softmax, tiling=tiling)
    torch.testing.assert_close((total, *values), (expected.sum(), expected, expected_entropy))
    expected_gradients = torch.autograd.grad(0.3 * expected.sum(), (hidden_NH, weight_VH))
    torch.testing.assert_close(torch.autograd.grad(0.3 * total, (hidden_NH, weight_VH)), expected_gradients)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 60)),
    tile=st.integers(1, 3000),
    held=st.integers(1, 3000),
    temperature=st.sampled_from([1.0, 0.7]),
    seed=st.integers(0, 9),
)
@settings(max_examples=100)
def test_any_shape_in_any_tiles_is_the_full_logits(
    shape: tuple[int, int, int], tile: int, held: int, temperature: float, seed: int
) -> None:
    hidden_NH, target_N, weight_VH = problem = random_problem(*shape, seed)
    softmax, tiling = Softmax(temperature), Tiling(tile, held)
    inputs = (hidden_NH, weight_VH)
    expected, expected_entropy = plain(*problem, softmax)
    actual, entropy = token_logprobs(*problem, softmax, entropy_gradient=True, tiling=tiling)
    torch.testing.assert_close((actual, entropy), (expected, expected_entropy), rtol=1e-4, atol=1e-4)
    factor_N, other_N = torch.linspace(-1, 2, len(target_N)), torch.linspace(2, -1, len(target_N))
    losses = [(factor_N * logp + other_N * own).sum() for logp, own in ((actual, entropy), (expected, expected_entropy))]
    own, others = (torch.autograd.grad(loss, inputs, retain_graph=True) for loss in losses)
    torch.testing.assert_close(own, others, rtol=1e-4, atol=1e-4)
    total, _, _ = log_likelihood(*problem, softmax, tiling=tiling)
    own, others = (torch.autograd.grad(value, inputs) for value in (total, expected.sum()))
    torch.testing.assert_close(own, others, rtol=1e-4, atol=1e-4)


def test_without_gradient(problem: Tensors, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of one pass, what makes the gradient is left out: it is called by nobody.
    monkeypatch.delattr(logprobs, "_logit_gradient")
    with torch.no_grad():
        actual = token_logprobs(*problem, Softmax(0.7), tiling=TILINGS[1])
        total, *likelihood = log_likelihood(*problem, Softmax(0.7), tiling=TILINGS[1])
    expected = plain(*problem, Softmax(0.7))
    assert not actual[0].requires_grad
    assert not total.requires_grad
    torch.testing.assert_close(actual, tuple(value.detach() for value in expected))
    torch.testing.assert_close(tuple(likelihood), actual)


def likelihood_sum(*arguments: torch.Tensor) -> torch.Tensor:
    return log_likelihood(*arguments)[0]


def logprob_sum(*arguments: torch.Tensor) -> torch.Tensor:
    return token_logprobs(*arguments)[0].sum()


@pytest.mark.parametrize("summed", [likelihood_sum, logprob_sum])
def test_what_is_frozen_gets_no_gradient(problem: Tensors, summed: Callable[..., torch.Tensor]) -> None:
    hidden_NH, target_N, weight_VH = problem
    expected = torch.autograd.grad(summed(*problem), (hidden_NH, weight_VH))
    (own,) = torch.autograd.grad(summed(hidden_NH, target_N, weight_VH.detach()), (hidden_NH,))
    assert torch.equal(own, expected[0])
    (own,) = torch.autograd.grad(summed(hidden_NH.detach(), target_N, weight_VH), (weight_VH,))
    assert torch.equal(own, expected[1])
    assert not summed(hidden_NH.detach(), target_N, weight_VH.detach()).requires_grad


def test_a_token_out_of_the_distribution_adds_nothing(problem: Tensors) -> None:
    """The others are as if it did not exist, nothing is NaN, and its row of the weight has no gradient."""
    hidden_NH, _, weight_VH = problem
    target_N = torch.arange(N)
    silenced, entropy = token_logprobs(hidden_NH, target_N, weight_VH, Softmax(suppressed=(V - 1,)))
    logits_NV = (hidden_NH @ weight_VH.T)[:, : V - 1]
    torch.testing.assert_close(silenced, torch.log_softmax(logits_NV, -1)[torch.arange(N), target_N])
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=logits_NV).entropy())
    as_target, _ = token_logprobs(hidden_NH, torch.full((N,), V - 1), weight_VH, Softmax(suppressed=(V - 1,)))
    (gradient,) = torch.autograd.grad(as_target.sum(), weight_VH)
    assert gradient[-1].abs().max() == 0
    assert gradient[:-1].abs().max() > 0


def test_logits_of_bf16_are_normalised_in_fp32() -> None:
    # In bf16 the logits 1 and 1 + 2^-7 would give log-probabilities with 3 digits; the normaliser must be exact to 1e-6.
    logits_NV = torch.tensor([[1.0, 1.0078125, 3.0]], dtype=torch.bfloat16)
    logp_N, entropy_N = token_logprobs(logits_NV, torch.tensor([1]), torch.eye(3, dtype=torch.bfloat16))
    assert logp_N.dtype == entropy_N.dtype == torch.float32
    # log(e^1.0078125 / (e^1 + e^1.0078125 + e^3)) = 1.0078125 - log(2.718282 + 2.739601 + 20.085537).
    assert logp_N.item() == pytest.approx(1.0078125 - math.log(math.e + math.exp(1.0078125) + math.exp(3)), abs=1e-6)


@pytest.mark.parametrize("summed", [likelihood_sum, logprob_sum])
def test_bf16_weights_get_gradients_of_their_precision(summed: Callable[..., torch.Tensor]) -> None:
    hidden_NH, target_N, weight_VH = random_problem(64, 32, 50)
    hidden_NH, weight_VH = (0.2 * tensor.detach() for tensor in (hidden_NH, weight_VH))
    low = [tensor.bfloat16().requires_grad_() for tensor in (hidden_NH, weight_VH)]
    exact = [tensor.detach().float().requires_grad_() for tensor in low]
    own, expected = (torch.autograd.grad(summed(h, target_N, w), (h, w)) for h, w in (low, exact))
    for gradient, reference in zip(own, expected, strict=True):
        assert gradient.dtype == torch.bfloat16
        # Three roundings to 2^-9 each, of numbers that partly cancel.
        assert (gradient - reference).norm() < 2**-7 * reference.norm()


def test_logits_of_bf16_are_summed_up_in_fp32() -> None:
    """Logits 256 and 257 lie within one step of bf16, which is 2 there: of two words the second has p = 0.731."""
    hidden_NH = torch.tensor([[16.0, 1.0]], dtype=torch.bfloat16)
    weight_VH = torch.tensor([[16.0, 0.0], [16.0, 1.0]], dtype=torch.bfloat16)
    logp_N, _ = token_logprobs(hidden_NH, torch.tensor([1]), weight_VH)
    assert logp_N.item() == pytest.approx(-math.log(1 + math.exp(-1)), abs=1e-5)


def test_the_gradient_of_a_nearly_certain_token_is_not_rounded_away() -> None:
    """Logits 7 and 0: p = 0.99909, which is 1 in bf16, where 1 - p would be 0."""
    hidden_NH, eye = torch.tensor([[7.0, 0.0]], dtype=torch.bfloat16).requires_grad_(), torch.eye(2).bfloat16()
    logp_N, _ = token_logprobs(hidden_NH, torch.tensor([0]), eye)
    (gradient,) = torch.autograd.grad(logp_N.sum(), hidden_NH)
    rest = math.exp(-7) / (1 + math.exp(-7))
    assert gradient[0].tolist() == pytest.approx([rest, -rest], rel=2**-8)

"""The discriminator's loss by hand, its gradient, and where the gap comes to rest."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.game import Scores, preference_loss


def make_scores(policy_GK: list[list[float]], valid_G: list[bool], teacher_K: tuple[float, float] = (0, 0)) -> Scores:
    """One group; the scores of malformed responses are 0, as ``arrange`` leaves them."""
    return Scores(torch.tensor([teacher_K]).float(), torch.tensor([policy_GK]).float(), torch.tensor([valid_G]))


def two_pairs() -> Scores:
    return make_scores([[0.0, 0.0], [1.0, 2.0]], [True, True], teacher_K=(1.0, 0.0))


def test_bradley_terry_by_hand() -> None:
    # Margins: 1 - 0 = 1 and 0 - 0 = 0; 1 - 1 = 0 and 0 - 2 = -2. log(1 + e^-m): 0.313262, 0.693147, 0.693147, 2.126928.
    # Sum 3.826484 over 2 pairs: 1.913242.
    assert two_pairs().margin_MK.tolist() == [[1.0, 0.0], [0.0, -2.0]]
    assert preference_loss(two_pairs(), 2, 0.0).item() == pytest.approx(1.913242, abs=1e-6)


def test_score_penalty_by_hand() -> None:
    # The four squares of each pair, the teacher's in both: 1 0 0 0, mean 1/4, and 1 0 1 4, mean 6/4. Their mean is 7/8:
    # a penalty of 0.01 adds 0.00875.
    assert preference_loss(two_pairs(), 2, 0.01).item() == pytest.approx(1.921992, abs=1e-6)
    # As one rank's share of 8 pairs: (3.826484 + 0.5 * 7/4) / 8.
    assert preference_loss(two_pairs(), 8, 0.5).item() == pytest.approx(0.5876855, abs=1e-6)


def test_malformed_responses_are_left_out() -> None:
    scores = make_scores([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]], [True, False, True], teacher_K=(1.0, 0.0))
    assert preference_loss(scores, 2, 0.01).item() == pytest.approx(1.921992, abs=1e-6)
    # Nobody is well-formed: 0, not NaN, and without any gradient.
    scores = make_scores([[0.0, 0.0]], [False], teacher_K=(1.0, 0.0))
    scores.teacher_PK.requires_grad_()
    loss = preference_loss(scores, 0, 0.5)
    assert loss.item() == 0
    (gradient_PK,) = torch.autograd.grad(loss, scores.teacher_PK)
    assert gradient_PK.tolist() == [[0.0, 0.0]]


def test_gradient_by_hand() -> None:
    scores = make_scores([[0.0, 0.0]], [True], teacher_K=(1.0, 0.0))
    scores.teacher_PK.requires_grad_()
    scores.policy_PGK.requires_grad_()
    gradients = torch.autograd.grad(preference_loss(scores, 1, 0.1), (scores.teacher_PK, scores.policy_PGK))
    # -d log sigma(m)/dm = -sigma(-m): -0.268941 at m = 1 and -0.5 at 0; the penalty adds 0.1 * 2 * 1 / 4 = 0.05.
    torch.testing.assert_close(gradients[0], torch.tensor([[-0.218941, -0.5]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(gradients[1], torch.tensor([[[0.268941, 0.5]]]), atol=1e-6, rtol=0)


@given(
    teacher_PK=st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=4, max_size=4),
    policy=st.lists(st.floats(-9, 9), min_size=24, max_size=24),
    valid=st.lists(st.booleans(), min_size=12, max_size=12),
    cut=st.integers(0, 4),
    penalty=st.floats(0, 1),
)
def test_the_shares_of_ranks_sum_to_the_whole(
    teacher_PK: list[tuple[float, float]], policy: list[float], valid: list[bool], cut: int, penalty: float
) -> None:
    """Four prompts on two ranks, the first with ``cut`` of them: the denominator is the number of pairs of both."""
    policy_PGK = torch.tensor(policy, dtype=torch.float64).reshape(4, 3, 2)
    scores = Scores(torch.tensor(teacher_PK, dtype=torch.float64), policy_PGK, torch.tensor(valid).reshape(4, 3))
    count = float(sum(valid))
    parts = [scores.part(prompts, slice(None)) for prompts in (slice(cut), slice(cut, None))]
    total = sum(float(preference_loss(part, count, penalty)) for part in parts)
    assert total == pytest.approx(float(preference_loss(scores, count, penalty)), rel=1e-9, abs=1e-12)
    # And the plain sums, pair by pair.
    expected = 0.0
    for p in range(4):
        for g in range(3):
            if valid[3 * p + g]:
                pair = [(teacher_PK[p][k], policy[6 * p + 2 * g + k]) for k in range(2)]
                expected += sum(math.log1p(math.exp(s - t)) for t, s in pair)
                expected += penalty * sum(t * t + s * s for t, s in pair) / 4
    assert total == pytest.approx(expected / max(count, 1), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("penalty", "golden"), [(0.001, 6.43), (0.01, 4.48)])
def test_the_gap_of_separable_data_rests_where_the_penalty_holds_it(penalty: float, golden: float) -> None:
    """Scores as free parameters, three pairs of a teacher: at the minimum sigma(-g) = penalty * g / 4."""
    generator = torch.Generator().manual_seed(0)
    teacher_PK = torch.randn(1, 2, generator=generator, dtype=torch.float64).requires_grad_()
    policy_PGK = torch.randn(1, 3, 2, generator=generator, dtype=torch.float64).requires_grad_()
    valid_PG = torch.ones(1, 3, dtype=torch.bool)
    descent = torch.optim.LBFGS(
        [teacher_PK, policy_PGK], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        descent.zero_grad()
        loss = preference_loss(Scores(teacher_PK, policy_PGK, valid_PG), 3, penalty)
        loss.backward()
        return loss

    descent.step(closure)
    gap_GK = (teacher_PK[:, None] - policy_PGK)[0].detach()
    torch.testing.assert_close(torch.sigmoid(-gap_GK), penalty * gap_GK / 4, atol=1e-8, rtol=0)
    torch.testing.assert_close(gap_GK, torch.full_like(gap_GK, golden), atol=5e-3, rtol=0)
    # The teacher is as far above 0 as the policy is below: in each pair it bears half of the penalty.
    torch.testing.assert_close(teacher_PK.detach()[0], gap_GK[0] / 2, atol=1e-4, rtol=0)

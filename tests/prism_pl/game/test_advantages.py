"""Advantages by hand, the released code's golden values, and what one malformed response does to its group."""

import math
from statistics import stdev

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.game import AdversarialAdvantage, MixCentred, MixThenNormalise, NormaliseThenMix, ReleasedAdvantage, Scores

OWN_FORMS = [NormaliseThenMix, MixThenNormalise, MixCentred]
# Perception 1, 2, 3: mean 2, unbiased std 1, so -1, 0, 1. Reasoning 2, 4, 0: mean 2, std 2, so 0, 1, -1.
THREE = [[1.0, 2.0], [2.0, 4.0], [3.0, 0.0]]


def make_scores(
    policy_GK: list[list[float]], valid_G: list[bool] | None = None, dtype: torch.dtype = torch.float32
) -> Scores:
    """One group; the scores of malformed responses are 0, as ``arrange`` leaves them."""
    valid_PG = torch.tensor([valid_G or [True] * len(policy_GK)])
    return Scores(torch.zeros(1, 2), torch.tensor([policy_GK], dtype=dtype) * valid_PG[..., None], valid_PG)


@pytest.mark.parametrize(
    ("form", "alpha", "expected_G"),
    [
        (NormaliseThenMix, 1.0, [-1.0, 0.0, 1.0]),
        (NormaliseThenMix, 0.0, [0.0, 1.0, -1.0]),
        (NormaliseThenMix, 0.5, [-0.5, 0.5, 0.0]),
        (NormaliseThenMix, 0.25, [-0.25, 0.75, -0.5]),
        (MixThenNormalise, 1.0, [-1.0, 0.0, 1.0]),
        # Half of each: 1.5, 3, 1.5, mean 2, deviations -0.5, 1, -0.5, std sqrt(1.5 / 2) = 0.866025.
        (MixThenNormalise, 0.5, [-0.577350, 1.154701, -0.577350]),
        # A quarter and three: 1.75, 3.5, 0.75, mean 2, deviations -0.25, 1.5, -1.25, std sqrt(3.875 / 2) = 1.391941.
        (MixThenNormalise, 0.25, [-0.179605, 1.077632, -0.898027]),
        (MixCentred, 1.0, [-1.0, 0.0, 1.0]),
        (MixCentred, 0.0, [0.0, 2.0, -2.0]),
        (MixCentred, 0.5, [-0.5, 1.0, -0.5]),
    ],
)
def test_each_form_by_hand(form: type[AdversarialAdvantage], alpha: float, expected_G: list[float]) -> None:
    advantage = form(alpha=alpha)
    torch.testing.assert_close(advantage(make_scores(THREE)), torch.tensor([expected_G]), atol=1e-6, rtol=0)
    # A malformed response stands 1.5 below the worst and shifts nobody, wherever it stands.
    with_malformed = make_scores([THREE[0], [9.0, 9.0], *THREE[1:]], [True, False, True, True])
    expected = torch.tensor([[expected_G[0], min(expected_G) - 1.5, *expected_G[1:]]])
    torch.testing.assert_close(advantage(with_malformed), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("form", "expected_G"),
    [
        # The reasoning's part of the mixtures above, weighed 1/4 and 3/4: 3/4 of (0, 1, -1), of (0, 2, -2) / 1.391941,
        # and of (0, 2, -2).
        (NormaliseThenMix, [0.0, 0.75, -0.75]),
        (MixThenNormalise, [0.0, 1.077632, -1.077632]),
        (MixCentred, [0.0, 1.5, -1.5]),
    ],
)
def test_after_the_caption_by_hand(form: type[AdversarialAdvantage], expected_G: list[float]) -> None:
    advantage = form(alpha=0.25)
    expected = torch.tensor([expected_G])
    torch.testing.assert_close(advantage.after_caption(make_scores(THREE)), expected, atol=1e-6, rtol=0)
    # A malformed response has one place, before and after: 1.5 below the worst of the whole.
    scores = make_scores([THREE[0], [9.0, 9.0], *THREE[1:]], [True, False, True, True])
    assert float(advantage.after_caption(scores)[0, 1]) == float(advantage(scores)[0, 1])
    both = form(alpha=0.25, reward_to_go=False)
    assert torch.equal(both.after_caption(scores), both(scores))
    # Perception alone: nothing after the caption earns anything.
    assert form(alpha=1.0).after_caption(make_scores(THREE)).tolist() == [[0.0, 0.0, 0.0]]


def test_the_released_form_credits_all_tokens_alike() -> None:
    scores = make_scores(THREE)
    assert torch.equal(ReleasedAdvantage().after_caption(scores), ReleasedAdvantage()(scores))
    with pytest.raises(ValueError, match="leave reward_to_go off"):
        ReleasedAdvantage(reward_to_go=True)


hundredths = st.integers(-1000, 1000).map(lambda number: number / 100)


@pytest.mark.parametrize("form", OWN_FORMS)
@given(
    policy_GK=st.lists(st.lists(hundredths, min_size=2, max_size=2), min_size=15, max_size=15),
    position=st.integers(0, 15),
    alpha=st.floats(0, 1),
)
def test_one_malformed_response_of_sixteen_changes_no_other(
    form: type[AdversarialAdvantage], policy_GK: list[list[float]], position: int, alpha: float
) -> None:
    advantage = form(alpha=alpha, format_penalty=2.0)
    alone_G = advantage(make_scores(policy_GK, dtype=torch.float64))[0]
    sixteen = [*policy_GK[:position], [0.0, 0.0], *policy_GK[position:]]
    joined_G = advantage(make_scores(sixteen, [g != position for g in range(16)], torch.float64))[0]
    assert float(joined_G[position]) == pytest.approx(float(alone_G.min()) - 2.0, abs=1e-9)
    others_G = torch.cat([joined_G[:position], joined_G[position + 1 :]])
    torch.testing.assert_close(others_G, alone_G, atol=1e-9, rtol=0)


@pytest.mark.parametrize("form", OWN_FORMS)
def test_groups_are_apart(form: type[AdversarialAdvantage]) -> None:
    other = [[10.0, 5.0], [30.0, 5.0], [20.0, 6.0]]
    both = Scores(torch.zeros(2, 2), torch.tensor([THREE, other]), torch.ones(2, 3, dtype=torch.bool))
    expected = torch.cat([form()(make_scores(THREE)), form()(make_scores(other))])
    torch.testing.assert_close(form()(both), expected)


@pytest.mark.parametrize("form", [*OWN_FORMS, ReleasedAdvantage])
def test_the_teacher_does_not_matter(form: type[AdversarialAdvantage]) -> None:
    """The baseline is the group's mean: a common offset of all scores, the teacher's too, changes nothing."""
    scores = make_scores(THREE)
    other = Scores(scores.teacher_PK + 3, scores.policy_PGK, scores.valid_PG)
    assert torch.equal(form()(other), form()(scores))
    moved = make_scores([[a + 100, b + 100] for a, b in THREE])
    torch.testing.assert_close(form()(moved), form()(scores), atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", OWN_FORMS)
@given(policy_GK=st.lists(st.lists(st.integers(-8, 8).map(float), min_size=2, max_size=2), min_size=2, max_size=9))
def test_the_advantages_of_a_group_sum_to_zero(form: type[AdversarialAdvantage], policy_GK: list[list[float]]) -> None:
    assert float(form()(make_scores(policy_GK)).sum()) == pytest.approx(0, abs=1e-4)


def test_which_forms_depend_on_an_experts_scale() -> None:
    """Perception ten times as wide: nothing to NormaliseThenMix, the larger say in the other two."""
    wide = make_scores([[10 * perception, reasoning] for perception, reasoning in THREE])
    torch.testing.assert_close(NormaliseThenMix()(wide), NormaliseThenMix()(make_scores(THREE)))
    # Mixed 6, 12, 15: mean 11, deviations -5, 1, 4, std sqrt(42 / 2) = 4.582576.
    torch.testing.assert_close(MixCentred()(wide), torch.tensor([[-5.0, 1.0, 4.0]]))
    expected = torch.tensor([[-1.091089, 0.218218, 0.872872]])
    torch.testing.assert_close(MixThenNormalise()(wide), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", [*OWN_FORMS, ReleasedAdvantage])
def test_all_malformed(form: type[AdversarialAdvantage]) -> None:
    scores = make_scores([[0.0, 0.0]] * 3, [False] * 3)
    assert form(format_penalty=2.0)(scores).tolist() == [[-2.0, -2.0, -2.0]]
    assert form()(scores).tolist() == [[-1.5, -1.5, -1.5]]


@pytest.mark.parametrize("form", OWN_FORMS)
def test_a_single_valid_response_carries_no_preference(form: type[AdversarialAdvantage]) -> None:
    scores = make_scores([[0.0, 0.0], [5.0, -3.0], [0.0, 0.0]], [False, True, False])
    assert form(format_penalty=1.0)(scores).tolist() == [[-1.0, 0.0, -1.0]]


@pytest.mark.parametrize("form", [NormaliseThenMix, MixThenNormalise])
def test_equal_scores_carry_no_preference(form: type[AdversarialAdvantage]) -> None:
    # 0.1 has no exact mean in fp32, and 1e-6 is less than the noise of two micro-batches: both count as equal.
    for perception in ([0.1] * 3, [0.1, 0.1 + 1e-6, 0.1 - 1e-6]):
        assert form()(make_scores([[value, value] for value in perception])).tolist() == [[0.0, 0.0, 0.0]]


def test_one_expert_without_preference_leaves_the_others() -> None:
    scores = make_scores([[0.1, 2.0], [0.1, 4.0], [0.1, 0.0]])
    torch.testing.assert_close(NormaliseThenMix()(scores), torch.tensor([[0.0, 0.5, -0.5]]))
    # Mixed 1.05, 2.05, 0.05: std 1.
    torch.testing.assert_close(MixThenNormalise()(scores), torch.tensor([[0.0, 1.0, -1.0]]))


@pytest.mark.parametrize(
    ("policy_GK", "expected_G"),
    [
        # Golden values of the released code, run: (caption, think and answer) of three valid responses and a malformed one.
        ([[1.0, -1.0], [2.0, 0.0], [3.0, 4.0]], [-0.431296, 0.146120, 1.293887, -2.508711]),
        ([[0.0, 0.5], [0.0, 0.1], [0.0, 0.0]], [0.720436, 0.406812, 0.328406, -2.955654]),
    ],
)
def test_released_golden_values(policy_GK: list[list[float]], expected_G: list[float]) -> None:
    scores = make_scores([*policy_GK, [0.0, 0.0]], [True, True, True, False])
    torch.testing.assert_close(ReleasedAdvantage()(scores), torch.tensor([expected_G]), atol=2e-6, rtol=0)


def test_released_by_hand() -> None:
    """Perception 1, 2, 3 and the malformed 1 - 1 = 0: mean 1.5, std 1.290994. Reasoning 2, 4, 0 and -1: mean 1.25."""
    scores = make_scores([*THREE, [0.0, 0.0]], [True, True, True, False])
    reasoning = [2.0, 4.0, 0.0, -1.0]
    expected = [
        0.5 * (p - 1.5) / 1.290994 + 0.5 * (r - 1.25) / stdev(reasoning)
        for p, r in zip([1.0, 2.0, 3.0, 0.0], reasoning, strict=True)
    ]
    expected[3] -= 1.5
    torch.testing.assert_close(ReleasedAdvantage()(scores), torch.tensor([expected]), atol=1e-5, rtol=0)
    # A group of one has mean 0 and std 1.
    assert ReleasedAdvantage(alpha=0.25)(make_scores([[2.0, 4.0]])).item() == pytest.approx(3.5, abs=1e-5)


def test_one_malformed_response_drowns_a_released_group() -> None:
    """Fifteen valid scores of std 0.05 and one malformed: their advantages shrink from a spread of 1 to less than 0.2.

    The reference's measured values are 0.17, mean +0.25 and -5.20 for the malformed one; here the scores are evenly spaced.
    """
    # 0..14 have an unbiased variance of 15 * 16 / 12 = 20: steps of 0.05 / sqrt(20) = 0.0111803, the worst 7 steps down.
    step = 0.05 / math.sqrt(20)
    valid = [step * (index - 7) for index in range(15)]
    assert stdev(valid) == pytest.approx(0.05)
    scores = make_scores([[value, value] for value in [*valid, 0.0]], [True] * 15 + [False])
    advantage_G = ReleasedAdvantage()(scores)[0]
    # The malformed one is put 1.078262 below the mean m of the valid ones; the mean of all is m - 1.078262 / 16, and
    # the squared deviations are 14 * 0.0025 + 1.078262^2 * 15 / 16 = 1.124986: std sqrt(1.124986 / 15) = 0.273860.
    assert advantage_G[:15].std().item() == pytest.approx(0.05 / 0.273860, abs=1e-4)
    assert advantage_G[:15].mean().item() == pytest.approx(1.078262 / 16 / 0.273860, abs=1e-4)
    assert advantage_G[15].item() == pytest.approx(-1.078262 * 15 / 16 / 0.273860 - 1.5, abs=1e-4)
    assert (advantage_G[:15].std() < 0.2, round(float(advantage_G[:15].mean()), 2)) == (True, 0.25)
    # The repaired form keeps a spread of 1 around 0.
    repaired_G = NormaliseThenMix()(scores)[0]
    assert repaired_G[:15].std().item() == pytest.approx(1, abs=1e-4)
    assert repaired_G[:15].mean().item() == pytest.approx(0, abs=1e-5)
    # The worst of fifteen evenly spaced is 7 / sqrt(20) = 1.565248 below their mean.
    assert repaired_G[15].item() == pytest.approx(-1.565248 - 1.5, abs=1e-4)


@pytest.mark.parametrize("form", [*OWN_FORMS, ReleasedAdvantage])
@given(
    policy_GK=st.lists(st.lists(hundredths, min_size=2, max_size=2), min_size=2, max_size=8),
    flags_G=st.lists(st.booleans(), min_size=8, max_size=8),
    lost=st.sets(st.integers(0, 7), min_size=1, max_size=3),
    bad=st.sampled_from([math.nan, math.inf, -math.inf]),
    aspects=st.sampled_from([(0,), (1,), (0, 1)]),
)
def test_a_score_that_is_not_finite_costs_nobody_but_its_response(
    form: type[AdversarialAdvantage],
    policy_GK: list[list[float]],
    flags_G: list[bool],
    lost: set[int],
    bad: float,
    aspects: tuple[int, ...],
) -> None:
    """The others have the advantages of a group without it."""
    size = len(policy_GK)
    lost = {place for place in lost if place < size} or {0}
    valid_G = [flags_G[g] or g in lost for g in range(size)]
    whole = make_scores(policy_GK, valid_G, torch.float64)
    for place in lost:
        whole.policy_PGK[0, place, list(aspects)] = bad
    assert whole.lost_PG[0].nonzero().flatten().tolist() == sorted(lost)
    advantage_G = form()(whole)[0]
    others = [g for g in range(size) if g not in lost]
    assert advantage_G[sorted(lost)].eq(0).all()
    if len(others) > 1 or form is not ReleasedAdvantage:  # which takes a group of one as it is
        without = make_scores([policy_GK[g] for g in others], [valid_G[g] for g in others], torch.float64)
        expected_G = form()(without)[0] if others else advantage_G[others]
        torch.testing.assert_close(advantage_G[others], expected_G, atol=1e-9, rtol=0)
    assert advantage_G.isfinite().all()


def test_a_lost_score_by_hand() -> None:
    # Perception 1, 2, 3 as above; the fourth response's is lost, the fifth is malformed.
    scores = make_scores([*THREE, [math.nan, 5.0], [0.0, 0.0]], [True, True, True, True, False])
    advantage_PG = NormaliseThenMix(alpha=1.0)(scores)
    torch.testing.assert_close(advantage_PG, torch.tensor([[-1.0, 0.0, 1.0, 0.0, -2.5]]), atol=1e-6, rtol=0)
    assert scores.columns["reasoning"].isnan().tolist() == [[False, False, False, True, True]]

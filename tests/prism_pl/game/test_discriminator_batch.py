"""Everything that one update looks at, by hand: who stands where, how many pairs, and the loss."""

import math

import pytest
import torch

from prism_pl.data.conversation import PromptEncoder
from prism_pl.discriminators.reading import Reading
from prism_pl.game import (
    DiscriminatorBatch,
    DiscriminatorLossOptions,
    across_loss,
    make_discriminator_batch,
    negative_indices,
)
from prism_pl.segments import parse_response, segment_ids
from prism_pl.types import Prompt
from tests.responses import MALFORMED, respond

# One score a segment of the batch below.
SCORES = torch.tensor([1, 0, -2, 3, 0.5, 1, 2, -1, 0, 0, 1, 1, -1, 2, 3, 2, 1, -3, 0, 4], dtype=torch.float64)
# Teacher and policy of each pair of the fresh responses and of the past ones, per aspect.
FRESH = [(0, 2), (1, 3), (6, 8), (7, 9), (6, 10), (7, 11)]
PAST = [(14, 16), (15, 17), (14, 18), (15, 19)]
# The teacher under its own prompt, and another's under it.
IN_BATCH = [(0, 4), (1, 5), (6, 12), (7, 13)]
# A teacher under its own prompt, and the same one under the other.
ACROSS = [(6, 4), (7, 5), (0, 12), (1, 13)]


@pytest.fixture(scope="module")
def batch(prompts: list[Prompt], encoder: PromptEncoder) -> DiscriminatorBatch:
    """Two prompts with two responses, one of them malformed, and each with the other's teacher; a past prompt with two.

    Segments: teacher 0 1, response 2 3, other teacher 4 5; teacher 6 7, responses 8 9 and 10 11, other teacher 12 13;
    past teacher 14 15, responses 16 17 and 18 19.
    """
    return make_discriminator_batch(
        prompts[:2],
        [[respond("a"), MALFORMED], [respond("b"), respond("c")]],
        encoder.tokenizer,
        Reading(),
        in_batch=[[(1, prompts[1].teacher)], [(0, prompts[0].teacher)]],
        past=[(prompts[2], [respond("d"), respond("e")])],
    )


def term(pairs: list[tuple[int, int]], penalty: float) -> float:
    """Sum over pairs of log(1 + e^-(t - s)) and a quarter of the penalty of both squares: two aspects, four scores."""
    scores = [(float(SCORES[t]), float(SCORES[s])) for t, s in pairs]
    return sum(math.log1p(math.exp(s - t)) + penalty / 4 * (t * t + s * s) for t, s in scores)


def test_who_stands_where(batch: DiscriminatorBatch, prompts: list[Prompt], encoder: PromptEncoder) -> None:
    for part, pairs in ((batch.fresh, FRESH), (batch.in_batch, IN_BATCH), (batch.replay, PAST)):
        expected_MK = torch.tensor([float(SCORES[t] - SCORES[s]) for t, s in pairs], dtype=torch.float64).reshape(-1, 2)
        torch.testing.assert_close(part(SCORES).margin_MK, expected_MK)
    assert batch.fresh(SCORES).valid_PG.tolist() == [[True, False], [True, True]]
    assert batch.num_pairs().tolist() == [5, 2]
    # The other teacher's words stand under the prompt's own image.
    first, second = batch.scoring.groups[:2]
    assert first.prompt is prompts[0]
    assert first.segments[4:6] == segment_ids(parse_response(prompts[1].teacher), encoder.tokenizer)
    assert second.segments[6:8] == segment_ids(parse_response(prompts[0].teacher), encoder.tokenizer)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_loss_by_hand(batch: DiscriminatorBatch, weight: float) -> None:
    options = DiscriminatorLossOptions(score_penalty=0.02, in_batch_weight=weight)
    loss = batch.loss(SCORES, batch.num_pairs(), options)
    # Fresh and past pairs share one mean over 5; the in-batch ones have their own over 2, halved with the other direction,
    # but for the penalty.
    in_batch = (term(IN_BATCH, 0.04) + term(ACROSS, 0)) / 2
    expected = term(FRESH + PAST, 0.02) / 5 + weight * in_batch / 2
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_the_denominators_are_those_of_all_ranks(batch: DiscriminatorBatch) -> None:
    options = DiscriminatorLossOptions(score_penalty=0.0, in_batch_weight=1.0)
    loss = batch.loss(SCORES, torch.tensor([20.0, 8.0]), options)
    # Which prompt a response belongs to is no share: each rank has the scores of all, here two pairs.
    expected = term(FRESH + PAST, 0) / 20 + term(IN_BATCH, 0) / 8 / 2 + term(ACROSS, 0) / 2 / 2
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_two_ranks_have_the_gradient_of_one(batch: DiscriminatorBatch) -> None:
    """The batch's two prompts on a rank each: what one rank knows of the other are numbers."""
    shares_N = torch.zeros_like(SCORES)
    for rank in range(2):
        own_N = SCORES.clone().requires_grad_()
        scores = batch.in_batch(own_N)
        # As `StageModule.whole_rows` puts them together.
        rows = (scores.teacher_PK, scores.policy_PGK)
        whole = [row.detach().index_copy(0, torch.tensor([rank]), row[rank : rank + 1]) for row in rows]
        across_loss(*whole, batch.negative_PJ).backward()
        shares_N += own_N.grad
    one_N = SCORES.clone().requires_grad_()
    scores = batch.in_batch(one_N)
    across_loss(scores.teacher_PK, scores.policy_PGK, batch.negative_PJ).backward()
    torch.testing.assert_close(shares_N, one_N.grad)


def test_the_loss_has_a_gradient_for_every_segment_that_is_in_a_pair(batch: DiscriminatorBatch) -> None:
    leaf_N = SCORES.clone().requires_grad_()
    batch.loss(leaf_N, batch.num_pairs(), DiscriminatorLossOptions(score_penalty=0.0, in_batch_weight=0.3)).backward()
    # d/ds log(1 + e^-(t - s)) = sigma(s - t), and the negative of it for t.
    expected = [0.0] * len(SCORES)
    for pairs, factor in ((FRESH + PAST, 1 / 5), (IN_BATCH + ACROSS, 0.3 / 2 / 2)):
        for t, s in pairs:
            slope = factor / (1 + math.exp(float(SCORES[t] - SCORES[s])))
            expected[t] -= slope
            expected[s] += slope
    torch.testing.assert_close(leaf_N.grad, torch.tensor(expected, dtype=torch.float64))
    assert (leaf_N.grad != 0).all()


def test_without_past_and_in_batch_negatives(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    batch = make_discriminator_batch(prompts[:2], [[respond("a")], [respond("b")]], encoder.tokenizer, Reading())
    score_N = SCORES[:8]
    assert batch.num_pairs().tolist() == [2, 0]
    for empty in (batch.in_batch(score_N), batch.replay(score_N)):
        assert empty.margin_MK.shape == (0, 2)
    # Segments 0 1 against 2 3, and 4 5 against 6 7. The weight of what is not there does not matter.
    expected = term([(0, 2), (1, 3), (4, 6), (5, 7)], 0.001) / 2
    for weight in (0.0, 5.0):
        loss = batch.loss(score_N, batch.num_pairs(), DiscriminatorLossOptions(in_batch_weight=weight))
        assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_several_negatives_and_unequal_numbers_of_responses(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    """A prompt with fewer responses than others, and a past one with more, move nobody into another's place."""
    teachers = [prompt.teacher for prompt in prompts[:3]]
    borrowed = negative_indices(teachers, [prompt.image_paths for prompt in prompts[:3]], 3)
    batch = make_discriminator_batch(
        prompts[:3],
        [[respond("a")], [respond("b"), respond("c")], []],
        encoder.tokenizer,
        Reading(),
        in_batch=[[(q, teachers[q] if q >= 0 else "") for q in others] for others in borrowed],
        past=[(prompts[3], [respond(letter) for letter in "defgh"]), (prompts[4], [])],
    )
    assert batch.num_responses == 2
    assert batch.fresh(torch.zeros(100)).valid_PG.tolist() == [[True, False], [True, True], [False, False]]
    assert batch.in_batch(torch.zeros(100)).valid_PG.tolist() == [[True, True, False]] * 3
    assert batch.replay(torch.zeros(100)).valid_PG.tolist() == [[True] * 5, [False] * 5]
    assert batch.num_pairs().tolist() == [3 + 5, 6]

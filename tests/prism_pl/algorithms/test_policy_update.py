"""How a rollout batch is cut into updates, and what a micro-batch of one is given."""

from dataclasses import replace

import pytest
import torch

from prism_pl.algorithms.importance import MismatchOptions
from prism_pl.algorithms.policy_update import (
    Advantages,
    ReuseOptions,
    RolloutTerms,
    add_response_metrics,
    add_trained_share,
    groups_of,
    make_updates,
    nonfinite_responses,
    response_metrics,
    update_metrics,
)
from prism_pl.metrics.collection import StepMetrics
from prism_pl.model.packing import pack
from prism_pl.types import Prompt, Response, Rollouts, SamplingOptions


def make_rollouts() -> Rollouts:
    """Three prompts with two responses each, of 1 to 6 tokens; the engine's log-probabilities are -index - 1."""
    prompts = tuple(Prompt(f"rows:{p}", "", (1, 2), (1, 2), torch.arange(2).expand(3, 2)) for p in range(3))
    responses = tuple(
        tuple(Response((7,) * (2 * p + g + 1), (-float(2 * p + g) - 1,) * (2 * p + g + 1), "", False) for g in range(2))
        for p in range(3)
    )
    return Rollouts(prompts, responses, SamplingOptions(max_new_tokens=10, group_size=2))


ADVANTAGE_PG = torch.tensor([[1.0, -1.0], [0.0, 0.0], [0.0, 2.0]])


def test_rows_without_advantage_are_left_out_and_still_counted() -> None:
    (update,) = make_updates(make_rollouts(), Advantages(ADVANTAGE_PG), ReuseOptions(), all_rows=False)
    assert update.rows == [0, 1, 5]
    assert [group.order for group in update.groups] == [(0, 1), (5,)]
    assert [[len(segment) for segment in group.segments] for group in update.groups] == [[1, 2], [6]]
    assert (update.num_tokens, update.num_responses) == (1 + 2 + 3 + 4 + 5 + 6, 6)


def test_all_rows_on_request() -> None:
    (update,) = make_updates(make_rollouts(), Advantages(ADVANTAGE_PG), ReuseOptions(), all_rows=True)
    assert update.rows == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("mini_batches", "rows"), [(2, [[0, 1], [5]]), (3, [[0, 1], [], [5]]), (9, [[0, 1], [], [5]])])
def test_mini_batches_and_epochs(mini_batches: int, rows: list[list[int]]) -> None:
    updates = make_updates(
        make_rollouts(), Advantages(ADVANTAGE_PG), ReuseOptions(mini_batches=mini_batches, epochs=2), all_rows=False
    )
    assert [update.rows for update in updates] == rows * 2
    assert sum(update.num_tokens for update in updates) == 2 * 21


def test_from_some_token_on_another_advantage_by_hand() -> None:
    """Responses of 1 to 6 tokens. The third prompt's second has one advantage before its fourth token, another after."""
    late_PG = torch.tensor([[1.0, 3.0], [0.0, 0.5], [0.0, -2.0]])
    start_PG = torch.tensor([[1, 1], [9, 0], [0, 3]])
    advantages = Advantages(ADVANTAGE_PG, late_PG, start_PG)
    # The second prompt's second response has only a late one; it is trained, too.
    (update,) = make_updates(make_rollouts(), advantages, ReuseOptions(), all_rows=False)
    assert update.rows == [0, 1, 3, 5]
    packed = pack(groups_of(make_rollouts(), [1, 3, 5]))
    zeros_BT = torch.zeros(packed.token_mask_BT.shape)
    inputs = RolloutTerms(make_rollouts(), advantages, MismatchOptions(action="off")).loss_inputs(
        packed, zeros_BT, zeros_BT, (21, 6)
    )
    expected = [[-1.0] + [3.0] * 5, [0.5] * 6, [2.0] * 3 + [-2.0] * 3]
    assert inputs.advantage_BT.tolist() == expected


def test_inputs_are_found_by_the_index_in_the_batch() -> None:
    rollouts = make_rollouts()
    packed = pack(groups_of(rollouts, [1, 5]))
    zeros_BT = torch.zeros(packed.token_mask_BT.shape)
    old = {1: torch.full((2,), -2.0), 5: torch.full((6,), -6.5)}
    reference = {1: torch.full((2,), -0.1), 5: torch.full((6,), -0.5)}
    terms = RolloutTerms(rollouts, Advantages(ADVANTAGE_PG), MismatchOptions(), old, reference)
    inputs = terms.loss_inputs(packed, zeros_BT, zeros_BT, (21, 6))
    assert inputs.advantage_BT.tolist() == [[-1.0], [2.0]]
    assert inputs.old_logp_BT[:, 0].tolist() == [-2.0, -6.5]
    assert inputs.reference_logp_BT is not None
    assert inputs.reference_logp_BT[:, 0].tolist() == pytest.approx([-0.1, -0.5])
    assert inputs.engine_logp_BT is not None
    assert inputs.engine_logp_BT[:, 0].tolist() == [-2.0, -6.0]
    # exp(-2 + 2) = 1 and exp(-6.5 + 6).
    assert inputs.weight_BT[:, 0].tolist() == pytest.approx([1.0, 0.60653066])
    assert (inputs.num_tokens, inputs.num_responses, inputs.max_length) == (21, 6, 10)


def test_an_on_policy_step_takes_its_own_log_probabilities_for_the_old_ones() -> None:
    rollouts = make_rollouts()
    packed = pack(groups_of(rollouts, [0]))
    logp_BT = torch.full((1, 1), -1.5, requires_grad=True)
    terms = RolloutTerms(rollouts, Advantages(ADVANTAGE_PG), MismatchOptions())
    inputs = terms.loss_inputs(packed, logp_BT, torch.zeros(1, 1), (1, 1))
    assert inputs.ratio_BT.tolist() == [[1.0]]
    assert not inputs.old_logp_BT.requires_grad
    assert inputs.reference_logp_BT is None


def test_zero_std_groups_and_response_metrics_by_hand() -> None:
    metrics = StepMetrics(response_metrics())
    add_response_metrics(make_rollouts(), ADVANTAGE_PG, metrics)
    # The second of three groups has one advantage for all; (1 + 2 + 3 + 4 + 5 + 6) / 6 tokens.
    assert metrics.result() == {
        "response/tokens": 3.5,
        "response/truncated": 0.0,
        "advantage/zero_std_groups": pytest.approx(1 / 3),
    }


def test_the_share_of_trained_responses() -> None:
    metrics = StepMetrics(update_metrics(MismatchOptions()))
    add_trained_share([0, 1, 5], 6, metrics)
    assert metrics.result() == {"policy/trained_responses": 0.5}


def test_responses_that_are_not_finite_are_told_by_row_and_place() -> None:
    rollouts = make_rollouts()
    packed = pack(groups_of(rollouts, [1, 4, 5]))
    zeros_BT = torch.zeros(packed.token_mask_BT.shape)
    terms = RolloutTerms(rollouts, Advantages(torch.zeros(3, 2)), MismatchOptions(action="off"))
    clean = terms.loss_inputs(packed, zeros_BT, zeros_BT, (1.0, 1.0))
    assert nonfinite_responses(clean, packed, rollouts).names() == []
    # The second of the three packed rows is response 4: the first of the third prompt's two.
    poisoned_BT = zeros_BT.index_put((torch.tensor(1), torch.tensor(4)), torch.tensor(torch.inf))
    for column in ("logp_BT", "old_logp_BT", "weight_BT", "reference_logp_BT", "entropy_BT"):
        found = nonfinite_responses(replace(clean, **{column: poisoned_BT}), packed, rollouts)
        assert found.names() == ["rows:2, response 1 of 2"]
    # It has five tokens, and the sixth column of its row is padding.
    padded_BT = zeros_BT.index_put((torch.tensor(1), torch.tensor(5)), torch.tensor(torch.nan))
    assert nonfinite_responses(replace(clean, logp_BT=padded_BT), packed, rollouts).names() == []
    without = replace(clean, advantage_BT=torch.tensor([[torch.nan], [0.0], [torch.nan]]))
    assert nonfinite_responses(without, packed, rollouts).names() == ["rows:0, response 2 of 2", "rows:2, response 2 of 2"]

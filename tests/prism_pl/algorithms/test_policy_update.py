"""How a rollout batch is cut into updates, and what a micro-batch of one is given."""

import pytest
import torch

from prism_pl.algorithms.importance import MismatchOptions
from prism_pl.algorithms.policy_update import ReuseOptions, groups_of, loss_inputs, make_updates
from prism_pl.model.packing import pack
from prism_pl.types import Prompt, PromptBatch, Response


def make_batch() -> PromptBatch:
    """Three prompts with two responses each, of 1 to 6 tokens; the engine's log-probabilities are -index - 1."""
    prompts = [Prompt(f"rows:{p}", "", (1, 2), (1, 2), torch.arange(2).expand(3, 2)) for p in range(3)]
    responses = [
        [Response((7,) * (2 * p + g + 1), (-float(2 * p + g) - 1,) * (2 * p + g + 1), "", False) for g in range(2)]
        for p in range(3)
    ]
    return PromptBatch(prompts, responses, 1.0, 10)


ADVANTAGE_PG = torch.tensor([[1.0, -1.0], [0.0, 0.0], [0.0, 2.0]])


def test_rows_without_advantage_are_left_out_and_still_counted() -> None:
    (update,) = make_updates(make_batch(), ADVANTAGE_PG, ReuseOptions(), all_rows=False)
    assert update.rows == [0, 1, 5]
    assert [group.order for group in update.groups] == [(0, 1), (5,)]
    assert [[len(segment) for segment in group.segments] for group in update.groups] == [[1, 2], [6]]
    assert (update.num_tokens, update.num_responses) == (1 + 2 + 3 + 4 + 5 + 6, 6)


def test_all_rows_on_request() -> None:
    (update,) = make_updates(make_batch(), ADVANTAGE_PG, ReuseOptions(), all_rows=True)
    assert update.rows == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("mini_batches", "rows"), [(2, [[0, 1], [5]]), (3, [[0, 1], [], [5]]), (9, [[0, 1], [], [5]])])
def test_mini_batches_and_epochs(mini_batches: int, rows: list[list[int]]) -> None:
    updates = make_updates(make_batch(), ADVANTAGE_PG, ReuseOptions(mini_batches=mini_batches, epochs=2), all_rows=False)
    assert [update.rows for update in updates] == rows * 2
    assert sum(update.num_tokens for update in updates) == 2 * 21


def test_inputs_are_found_by_the_index_in_the_batch() -> None:
    batch = make_batch()
    packed = pack(groups_of(batch, [1, 5]))
    zeros_BT = torch.zeros(packed.token_mask_BT.shape)
    old = {1: torch.full((2,), -2.0), 5: torch.full((6,), -6.5)}
    reference = {1: torch.full((2,), -0.1), 5: torch.full((6,), -0.5)}
    inputs, engine_logp_BT = loss_inputs(
        batch, packed, zeros_BT, zeros_BT, ADVANTAGE_PG, old, reference, (21, 6), MismatchOptions()
    )
    assert inputs.advantage_B.tolist() == [-1.0, 2.0]
    assert inputs.old_logp_BT[:, 0].tolist() == [-2.0, -6.5]
    assert inputs.reference_logp_BT is not None
    assert inputs.reference_logp_BT[:, 0].tolist() == pytest.approx([-0.1, -0.5])
    assert engine_logp_BT[:, 0].tolist() == [-2.0, -6.0]
    # exp(-2 + 2) = 1 and exp(-6.5 + 6).
    assert inputs.weight_BT[:, 0].tolist() == pytest.approx([1.0, 0.60653066])
    assert (inputs.num_tokens, inputs.num_responses, inputs.max_length) == (21, 6, 10)


def test_an_on_policy_step_takes_its_own_log_probabilities_for_the_old_ones() -> None:
    batch = make_batch()
    packed = pack(groups_of(batch, [0]))
    logp_BT = torch.full((1, 1), -1.5, requires_grad=True)
    inputs, _ = loss_inputs(batch, packed, logp_BT, torch.zeros(1, 1), ADVANTAGE_PG, None, None, (1, 1), MismatchOptions())
    assert inputs.ratio_BT.tolist() == [[1.0]]
    assert not inputs.old_logp_BT.requires_grad
    assert inputs.reference_logp_BT is None
